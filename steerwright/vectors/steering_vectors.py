"""The directions of one concept in one model."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from steerwright.errors import UserError
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint
from steerwright.vectors.direction import Direction

NO_CONTROL = (
    "fitted by another tool, without shuffles, or on too few pairs (N pairs have 2^(N-1) - 1 different shuffles)"
)
"""Why vectors have no control, and so no mark as noise."""
LAYER = re.compile(r"\b(?:layers|h)\.(\d+)\b")


@dataclass(frozen=True, slots=True)
class VectorKey:
    """Where one direction belongs.

    `tokens` is "all" or a token type; `steps` the first and last denoising step (0-based, both inside), None for
    all; `branch` the CFG branch that it was taken from, None where there is only one.
    """

    hookpoint: Hookpoint
    tokens: str = "all"
    steps: tuple[int, int] | None = None
    branch: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SteeringVectors:
    """A direction for every slot, with what must be known to use them: concept, model, estimator, token policy.

    `timesteps`: the model's timestep at every denoising step that a slot's `steps` count; None where no slot has steps.
    `controls`: by slot, the norm that a direction fitted on shuffled labels reaches; absent where it was not measured,
    or could not be, because there are too few pairs.
    """

    concept: str
    model: Fingerprint
    estimator: str
    token_policy: str
    directions: Mapping[VectorKey, Direction]
    timesteps: tuple[float, ...] | None = None
    controls: Mapping[VectorKey, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.directions:
            raise ValueError("Steering vectors without a single direction.")
        last = max((slot.steps[1] for slot in self.directions if slot.steps is not None), default=-1)
        if last >= len(self.timesteps or ()):
            raise ValueError(f"A slot is for step {last}, but the schedule has {len(self.timesteps or ())} timesteps.")

    def is_noise(self, slot: VectorKey) -> bool:
        """Whether the direction is no longer than one fitted on shuffled labels; false where none was measured."""
        return float(self.directions[slot].norm.max()) <= self.controls.get(slot, -1.0)

    def noise_mark(self, slot: VectorKey) -> bool | None:
        """`is_noise` where a control was measured, else None: nothing is known."""
        return self.is_noise(slot) if slot in self.controls else None

    @property
    def for_removal(self) -> bool:
        """Whether they are what a request for the concept does to a plain answer (`removal_vectors`), made to be
        projected out; adding them is something else."""
        return "instructed" in self.token_policy

    @property
    def hookpoints(self) -> list[Hookpoint]:
        """The hookpoints in the order in which they were fitted, each once."""
        return list(dict.fromkeys(slot.hookpoint for slot in self.directions))

    def at_layers(self, layers: list[int] | tuple[int, ...]) -> "SteeringVectors":
        """Only the directions of these layers. Raises UserError for a layer that has none, naming those that have."""
        known = {number for slot in self.directions if (number := layer_number(slot.hookpoint)) is not None}
        missing = sorted(set(layers) - known)
        if missing:
            raise UserError(
                f"The vectors for {self.concept!r} hold nothing at layer {', '.join(map(str, missing))}; "
                f"they hold layers {', '.join(map(str, sorted(known)))}. Choose among these, or collect that layer too."
            )
        chosen = {slot: found for slot, found in self.directions.items() if layer_number(slot.hookpoint) in layers}
        return replace(self, directions=chosen)


def layer_number(hookpoint: Hookpoint) -> int | None:
    """The layer that a hookpoint's path names ("...layers.3.mlp" is 3), None if it names none."""
    found = LAYER.search(hookpoint.path)
    return int(found.group(1)) if found else None
