import pytest
import torch

from steerwright.errors import UserError
from steerwright.lab.operations.blend import blend
from steerwright.lab.workbench import Workbench


def _unit(vectors, layer: int) -> torch.Tensor:
    (direction,) = vectors.at_layers([layer]).directions.values()
    return direction.unit.double()


@pytest.mark.parametrize("asked", ["happy", ["happy"], {"happy": 1}, " happy ", ["happy", "happy"]])
def test_one_concept_is_its_own_vectors(workbench: Workbench, asked: object) -> None:
    found = blend(workbench, asked)
    assert found.vectors is workbench.concept("happy").vectors
    assert found.name == "happy"


@pytest.mark.parametrize(
    ("asked", "weights"),
    [
        ("happy:0.7,sad:0.3", {"happy": 0.7, "sad": 0.3}),
        ({"sad": -1, "pirate": 0.5}, {"sad": -1.0, "pirate": 0.5}),
        (["happy", "pirate"], {"happy": 0.5, "pirate": 0.5}),
        ("happy, pirate", {"happy": 0.5, "pirate": 0.5}),
    ],
)
def test_a_mix_is_the_weighted_sum_of_unit_vectors_made_one(
    workbench: Workbench, asked: object, weights: dict[str, float]
) -> None:
    found = blend(workbench, asked)
    assert found.weights == weights
    for layer in range(4):
        summed = sum(weight * _unit(workbench.concept(name).vectors, layer) for name, weight in weights.items())
        assert torch.allclose(_unit(found.vectors, layer), summed / summed.norm(), atol=1e-5)


@pytest.mark.parametrize("asked", ["happy:0.5|sad:0.25", " happy:0.5 | sad:0.25 "])
def test_concepts_that_take_turns_are_each_added_by_itself_in_their_share_of_the_answer(
    workbench: Workbench, asked: str
) -> None:
    found = blend(workbench, asked)
    assert (found.turns, found.name, found.weights) == (True, "happy:0.5|sad:0.25", {"happy": 0.5, "sad": 0.25})
    edits = found.edits(workbench.language(), [2], 0.8, place="last", bound="none")
    # Two and one of every three sentences.
    assert [edit.tokens for edit in edits] == ["sentences:1011011011", "sentences:0100100100"]
    for edit, name in zip(edits, ("happy", "sad"), strict=True):
        assert torch.equal(edit.operator.direction.unit.double(), _unit(workbench.concept(name).vectors, 2))
        assert edit.strength == 0.8
    with pytest.raises(UserError, match="leave the steered tokens at last"):
        found.edits(workbench.language(), [2], 0.8, place="all", bound="none")


def test_names_with_bars_share_the_answer_equally_and_one_alone_takes_no_turns(workbench: Workbench) -> None:
    assert blend(workbench, "happy|sad").name == "happy:0.5|sad:0.5"
    assert not blend(workbench, "happy|happy").turns


def test_the_heaviest_concept_leads(workbench: Workbench) -> None:
    assert blend(workbench, "happy:0.3,sad:-0.8").leading.name == "sad"


def test_the_name_of_a_mix_can_be_asked_again(workbench: Workbench) -> None:
    found = blend(workbench, "happy:0.7,sad:0.3")
    assert found.name == "happy:0.7,sad:0.3"
    assert blend(workbench, found.name).weights == found.weights


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ("", "empty"),
        ([], "No concept is chosen"),
        (None, "No concept is chosen"),
        ("merry:1", "no concept 'merry'"),
        ({"happy": 0.0}, "Every weight is zero"),
        ({"happy": float("nan")}, "weight of happy"),
        ({"happy": 11}, "weight of happy"),
        ("happy:", "happy"),
        ("happy:1|sad:1,pirate:1", "commas and bars"),
        ([f"c{number}" for number in range(7)], "too many"),
        ({"happy": 1, "../x": 1}, "no concept"),
    ],
)
def test_what_is_no_mix_is_refused(workbench: Workbench, asked: object, named: str) -> None:
    with pytest.raises(UserError, match=named):
        blend(workbench, asked)
