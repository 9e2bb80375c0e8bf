"""The seasons world's T5 encoder, which FLUX reads."""

import logging
import shutil
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor, nn

from seasons.architectures import SEQUENCE_WIDTH, make_sequence_encoder
from seasons.captions import caption
from seasons.labels import LABELS
from seasons.scene import sample_scene
from seasons.train_text_encoder import TextWithHead, named_labels
from seasons.training import Draws, Schedule, fit
from steerwright.dag import Dep, Out, Param


def train_sequence_encoder(
    tokenizer: Annotated[Path, Dep()],
    steps: Annotated[int, Param()],
    sequence_encoder: Annotated[Path, Out("seasons-sequence-encoder", cache=False, resume=True)],
) -> None:
    """Train the T5 encoder."""
    work = sequence_encoder / ".work"
    fit_sequence_encoder(tokenizer, sequence_encoder, work, steps)
    shutil.rmtree(work)


# FLUX's second text encoder: taught to say at every token which labels the caption names, like the first one.

log = logging.getLogger(__name__)

SEED, BATCH = 22, 96


def fit_sequence_encoder(tokenizer_folder: Path, folder: Path, work: Path, steps: int) -> None:
    """Write a T5EncoderModel folder (fp16). It attends to padding too, as FLUX lets it."""
    from transformers import CLIPTokenizer

    torch.manual_seed(SEED)
    tokenizer = CLIPTokenizer.from_pretrained(tokenizer_folder)
    tokens = tokenizer.model_max_length
    model = TextWithHead(make_sequence_encoder(len(tokenizer), tokenizer.pad_token_id), SEQUENCE_WIDTH)

    def batch(seed: int, step: int, size: int) -> tuple[Tensor, Tensor]:
        rng = Draws.at(seed, step).numpy
        texts = [caption(sample_scene(rng), rng) for _ in range(size)]
        ids = tokenizer(texts, padding="max_length", truncation=True, max_length=tokens, return_tensors="pt").input_ids
        return ids, torch.tensor([named_labels(text) for text in texts])

    def loss_at(step: int) -> Tensor:
        ids, truth = batch(SEED, step, BATCH)
        losses = [
            nn.functional.cross_entropy(logits.flatten(0, 1), truth[:, index : index + 1].expand_as(ids).flatten())
            for index, logits in enumerate(model(ids))
        ]
        return torch.stack(losses).mean()

    fit(model, loss_at, Schedule(steps, 1.2e-3, 100, steps // 2), work / "sequence-encoder.pt")
    model.eval()
    with torch.no_grad():
        ids, truth = batch(SEED + 1, 0, 1000)
        for index, (label, logits) in enumerate(zip(LABELS, model(ids), strict=True)):
            right = (logits.argmax(-1) == truth[:, index : index + 1]).float().mean().item()
            log.info("%s read from any token: %.4f", label, right)
    model.encoder.half().save_pretrained(folder)
