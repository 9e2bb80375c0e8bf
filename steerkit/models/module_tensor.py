"""The one tensor that a module takes or gives, whatever it is wrapped in (a tuple, a ModelOutput)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

# Names under which modules of transformers and diffusers take their main tensor when it is given by keyword.
_MAIN_INPUT = ("hidden_states", "sample", "input", "x", "inputs_embeds")


def tensor_in(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """The main input of a forward called with `args` and `kwargs`; TypeError when there is no floating tensor."""
    key = _main_input(args, kwargs)
    return args[key] if isinstance(key, int) else kwargs[key]


def with_tensor_in(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], tensor: Tensor
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The same call with `tensor` as main input; nothing is changed in place."""
    key = _main_input(args, kwargs)
    if isinstance(key, int):
        return (*args[:key], tensor, *args[key + 1 :]), dict(kwargs)
    return args, {**kwargs, key: tensor}


def tensor_out(output: Any) -> Tensor:
    """The main tensor of a module's `output`: itself, or the first of a tuple or ModelOutput."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        output = tuple(output.values())
    if isinstance(output, (tuple, list)) and output and isinstance(output[0], Tensor):
        return output[0]
    raise TypeError(f"a module gave {type(output).__name__}, which holds no tensor first")


def with_tensor_out(output: Any, tensor: Tensor) -> Any:
    """The same `output` with `tensor` as main tensor; nothing is changed in place."""
    if isinstance(output, Tensor):
        return tensor
    if isinstance(output, Mapping):  # ModelOutput and diffusers' BaseOutput: dataclasses that are also dicts
        first, *_ = output.keys()
        return type(output)(**{**output, first: tensor})
    return type(output)((tensor, *output[1:]))


def as_tokens(tensor: Tensor) -> Tensor:
    """A feature map [images, d, h, w] as tokens [images, h * w, d], row by row; anything else as it is."""
    return tensor.flatten(2).transpose(1, 2) if tensor.ndim == 4 else tensor


def like_map(tokens: Tensor, tensor: Tensor) -> Tensor:
    """Tokens of `as_tokens` in the shape of the `tensor` that they came from."""
    if tensor.ndim != 4:
        return tokens
    # In the layout in memory that it came in: in another one the next convolution rounds differently.
    return torch.empty_like(tensor).copy_(tokens.transpose(1, 2).reshape(tensor.shape))


def _main_input(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int | str:
    for index, value in enumerate(args):
        if isinstance(value, Tensor) and value.is_floating_point():
            return index
    for name in _MAIN_INPUT:
        if isinstance(kwargs.get(name), Tensor):
            return name
    raise TypeError(f"a module was called without a floating tensor (keywords {sorted(kwargs)})")
