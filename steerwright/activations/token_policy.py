"""Which tokens of a prompt a vector is taken from, and which tokens it is then meant for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from steerwright.errors import UserError

TokenPolicy = Literal["position", "content", "eos", "typed"]
TOKEN_POLICIES: tuple[str, ...] = get_args(TokenPolicy)
TYPES = ("content", "eos", "padding")


@dataclass(frozen=True, slots=True, eq=False)
class PromptActivations:
    """What one hookpoint gave for some prompts.

    `values`: [n, tokens, d]; `types`: a bool mask [n, tokens] for each of content, eos and padding.
    """

    values: Tensor
    types: Mapping[str, Tensor]


def reduce_tokens(
    policy: TokenPolicy, activations: Float[Tensor, "n tokens d"], types: Mapping[str, Bool[Tensor, "n tokens"]]
) -> dict[str, Float[Tensor, "n *tokens d"]]:
    """The samples that `policy` takes from `activations` [n, tokens, d], by the tokens that their vector is meant for.

    `types` holds a bool mask [n, tokens] per token type (content, eos, padding; BOS belongs to none).
    - `position`: {"all": [n, tokens, d]}, one vector per position.
    - `content`: {"all": [n, d]}, the mean over each prompt's content tokens.
    - `eos`: {"all": [n, d]}, the EOS token, which has read the whole prompt.
    - `typed`: {"content": ..., "eos": ..., "padding": ...}, each [n, d], the mean over the tokens of the type.
    A prompt without a token of the type has NaN there.
    """
    match policy:
        case "position":
            return {"all": activations}
        case "content" | "eos":
            return {"all": mean_over(activations, types[policy])}
        case "typed":
            return {name: mean_over(activations, types[name]) for name in TYPES}
        case _:
            raise UserError(f"Token policy {policy!r} does not exist; choose one of {', '.join(TOKEN_POLICIES)}.")


def mean_over(activations: Float[Tensor, "n tokens d"], mask: Bool[Tensor, "n tokens"]) -> Float[Tensor, "n d"]:
    """Mean [n, d] of `activations` [n, tokens, d] over the tokens where `mask` [n, tokens] is true.

    In float32 or wider; NaN for a row whose mask is empty.
    """
    wide = activations.to(torch.promote_types(activations.dtype, torch.float32))
    kept = torch.where(mask[..., None], wide, 0.0).sum(1)
    count = mask.sum(1, keepdim=True).to(wide.dtype)
    return torch.where(count > 0, kept / count.clamp(min=1), torch.nan)
