"""Text and image tokens of a transformer that has both, apart: which a module sees, and its tensors cut accordingly.

A FLUX transformer runs double blocks, which keep two sequences, and then single blocks, which run on one sequence with
the text tokens FIRST. What modules take and give:

    transformer_blocks.i            hidden_states (image), encoder_hidden_states (text) -> (text, image)
    transformer_blocks.i.attn       the same -> (image, text)
    transformer_blocks.i.ff         image; ff_context, norm1_context, attn.add_q_proj and the like: text
    single_transformer_blocks.i     as a double block; in older releases of diffusers one sequence [text, image]
    single_transformer_blocks.i.*   one sequence [text, image]

How many of a sequence are text is known from the running forward (`Running.text_tokens`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor

from steerkit.errors import UserError
from steerkit.models.module_tensor import tensor_in, tensor_out, with_tensor_in, with_tensor_out

if TYPE_CHECKING:
    from steerkit.models.hookpoint import Hookpoint

Stream = Literal["image", "text"]
BOTH: tuple[Stream, ...] = ("image", "text")

_BLOCK = re.compile(r"transformer\.(single_)?transformer_blocks\.\d+")
_ATTENTION = re.compile(r"transformer\.transformer_blocks\.\d+\.attn")
_IN_SINGLE = re.compile(r"transformer\.single_transformer_blocks\.\d+\..+")
_TEXT = re.compile(
    r"transformer\.(context_embedder|transformer_blocks\.\d+\."
    r"(ff_context|norm1_context|norm2_context|attn\.(add_\w+|norm_added_\w+|to_add_out|to_added_qkv)))(\..+)?"
)
_TEXT_INPUT = "encoder_hidden_states"


class TokenCounts(Protocol):
    """What cutting a sequence needs to know of the running forward; `branches.Running` has it."""

    @property
    def text_tokens(self) -> int | None: ...
    @property
    def image_tokens(self) -> int | None: ...


def streams_of(path: str) -> tuple[Stream, ...]:
    """The streams of the module at `path` of a transformer; () elsewhere: a UNet and a text encoder have but one."""
    if path.split(".")[0] != "transformer":
        return ()
    if _BLOCK.fullmatch(path) or _ATTENTION.fullmatch(path) or _IN_SINGLE.fullmatch(path):
        return BOTH
    return ("text",) if _TEXT.fullmatch(path) else ("image",)


def cut_input(hookpoint: Hookpoint, args: tuple[Any, ...], kwargs: Mapping[str, Any], now: TokenCounts) -> Tensor:
    """The tokens that `hookpoint` means among what its module takes; a view of them where both are one sequence."""
    if hookpoint.stream is None:
        return tensor_in(args, kwargs)
    place = _text_input(hookpoint, args, kwargs)
    if place is None:
        return _part(hookpoint, tensor_in(args, kwargs), now)
    if hookpoint.stream == "image":
        return tensor_in(args, kwargs)
    found: Tensor = args[place] if isinstance(place, int) else kwargs[place]
    return found


def with_cut_input(
    hookpoint: Hookpoint, args: tuple[Any, ...], kwargs: Mapping[str, Any], tokens: Tensor, now: TokenCounts
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The same call with `tokens` in place of those that `hookpoint` means; the others keep their bits."""
    if hookpoint.stream is None:
        return with_tensor_in(args, kwargs, tokens)
    place = _text_input(hookpoint, args, kwargs)
    if place is None:
        return with_tensor_in(args, kwargs, _joined(hookpoint, tensor_in(args, kwargs), tokens, now))
    if hookpoint.stream == "image":
        return with_tensor_in(args, kwargs, tokens)
    if isinstance(place, int):
        return (*args[:place], tokens, *args[place + 1 :]), dict(kwargs)
    return args, {**kwargs, place: tokens}


def cut_output(hookpoint: Hookpoint, output: Any, now: TokenCounts) -> Tensor:
    """The tokens that `hookpoint` means among what its module gives; a view of them where both are one sequence."""
    if hookpoint.stream is None:
        return tensor_out(output)
    place = _place(hookpoint, output)
    if place is None:
        return _part(hookpoint, tensor_out(output), now)
    found: Tensor = output[place]
    return found


def with_cut_output(hookpoint: Hookpoint, output: Any, tokens: Tensor, now: TokenCounts) -> Any:
    """The same output with `tokens` in place of those that `hookpoint` means; the others keep their bits."""
    if hookpoint.stream is None:
        return with_tensor_out(output, tokens)
    place = _place(hookpoint, output)
    if place is None:
        return with_tensor_out(output, _joined(hookpoint, tensor_out(output), tokens, now))
    return (*output[:place], tokens, *output[place + 1 :])


def _text_input(hookpoint: Hookpoint, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int | str | None:
    """Where the module takes text tokens of their own; None where they come with the image's in one sequence."""
    if isinstance(kwargs.get(_TEXT_INPUT), Tensor):
        return _TEXT_INPUT
    if not (_BLOCK.fullmatch(hookpoint.path) or _ATTENTION.fullmatch(hookpoint.path)):
        return None
    # By place the text comes second. A single block of older releases has the embedded timestep there, without tokens.
    return 1 if len(args) > 1 and isinstance(args[1], Tensor) and args[1].ndim == 3 else None


def _place(hookpoint: Hookpoint, output: Any) -> int | None:
    """Which of the tuple `output` is meant; None where both streams are one sequence.

    Norms inside single blocks give tuples too, whose first is the sequence and whose others are no tokens.
    """
    if not isinstance(output, tuple) or _IN_SINGLE.fullmatch(hookpoint.path):
        return None
    image_first = _ATTENTION.fullmatch(hookpoint.path) is not None
    return 0 if (hookpoint.stream == "image") == image_first else 1


def _part(hookpoint: Hookpoint, sequence: Tensor, now: TokenCounts) -> Tensor:
    text = _text_tokens(hookpoint, sequence, now)
    return sequence[:, :text] if hookpoint.stream == "text" else sequence[:, text:]


def _joined(hookpoint: Hookpoint, sequence: Tensor, tokens: Tensor, now: TokenCounts) -> Tensor:
    text = _text_tokens(hookpoint, sequence, now)
    parts = [tokens, sequence[:, text:]] if hookpoint.stream == "text" else [sequence[:, :text], tokens]
    return torch.cat(parts, dim=1)


def _text_tokens(hookpoint: Hookpoint, sequence: Tensor, now: TokenCounts) -> int:
    text, image = now.text_tokens, now.image_tokens
    if text is None or image is None:
        raise UserError(
            f"Hookpoint {hookpoint}: text and image tokens can be told apart only while the whole transformer runs."
        )
    if sequence.ndim < 3 or sequence.shape[1] != text + image:
        raise UserError(
            f"Hookpoint {hookpoint}: the module has a tensor of shape {list(sequence.shape)}, which is not "
            f"{text} text and {image} image tokens; name another module, such as its block."
        )
    return text
