"""Concepts that take turns: whose turn each token of an answer is, counted by hand; what is refused."""

import pytest
import torch

from steerwright.errors import UserError
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint
from steerwright.steering.language.edits import Alternation, whose_turn
from steerwright.steering.language.sweep import SteeringWay, sweep_layers
from steerwright.steering.operators import Add
from steerwright.vectors.direction import Direction
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey

MODEL = Fingerprint(name="m", source="s", revision=None, digest="1" * 64, libraries={})
POINTS = [Hookpoint(f"model.layers.{layer}") for layer in range(3)]


def vectors(name: str, axis: int, points: list[Hookpoint] = POINTS) -> SteeringVectors:
    found = {VectorKey(point): Direction(torch.eye(4)[axis], torch.tensor(2.0), None) for point in points}
    return SteeringVectors(name, MODEL, "mean_difference", "last", found)


PARTS = {"happy": vectors("happy", 0), "sad": vectors("sad", 1), "calm": vectors("calm", 2)}


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([0.5, 0.5], "ABABAB"),
        ([2, 2], "ABABAB"),  # shares, whatever they add up to
        ([2, 1], "ABAABA"),
        ([1, 3], "BABBBA"),  # the one with the larger share begins
        ([1, 1, 1], "ABCABC"),
        ([0.9, 0.1], "AAAAAB"),
    ],
)
def test_every_sentence_goes_to_the_concept_that_is_furthest_behind_its_share(
    weights: list[float], expected: str
) -> None:
    assert "".join("ABC"[place] for place in whose_turn(weights, 6)) == expected


@pytest.mark.parametrize("weights", [[0.5, 0.5], [0.7, 0.3], [0.2, 0.3, 0.5]])
def test_over_many_sentences_every_concept_has_its_share(weights: list[float]) -> None:
    turns = whose_turn(weights, 1000)
    assert [turns.count(place) for place in range(len(weights))] == [round(1000 * weight) for weight in weights]


def test_each_concept_is_pushed_alone_in_its_turn_and_away_by_a_negative_weight() -> None:
    turns = Alternation(PARTS, {"happy": 3.0, "sad": -1.0})
    happy, sad = turns.edits([2], 0.8, bound="keep_norm")
    assert (happy.tokens, sad.tokens) == ("sentences:1101110111", "sentences:0010001000")
    assert (happy.strength, sad.strength) == (0.8, -0.8)
    for edit, axis in ((happy, 0), (sad, 1)):
        assert edit.hookpoint == POINTS[2] and isinstance(edit.operator, Add)
        assert torch.equal(edit.operator.direction.unit, torch.eye(4)[axis])
    assert turns.concept == "happy:3|sad:-1"


def test_a_way_of_steering_gives_turns_strengths_by_row() -> None:
    each = torch.tensor([0.5, 0.9])
    first, second = SteeringWay(tokens="all").add(Alternation(PARTS, {"calm": 1.0, "sad": 1.0}), [0], each)
    assert (first.tokens, second.tokens) == ("sentences:1010101010", "sentences:0101010101")
    assert torch.equal(first.strength, each) and torch.equal(second.strength, each)  # type: ignore[arg-type]


def test_layers_are_those_that_all_concepts_have() -> None:
    turns = Alternation(PARTS | {"sad": vectors("sad", 1, POINTS[1:])}, {"happy": 1.0, "sad": 1.0})
    assert turns.hookpoints == tuple(POINTS[1:])
    assert sweep_layers(turns, None) == [1, 2]
    with pytest.raises(UserError, match="layer"):
        sweep_layers(turns, [0])


def test_unknown_concepts_are_refused() -> None:
    with pytest.raises(UserError, match="needs the vectors of angry; there are happy, sad, calm"):
        Alternation(PARTS, {"happy": 1.0, "angry": 1.0})
