"""Which tokens of the running forward an edit means."""

from typing import Any

import torch
from torch import Tensor

from steerkit.errors import UserError
from steerkit.models.branches import Running
from steerkit.models.hookpoint import Hookpoint
from steerkit.steering.edit import Edit

TEXT_TYPES = ("bos", "content", "eos", "padding")


def token_mask(edit: Edit, pipeline: Any, running: Running) -> Tensor | None:
    """Bool mask [tokens] or [images, tokens] of the tokens that `edit` means in the running forward; None for all."""
    if isinstance(edit.tokens, Tensor):
        return edit.tokens
    if edit.tokens == "all":
        return None
    if running.token_ids is None:
        raise UserError(
            f"The edit at {edit.hookpoint} is for {edit.tokens} tokens, but the text encoder was given embeddings "
            'instead of token ids. Pass prompts as text, or steer "all" tokens.'
        )
    return text_token_types(running.token_ids, _end_of_text(pipeline, edit.hookpoint))[edit.tokens]


def check_tokens(edit: Edit) -> None:
    """Raise UserError unless the token type of `edit` exists at its hookpoint."""
    if isinstance(edit.tokens, Tensor) or edit.tokens == "all":
        return
    if edit.tokens not in TEXT_TYPES:
        raise UserError(
            f"Tokens {edit.tokens!r} of the edit at {edit.hookpoint} do not exist; "
            f"choose all, {', '.join(TEXT_TYPES)}, or give a mask."
        )
    if not in_text_encoder(edit.hookpoint):
        raise UserError(
            f"The edit at {edit.hookpoint} is for {edit.tokens} tokens, which only the text encoder has; "
            "use all tokens there, or a mask."
        )


def in_text_encoder(hookpoint: Hookpoint) -> bool:
    return hookpoint.path.split(".")[0].startswith("text_encoder")


def text_token_types(ids: Tensor, end_of_text: int) -> dict[str, Tensor]:
    """Bool masks [n, tokens] for `ids` [n, tokens]: BOS is the first token, EOS the first end-of-text token,
    padding all that follows it, content what lies between. A text that was cut off has no EOS and no padding."""
    position = torch.arange(ids.shape[1], device=ids.device)
    ends = ids == end_of_text
    first = torch.where(ends.any(1), ends.int().argmax(1), ids.shape[1])[:, None]
    return {
        "bos": (position == 0).expand_as(ids),
        "content": (position > 0) & (position < first),
        "eos": position == first,
        "padding": position > first,
    }


def _end_of_text(pipeline: Any, hookpoint: Hookpoint) -> int:
    root = hookpoint.path.split(".")[0]
    tokenizer = getattr(pipeline, root.replace("text_encoder", "tokenizer"))
    return int(tokenizer.eos_token_id)
