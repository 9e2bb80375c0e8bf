"""A hookpoint: the module whose tensor is read or edited, on which side of it, and which of its tokens."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import total_ordering
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor, nn

from steerwright.errors import UserError

# The one tensor that a module takes or gives, whatever it is wrapped in (a tuple, a ModelOutput).

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


# Text and image tokens of a transformer that has both, apart: which a module sees, and its tensors cut accordingly.
#
# A FLUX transformer runs double blocks, which keep two sequences, and then single blocks, which run on one sequence
# with the text tokens FIRST. What modules take and give:
#
#     transformer_blocks.i            hidden_states (image), encoder_hidden_states (text) -> (text, image)
#     transformer_blocks.i.attn       the same -> (image, text)
#     transformer_blocks.i.ff         image; ff_context, norm1_context, attn.add_q_proj and the like: text
#     single_transformer_blocks.i     as a double block; in older releases of diffusers one sequence [text, image]
#     single_transformer_blocks.i.*   one sequence [text, image]
#
# How many of a sequence are text is known from the running forward (`Running.text_tokens`).

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


Where = Literal["in", "out", "update"]
_WHERE: tuple[str, ...] = get_args(Where)
# transformers before 5 kept CLIP's layers one level deeper, under `text_model`; from 5 on CLIPTextModel is flat, while
# CLIPTextModelWithProjection still has the level. A hookpoint is written without it and found with or without.
_DEEPER = re.compile(r"^(text_encoder(?:_\d+)?)\.text_model(?=\.|$)")
_TEXT_ENCODER = re.compile(r"^(text_encoder(?:_\d+)?)(?=\.)")


@total_ordering
@dataclass(frozen=True, slots=True)
class Hookpoint:
    """A module's path from the pipeline (`unet.mid_block.attentions.0`) and the tensor meant: in, out, or out - in.

    `stream` says which tokens, where a module has those of the text and of the image: by default the image's. It is
    None for modules that have one kind (`streams.py`), whose paths say which. The path is kept in its flat spelling
    (`text_encoder.encoder...`), so that both spellings are one hookpoint.
    """

    path: str
    where: Where = "out"
    stream: Stream | None = None

    def __post_init__(self) -> None:
        if self.where not in _WHERE:
            raise UserError(f"Hookpoint {self.path!r}: {self.where!r} is no side of a module; write one of {_sides()}.")
        if not self.path or not all(self.path.split(".")):
            raise UserError(
                f"Hookpoint {self.path!r} is no module path; write for example text_encoder.encoder.layers.3.mlp:out."
            )
        object.__setattr__(self, "path", _DEEPER.sub(r"\1", self.path))
        streams = streams_of(self.path)
        if self.stream is not None and self.stream not in streams:
            has = f"it has {' and '.join(streams)} tokens" if streams else "only a FLUX transformer has streams"
            raise UserError(f"Hookpoint {self.path!r} has no stream {self.stream!r}: {has}.")
        object.__setattr__(self, "stream", (self.stream or "image") if streams == BOTH else None)

    @classmethod
    def parse(cls, text: str) -> Hookpoint:
        """Read `path:where:stream`; `:out` and the stream may be left out."""
        path, _, rest = text.strip().partition(":")
        where, _, stream = rest.partition(":")
        return cls(path, where or "out", stream or None)  # type: ignore[arg-type]  # __post_init__ checks them

    @property
    def tokens(self) -> Stream | None:
        """Whose tokens these are in a transformer that has both kinds; None in a UNet or a text encoder."""
        streams = streams_of(self.path)
        return self.stream or (streams[0] if streams else None)

    def __str__(self) -> str:
        return f"{self.path}:{self.where}" + (f":{self.stream}" if self.stream else "")

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Hookpoint):
            return NotImplemented
        return (self.path, self.where, self.stream or "") < (other.path, other.where, other.stream or "")


def resolve(pipeline: Any, hookpoint: Hookpoint) -> nn.Module:
    """The module that `hookpoint` names in `pipeline`; UserError with the nearest paths when there is none."""
    module = _descend(pipeline, resolved_path(pipeline, hookpoint))
    assert module is not None
    return module


def resolved_path(pipeline: Any, hookpoint: Hookpoint) -> str:
    """The path of `hookpoint` as this pipeline spells it; UserError as for `resolve`."""
    for path in _spellings(hookpoint.path):
        if _descend(pipeline, path) is not None:
            return path
    known = list(module_paths(pipeline))
    near = difflib.get_close_matches(hookpoint.path, known, n=3, cutoff=0.6)
    instead = f"did you mean {' or '.join(near)}?" if near else f"paths begin with {', '.join(_roots(known))}."
    raise UserError(f"There is no module {hookpoint.path!r} in {type(pipeline).__name__}; {instead}")


def module_paths(pipeline: Any) -> Iterator[str]:
    """Every path a hookpoint can name in `pipeline`, in the flat spelling."""
    for root, component in _components(pipeline):
        yield root
        for path, _ in component.named_modules(prefix=root):
            flat = _DEEPER.sub(r"\1", path)
            if flat != root:
                yield flat


def text_encoder_mlps(pipeline: Any) -> list[Hookpoint]:
    """The MLP of every layer of the text encoder, first layer first; what the winter pipeline records and edits."""
    found = [re.fullmatch(r"text_encoder\.encoder\.layers\.(\d+)\.mlp", path) for path in module_paths(pipeline)]
    layers = sorted({int(match.group(1)) for match in found if match})
    return [Hookpoint(f"text_encoder.encoder.layers.{layer}.mlp", "out") for layer in layers]


def _spellings(path: str) -> list[str]:
    return [path, _TEXT_ENCODER.sub(r"\1.text_model", path)]


def _descend(pipeline: Any, path: str) -> nn.Module | None:
    module: Any = pipeline
    for name in path.split("."):
        # Only modules count: a pipeline also has attributes such as `config`, and lists have methods.
        children = module._modules if isinstance(module, nn.Module) else dict(_components(module))
        module = children.get(name)
        if module is None:
            return None
    return module


def _components(pipeline: Any) -> Iterator[tuple[str, nn.Module]]:
    components = getattr(pipeline, "components", None) or vars(pipeline)
    for name, component in components.items():
        if isinstance(component, nn.Module):
            yield name, component


def _roots(paths: list[str]) -> list[str]:
    return sorted({path.split(".")[0] for path in paths})


def _sides() -> str:
    return ", ".join(_WHERE)
