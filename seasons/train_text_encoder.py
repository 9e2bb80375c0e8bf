"""The text encoder: taught to say which labels a caption names, before any denoiser listens to it.

A denoiser that must teach its text encoder at the same time needs several times as many samples. The labels are
read from the end token and from every padding token after it by one shared linear head, so they are present, and
linearly readable, in all the positions that cross-attention sees.
"""

import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from seasons.architectures import make_text_encoder
from seasons.captions import PLACE_PHRASES, SEASON_ADJECTIVES, SEASON_PHRASES, TIME_PHRASES, caption
from seasons.labels import LABELS
from seasons.scene import sample_scene
from seasons.training import Draws, Schedule, fit

log = logging.getLogger(__name__)

SEED, BATCH = 21, 96
PHRASES: dict[str, dict[str, tuple[str, ...]]] = {
    "place": PLACE_PHRASES,
    "season": SEASON_PHRASES,
    "time": TIME_PHRASES,
}


def named_labels(text: str) -> tuple[int, ...]:
    """For each label the index of the value that a caption names, or one past the last if it names none."""
    words = f" {text.replace(',', ' ')} "
    found = []
    for label, values in LABELS.items():
        phrases = {value: (value,) for value in values} if label in ("object", "colour") else PHRASES[label]
        hits = [i for i, value in enumerate(values) if any(f" {phrase} " in words for phrase in phrases[value])]
        if not hits and label == "season":
            # Only as "a winter scene": the bare adjective inside another season's phrase must not count.
            hits = [i for i, value in enumerate(values) if any(scene in words for scene in _scene_phrases(value))]
        found.append(hits[0] if hits else len(values))
    return tuple(found)


def _scene_phrases(season: str) -> list[str]:
    return [f" {a} {kind} " for a in SEASON_ADJECTIVES[season] for kind in ("scene", "landscape", "view")]


class TextWithHead(nn.Module):
    """A text encoder and the linear head that reads labels from its hidden states; the head is not shipped."""

    def __init__(self, encoder: nn.Module, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.sizes = [len(values) + 1 for values in LABELS.values()]
        self.head = nn.Linear(width, sum(self.sizes))

    def forward(self, ids: Tensor) -> tuple[Tensor, ...]:
        """Logits of each label at every position, [n, tokens, values + 1] each."""
        return tuple(self.head(self.encoder(ids).last_hidden_state).split(self.sizes, dim=-1))


def train_text_encoder(tokenizer_folder: Path, folder: Path, work: Path, steps: int) -> None:
    """Write a CLIPTextModel folder (fp16)."""
    from transformers import CLIPTokenizer

    torch.manual_seed(SEED)
    tokenizer = CLIPTokenizer.from_pretrained(tokenizer_folder)
    tokens = tokenizer.model_max_length
    model = TextWithHead(make_text_encoder(len(tokenizer), tokens), 64)

    def batch(seed: int, step: int, size: int) -> tuple[Tensor, Tensor]:
        rng = Draws.at(seed, step).numpy
        texts = [caption(sample_scene(rng), rng) for _ in range(size)]
        ids = tokenizer(texts, padding="max_length", truncation=True, max_length=tokens, return_tensors="pt").input_ids
        return ids, torch.tensor([named_labels(text) for text in texts])

    def loss_at(step: int) -> Tensor:
        ids, truth = batch(SEED, step, BATCH)
        after = _from_end(ids, tokenizer.eos_token_id)
        logits = model(ids)
        losses = []
        for index, label_logits in enumerate(logits):
            target = truth[:, index : index + 1].expand_as(ids)
            losses.append(nn.functional.cross_entropy(label_logits[after], target[after]))
        return torch.stack(losses).mean()

    fit(model, loss_at, Schedule(steps, 1.2e-3, 100, steps // 2), work / "text-encoder.pt")
    model.eval()
    with torch.no_grad():
        ids, truth = batch(SEED + 1, 0, 1000)
        end = (ids == tokenizer.eos_token_id).int().argmax(1)
        read = [logits[torch.arange(len(ids)), end].argmax(-1) for logits in model(ids)]
    for index, label in enumerate(LABELS):
        log.info("%s read from the end token: %.4f", label, (read[index] == truth[:, index]).float().mean().item())
    model.encoder.half().save_pretrained(folder)


def _from_end(ids: Tensor, end_id: int) -> Tensor:
    """True at the end token and after it (padding is the end token again)."""
    return (ids == end_id).cumsum(1) > 0
