"""The least edit that does what is wanted."""

import pytest

from steerwright.experiments.operating_point import Tried, operating_point
from steerwright.steering.attention import Candidate


def tried(*values: tuple[float, float]) -> list[Tried]:
    return [Tried(Candidate(("mid",), float(i + 1)), wanted, kept) for i, (wanted, kept) in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "strength"),
    [
        ([(0.5, 1.0), (0.85, 0.95), (0.99, 0.92)], 2),  # the first that reaches the goal, not the strongest
        ([(0.95, 0.5), (0.9, 0.93)], 2),  # a strong one that keeps too little does not count
        ([(0.3, 1.0), (0.6, 0.95), (0.7, 0.8)], 2),  # none reaches it: the nearest among those that keep
        ([(0.9, 0.2), (0.1, 0.7), (0.95, 0.6)], 2),  # none keeps: the one that keeps most
    ],
)
def test_the_operating_point(values: list[tuple[float, float]], strength: float) -> None:
    assert operating_point(tried(*values), goal=0.8, floor=0.9).candidate.strength == strength


def test_nothing_to_choose_from_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing"):
        operating_point([], goal=0.5, floor=0.5)
