"""What the tokens of a prompt are, whichever of a pipeline's tokenizers made them."""

from typing import Any

import torch
from jaxtyping import Bool, Int, Int64
from torch import Tensor

TEXT_TOKEN_TYPES = ("bos", "content", "eos", "padding")


def token_types(token_ids: Int[Tensor, "n tokens"], eos_token_id: int) -> dict[str, Bool[Tensor, "n tokens"]]:
    """A bool mask [n, tokens] for each of bos, content, eos, padding; every token is of exactly one type.

    BOS is the first position and EOS the first `eos_token_id` after it (CLIP pads with the same id in SD 1.x and the
    seasons model, with another in SD 2.x). Take the id from the tokenizer: older text encoders have 2 in their config.
    """
    positions = torch.arange(token_ids.shape[1], device=token_ids.device).expand_as(token_ids)
    ends = (token_ids == eos_token_id) & (positions > 0)
    # A row without an EOS has all content; argmax would call its position 0 the end.
    end = torch.where(ends.any(1), ends.int().argmax(1), token_ids.shape[1])[:, None]
    return {
        "bos": positions == 0,
        "content": (positions > 0) & (positions < end),
        "eos": positions == end,
        "padding": positions > end,
    }


def prompt_token_types(tokenizer: Any, token_ids: Int[Tensor, "n tokens"]) -> dict[str, Bool[Tensor, "n tokens"]]:
    """As `token_types`, a bool mask [n, tokens] for each type, of ids [n, tokens] that `tokenizer` made.

    T5's tokenizer puts no token before the prompt, so there is no bos, and an empty prompt begins with its end.
    """
    eos = int(tokenizer.eos_token_id)
    if tokenizer.bos_token_id is not None:
        return token_types(token_ids, eos)
    before = torch.full_like(token_ids[:, :1], -1)
    return {name: mask[:, 1:] for name, mask in token_types(torch.cat([before, token_ids], 1), eos).items()}


def type_indices(tokenizer: Any, token_ids: Int[Tensor, "n tokens"]) -> Int64[Tensor, "n tokens"]:
    """For each token [n, tokens] the index of its type in `TEXT_TOKEN_TYPES`, int64."""
    found = torch.zeros_like(token_ids, dtype=torch.int64)
    for name, mask in prompt_token_types(tokenizer, token_ids).items():
        found += mask.long() * TEXT_TOKEN_TYPES.index(name)
    return found
