"""Dose by projection: a prompt that lies far on the other side of the direction needs more of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from steerwright.activations.token_policy import PromptActivations, TokenPolicy, reduce_tokens
from steerwright.errors import UserError
from steerwright.experiments.dose import Dose
from steerwright.models.hookpoints import Hookpoint
from steerwright.vectors.direction import Direction
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey


class Projection(BaseModel):
    """Multiplier 1 + gain * (the prompt's distance to the concept / the typical distance - 1), within bounds.

    The distance is what a prompt lacks, along the directions, of the mean of the concept's own prompts; the typical
    one is the median over the tuning prompts. gain 0 gives every prompt the same, 1 doses in proportion.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["projection"]
    gain: float = Field(ge=0, allow_inf_nan=False)
    minimum: float = Field(ge=0, allow_inf_nan=False)
    maximum: float = Field(gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _bounds_hold_one(self) -> Self:
        if not self.minimum <= 1 <= self.maximum:
            raise ValueError(
                f"minimum {self.minimum} <= 1 <= maximum {self.maximum} must hold: 1 is the typical prompt's dose"
            )
        return self


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """The concept's own mean projection on each direction, float64 [slots], and the typical prompt's distance to it."""

    concept: Tensor
    distance: float

    def lacking(self, prompts: Tensor) -> Tensor:
        """What each prompt of `prompts` [n, slots] lacks of the concept: the mean over the slots, float64 [n]."""
        return (self.concept - prompts.double()).nanmean(1)


def projections(activations: Iterable[tuple[Hookpoint, PromptActivations]], vectors: SteeringVectors) -> Tensor:
    """Projection of each prompt on each direction, float64 [n, slots], in the order of `vectors.directions`.

    In multiples of the direction's norm: negative and positive prompts lie 1 apart on average, whatever the slot.
    Tokens are reduced as the vectors' own token policy says; per-position projections are averaged over the positions
    that have a direction. Raises UserError when a hookpoint of the vectors is missing, or a prompt lacks such tokens.
    """
    policy: TokenPolicy = vectors.token_policy  # type: ignore[assignment]
    columns: dict[VectorKey, Tensor] = {}
    for hookpoint, found in activations:
        for tokens, values in reduce_tokens(policy, found.values, found.types).items():
            slot = VectorKey(hookpoint, tokens)
            if slot in vectors.directions:
                columns[slot] = _along(values.double(), vectors.directions[slot])
    missing = [str(slot.hookpoint) for slot in vectors.directions if slot not in columns]
    if missing:
        raise UserError(f"To dose by projection, activations at {missing[0]} are needed too; collect them.")
    table = torch.stack([columns[slot] for slot in vectors.directions], dim=1)
    if not torch.isfinite(table).any(1).all():
        raise UserError("A prompt has no tokens that the vectors are taken from (is it empty?), so it cannot be dosed.")
    return table


def calibrate(tuning: Tensor, concept: Tensor) -> Calibration:
    """From projections [n, slots] of tuning prompts and of prompts that name the concept (the positive ones).

    Raises UserError when the typical tuning prompt lies at the concept already.
    """
    here = Calibration(concept.double().nanmean(0), 1.0)
    typical = float(here.lacking(tuning).median())
    if not typical > 0:
        raise UserError(
            "The typical tuning prompt lies no further from the concept than the positive prompts do, so a projection "
            "says nothing about the dose. Use tuning prompts without the concept, or another strategy."
        )
    return replace(here, distance=typical)


def at_once(concepts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Where a prompt that holds several concepts at once lies, float64 [1, slots], from each one's own pairs.

    `concepts`: projections [n, slots] of each one's positive and negative prompts. From where negative prompts lie on
    average, as far on as the positive ones of each concept lie from its negative ones, added up.
    """
    means = [(positive.double().nanmean(0), negative.double().nanmean(0)) for positive, negative in concepts]
    base = torch.stack([negative for _, negative in means]).mean(0)
    return (base + torch.stack([positive - negative for positive, negative in means]).sum(0))[None]


def projection_doses(strategy: Projection, calibration: Calibration, prompts: Tensor) -> list[Dose]:
    """The dose of each prompt from its projections [n, slots]."""
    doses = []
    for relative in (calibration.lacking(prompts) / calibration.distance).tolist():
        wanted = 1 + strategy.gain * (relative - 1)
        multiplier = min(max(wanted, strategy.minimum), strategy.maximum)
        bounded = "" if multiplier == wanted else f", {wanted:.2f} bounded"
        doses.append(Dose(multiplier, f"{relative:.2f} times the typical distance to the concept{bounded}"))
    return doses


def _along(values: Tensor, direction: Direction) -> Tensor:
    unit, norm = direction.unit.double(), direction.norm.double()
    if not direction.per_position:
        return values @ unit / norm
    used = norm > 0
    return ((values * unit).sum(-1)[:, used] / norm[used]).mean(1)
