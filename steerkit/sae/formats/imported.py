"""What is made of a checkpoint of another library, and what its tensors must be."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steerkit.errors import UserError
from steerkit.sae.sae import Sae


@dataclass(frozen=True, slots=True, eq=False)
class ImportedSae:
    """An autoencoder that gives the latents and reconstructions of the library that it was saved with."""

    sae: Sae
    library: str
    version: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    """The checkpoint's own configuration, as it was."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What is known of its training."""
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    """Tensors that are not needed to use it, kept so that they can be exported again."""
    lossy: tuple[str, ...] = ()
    """What of the checkpoint could not be kept, though it says how it is to be used; one line each."""
    notes: tuple[str, ...] = ()
    """What whoever imports it should know; nothing is lost."""


class Tensors:
    """A checkpoint's tensors by name, each of which is to be taken once, with the shape that it must have."""

    def __init__(self, found: Mapping[str, Any], place: Path) -> None:
        self._found = dict(found)
        self._place = place

    def __contains__(self, name: str) -> bool:
        return name in self._found

    def size(self, name: str) -> tuple[int, int]:
        """Shape of the matrix `name`, which is left to be taken."""
        tensor = self._tensor(name)
        if tensor.ndim != 2 or 0 in tensor.shape:
            raise UserError(f"{self._place}: {name} is {list(tensor.shape)}, not a matrix. Is it of this format?")
        return tensor.shape[0], tensor.shape[1]

    def take(self, name: str, *shape: int) -> Tensor:
        """The tensor `name`: contiguous, of finite floats, of this shape. UserError where it is not."""
        tensor = self._tensor(name)
        if tuple(tensor.shape) != shape:
            raise UserError(
                f"{self._place}: {name} is {list(tensor.shape)}, but the others make it {list(shape)}. Is it damaged?"
            )
        if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
            raise UserError(f"{self._place}: {name} holds what is not a finite number. Is it damaged?")
        del self._found[name]
        return tensor.contiguous()

    def number(self, name: str) -> float:
        """The tensor of one number `name`."""
        tensor = self._tensor(name)
        if tensor.numel() != 1:
            raise UserError(f"{self._place}: {name} is {list(tensor.shape)}, not one number. Is it of this format?")
        del self._found[name]
        return float(tensor)

    def kept(self, *names: str) -> dict[str, Tensor]:
        """Those of the tensors `names` that there are, whatever they are like."""
        kept = {name: self._tensor(name).contiguous() for name in names if name in self._found}
        for name in kept:
            del self._found[name]
        return kept

    def left(self) -> tuple[str, ...]:
        """A line for each thing that nobody took."""
        return tuple(f"{name}, which this format does not have, is left out" for name in sorted(self._found))

    def _tensor(self, name: str) -> Tensor:
        tensor = self._found.get(name)
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
            there = ", ".join(sorted(self._found)[:12]) or "nothing"
            raise UserError(f"{self._place} has no tensor {name} (it has {there}). Is it of this format?")
        return tensor.detach()
