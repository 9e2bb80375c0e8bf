"""A configuration of the text-encoder edit, the space of them, and the grid that is tried first."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from steerkit.errors import UserErrors


@dataclass(frozen=True, slots=True)
class Configuration:
    """Layers in ascending order, and the strength at each, in the units of the edit."""

    layers: tuple[int, ...]
    strengths: tuple[float, ...]

    def __post_init__(self) -> None:
        if list(self.layers) != sorted(set(self.layers)) or not self.layers:
            raise ValueError(f"layers {self.layers} must be ascending, each named once, and at least one")
        if len(self.strengths) != len(self.layers):
            raise ValueError(f"{len(self.strengths)} strengths for layers {self.layers}; one for each is needed")

    def __str__(self) -> str:
        return ", ".join(f"{layer}: {strength:g}" for layer, strength in zip(self.layers, self.strengths, strict=True))


class LayerStrengths(BaseModel):
    """A configuration written out in params.yaml, such as the published [0, 6, 7, 8] x [0.8, 0.5, 1, 2]."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: tuple[int, ...] = Field(min_length=1)
    strengths: tuple[float, ...]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self.configuration()
        return self

    def configuration(self) -> Configuration:
        if len(self.strengths) != len(self.layers):
            raise ValueError(f"{len(self.strengths)} strengths for layers {self.layers}; one for each is needed")
        ordered = sorted(zip(self.layers, self.strengths, strict=True))
        return Configuration(tuple(layer for layer, _ in ordered), tuple(strength for _, strength in ordered))


class SearchSpace(BaseModel):
    """Which configurations to try: a grid first, then `refine_trials` near the best of it.

    The grid is `layer_sets` x `strengths` (each strength at all layers of a set), then the configurations written out
    in `extra`. Trials after it choose among the layers of the `refine_from` best grid configurations, and the strength
    at each of them between half the least and twice the greatest strength of the grid, in multiples of `strength_step`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layer_sets: tuple[tuple[int, ...], ...]
    strengths: tuple[float, ...] = Field(min_length=1)
    extra: tuple[LayerStrengths, ...] = ()
    refine_trials: int = Field(ge=0)
    refine_from: int = Field(default=3, ge=1)
    strength_step: float = Field(default=0.05, gt=0, allow_inf_nan=False)
    sampler_seed: int

    @model_validator(mode="after")
    def _can_be_tried(self) -> Self:
        written = [strength for entry in self.extra for strength in entry.strengths]
        if any(not strength > 0 for strength in [*self.strengths, *written]):
            raise ValueError("strengths must be positive; no edit at all is the control that is always made")
        if any(not layers or len(set(layers)) != len(layers) for layers in self.layer_sets):
            raise ValueError("every layer set names at least one layer, and none twice")
        if not self.layer_sets and not self.extra:
            raise ValueError("neither layer_sets nor extra names a configuration, so there is nothing to try")
        return self


def parse_space(params: Mapping[str, Any], where: str = "search.space") -> SearchSpace:
    """The space that params describe. Raises UserErrors with every problem as `key.path: message`."""
    try:
        return SearchSpace.model_validate(dict(params))
    except ValidationError as error:
        problems = [
            f"{'.'.join([where, *map(str, problem['loc'])])}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors()
        ]
        raise UserErrors("The search space in params.yaml is not valid:", problems) from error


def grid(space: SearchSpace) -> list[Configuration]:
    """The configurations of the first stage, each once, in the order of the params."""
    product = (
        Configuration(tuple(sorted(layers)), (strength,) * len(layers))
        for layers in space.layer_sets
        for strength in space.strengths
    )
    return list(dict.fromkeys([*product, *(written.configuration() for written in space.extra)]))


def layer_sets(layers: list[int], sizes: list[int]) -> Iterator[tuple[int, ...]]:
    """All sets of these sizes from `layers`: [1, 2] gives every single layer, then every pair."""
    for size in sizes:
        yield from combinations(layers, size)
