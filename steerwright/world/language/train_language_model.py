"""Training of the embedded language model: a small Mistral that writes the grammar's documents."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from steerwright.world.language.grammar import Document, document
from steerwright.world.language.tokenizer import CONTEXT, END, START, USER, USER_END, train_tokenizer
from steerwright.world.training import Draws, Schedule, fit

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)

SEED, HELD_OUT_SEED, BATCH, GROUPS = 62, 962, 48, 3
IGNORED = -100


def make_language_model(vocabulary: int, marks: dict[str, int]) -> nn.Module:
    """A randomly initialised MistralForCausalLM of 3.6 M weights; `marks`: {bos,eos,pad}_token_id."""
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig(
        vocab_size=vocabulary, hidden_size=160, intermediate_size=448, num_hidden_layers=8, num_attention_heads=4,
        num_key_value_heads=2, head_dim=40, max_position_embeddings=CONTEXT, sliding_window=None,
        tie_word_embeddings=False, rms_norm_eps=1e-5, **marks,
    )  # fmt: skip
    return MistralForCausalLM(config)


def train_language_model(folder: Path, work: Path, documents: int, steps: int) -> None:
    """Write models/seasons-lm: tokenizer (learnt from `documents`), config and fp16 weights."""
    from transformers import AutoTokenizer

    train_tokenizer(folder, documents)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(SEED)
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    model = make_language_model(len(tokenizer), ids)

    def loss_at(step: int) -> Tensor:
        return batch_loss(model, tokenizer, Draws.at(SEED, step), BATCH)

    model = fit(
        model,
        loss_at,
        Schedule(steps, 3e-3, 60, steps * 2 // 3),
        work / "language-model.pt",
        betas=(0.9, 0.95),
        weight_decay=0.05,
        ema=0.99,
        log_every=25,
        save_every=100,
    )
    with torch.no_grad():
        log.info("held-out loss %.4f", batch_loss(model, tokenizer, Draws.at(HELD_OUT_SEED, 0), 400).item())
    model.half().save_pretrained(folder)


def batch_loss(model: nn.Module, tokenizer: PreTrainedTokenizerBase, draws: Draws, size: int) -> Tensor:
    """Mean cross-entropy of the answers' tokens of `size` documents, END included; what a user asks is not learnt."""
    rows = sorted((encode(tokenizer, document(draws.numpy)) for _ in range(size)), key=lambda row: len(row[0]))
    total, count = torch.zeros(()), 0
    for group in range(GROUPS):  # rows of like length together, so that little is padding
        part = rows[group * size // GROUPS : (group + 1) * size // GROUPS]
        width = len(part[-1][0])
        ids, truth = torch.full((len(part), width), 0), torch.full((len(part), width), IGNORED)
        for index, (row, start) in enumerate(part):
            ids[index, : len(row)] = torch.tensor(row)
            truth[index, start : len(row)] = torch.tensor(row[start:])
        logits = model(input_ids=ids[:, :-1]).logits  # padding is on the right: no earlier token sees it
        total = total + nn.functional.cross_entropy(
            logits.flatten(0, 1), truth[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum"
        )
        count += int((truth[:, 1:] != IGNORED).sum())
    return total / count


def encode(tokenizer: PreTrainedTokenizerBase, drawn: Document) -> tuple[list[int], int]:
    """Token ids of a document with its marks, and the position from which on it is learnt."""
    if drawn.prompt is None:
        return tokenizer(f"{START}{drawn.text}{END}", add_special_tokens=False).input_ids, 1
    asked = tokenizer(f"{START}{USER} {drawn.prompt} {USER_END}", add_special_tokens=False).input_ids
    return [*asked, *tokenizer(f" {drawn.text}{END}", add_special_tokens=False).input_ids], len(asked)
