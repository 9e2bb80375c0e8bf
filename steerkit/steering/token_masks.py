"""Which tokens of the running forward an edit means."""

from typing import Any

from torch import Tensor

from steerkit.activations.prompt_tokens import prompt_token_types
from steerkit.activations.text import TOKEN_TYPES
from steerkit.errors import UserError
from steerkit.models.branches import Running
from steerkit.models.hookpoint import Hookpoint
from steerkit.steering.edit import Edit


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
    return prompt_token_types(_tokenizer(pipeline, edit.hookpoint), running.token_ids)[edit.tokens]


def check_tokens(edit: Edit) -> None:
    """Raise UserError unless the token type of `edit` exists at its hookpoint."""
    if isinstance(edit.tokens, Tensor) or edit.tokens == "all":
        return
    if edit.tokens not in TOKEN_TYPES:
        raise UserError(
            f"Tokens {edit.tokens!r} of the edit at {edit.hookpoint} do not exist; "
            f"choose all, {', '.join(TOKEN_TYPES)}, or give a mask."
        )
    if not in_text_encoder(edit.hookpoint):
        raise UserError(
            f"The edit at {edit.hookpoint} is for {edit.tokens} tokens, which only the text encoder has; "
            "use all tokens there, or a mask."
        )


def in_text_encoder(hookpoint: Hookpoint) -> bool:
    return hookpoint.path.split(".")[0].startswith("text_encoder")


def _tokenizer(pipeline: Any, hookpoint: Hookpoint) -> Any:
    root = hookpoint.path.split(".")[0]
    return getattr(pipeline, root.replace("text_encoder", "tokenizer"))
