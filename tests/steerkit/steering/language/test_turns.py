"""Concepts that take turns: whose turn each token of an answer is, counted by hand; what is refused."""

import pytest
import torch

from steerkit.errors import UserError
from steerkit.models.fingerprint import Fingerprint
from steerkit.models.hookpoint import Hookpoint
from steerkit.steering.language.turns import Turns, turn_bounds
from steerkit.steering.language_sweep import SteeringWay, sweep_layers
from steerkit.steering.operators import Add
from steerkit.vectors.direction import Direction
from steerkit.vectors.steering_vectors import Slot, SteeringVectors

MODEL = Fingerprint(name="m", source="s", revision=None, digest="1" * 64, libraries={})
POINTS = [Hookpoint(f"model.layers.{layer}") for layer in range(3)]


def vectors(name: str, axis: int, points: list[Hookpoint] = POINTS) -> SteeringVectors:
    found = {Slot(point): Direction(torch.eye(4)[axis], torch.tensor(2.0), None) for point in points}
    return SteeringVectors(name, MODEL, "mean_difference", "last", found)


PARTS = {"happy": vectors("happy", 0), "sad": vectors("sad", 1), "calm": vectors("calm", 2)}


@pytest.mark.parametrize(
    ("weights", "period", "expected"),
    [
        ([0.5, 0.5], 24, [12, 24]),
        ([0.7, 0.3], 20, [14, 20]),
        ([7, 3], 20, [14, 20]),  # shares, whatever they add up to
        ([1, 1, 2], 8, [2, 4, 8]),
        ([0.99, 0.01], 10, [9, 10]),  # a turn is a token at least
        ([0.01, 0.99], 10, [1, 10]),
        ([0.98, 0.01, 0.01], 3, [1, 2, 3]),
    ],
)
def test_turns_end_where_the_weights_shares_do(weights: list[float], period: int, expected: list[int]) -> None:
    assert turn_bounds(weights, period) == expected


def test_each_concept_is_pushed_alone_in_its_turn_and_away_by_a_negative_weight() -> None:
    turns = Turns(PARTS, {"happy": 3.0, "sad": -1.0})
    happy, sad = turns.edits([2], 0.8, bound="keep", period=8)
    assert (happy.tokens, sad.tokens) == ("turn:0:6:8", "turn:6:8:8")
    assert (happy.strength, sad.strength) == (0.8, -0.8)
    for edit, axis in ((happy, 0), (sad, 1)):
        assert edit.hookpoint == POINTS[2] and isinstance(edit.operator, Add)
        assert torch.equal(edit.operator.direction.unit, torch.eye(4)[axis])
    assert turns.concept == "happy:3|sad:-1"


def test_a_way_of_steering_gives_turns_its_period_and_strength_by_row() -> None:
    each = torch.tensor([0.5, 0.9])
    first, second = SteeringWay(tokens="all", period=10).add(Turns(PARTS, {"calm": 1.0, "sad": 1.0}), [0], each)
    assert (first.tokens, second.tokens) == ("turn:0:5:10", "turn:5:10:10")
    assert torch.equal(first.strength, each) and torch.equal(second.strength, each)  # type: ignore[arg-type]


def test_layers_are_those_that_all_concepts_have() -> None:
    turns = Turns(PARTS | {"sad": vectors("sad", 1, POINTS[1:])}, {"happy": 1.0, "sad": 1.0})
    assert turns.hookpoints == tuple(POINTS[1:])
    assert sweep_layers(turns, None) == [1, 2]
    with pytest.raises(UserError, match="layer"):
        sweep_layers(turns, [0])


def test_unknown_concepts_and_too_short_a_period_are_refused() -> None:
    with pytest.raises(UserError, match="needs the vectors of angry; there are happy, sad, calm"):
        Turns(PARTS, {"happy": 1.0, "angry": 1.0})
    with pytest.raises(UserError, match="3 concepts cannot take turns in 2 tokens"):
        Turns(PARTS, {"happy": 1.0, "sad": 1.0, "calm": 1.0}).edits([0], 1.0, period=2)
