"""What the tokens of a prompt are, whichever of a pipeline's tokenizers made them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from steerkit.activations.rows import TOKEN_TYPES
from steerkit.activations.text import token_types


def prompt_token_types(tokenizer: Any, token_ids: Tensor) -> dict[str, Tensor]:
    """As `token_types`, a bool mask [n, tokens] for each type, of ids [n, tokens] that `tokenizer` made.

    T5's tokenizer puts no token before the prompt, so there is no bos, and an empty prompt begins with its end.
    """
    eos = int(tokenizer.eos_token_id)
    if tokenizer.bos_token_id is not None:
        return token_types(token_ids, eos)
    before = torch.full_like(token_ids[:, :1], -1)
    return {name: mask[:, 1:] for name, mask in token_types(torch.cat([before, token_ids], 1), eos).items()}


def type_indices(tokenizer: Any, token_ids: Tensor) -> Tensor:
    """For each token [n, tokens] the index of its type in `rows.TOKEN_TYPES`, int64."""
    found = torch.zeros_like(token_ids, dtype=torch.int64)
    for name, mask in prompt_token_types(tokenizer, token_ids).items():
        found += mask.long() * TOKEN_TYPES.index(name)
    return found
