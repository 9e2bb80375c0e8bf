"""Which places and strength an edit is used at: decided on tuning prompts, never on the prompts that are scored."""

from collections.abc import Sequence
from dataclasses import dataclass

from steerwright.steering.attention import Candidate


@dataclass(frozen=True, slots=True)
class Tried:
    """A candidate on the tuning prompts: mean probability of what is wanted, share of all else that was kept."""

    candidate: Candidate
    wanted: float
    kept: float


def operating_point(trials: Sequence[Tried], *, goal: float, floor: float) -> Tried:
    """The first of `trials` (the least edit comes first) that reaches `goal` and keeps at least `floor`.

    If none does: of those that keep `floor` the one nearest to the goal; if none keeps it, the one that keeps most.
    """
    if not trials:
        raise ValueError("there is nothing to choose from")
    keeping = [tried for tried in trials if tried.kept >= floor]
    enough = [tried for tried in keeping if tried.wanted >= goal]
    if enough:
        return enough[0]
    if keeping:
        return max(keeping, key=lambda tried: tried.wanted)
    return max(trials, key=lambda tried: tried.kept)
