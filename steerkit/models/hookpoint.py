"""A hookpoint: the module whose tensor is read or edited, on which side of it, and which of its tokens."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import total_ordering
from typing import Any, Literal, get_args

from torch import nn

from steerkit.errors import UserError
from steerkit.models.streams import BOTH, Stream, streams_of

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
