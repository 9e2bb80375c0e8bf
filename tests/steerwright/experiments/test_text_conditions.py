"""The conditions of a run, from planted vectors: which texts are generated, with which edits, and what is refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from steerwright.errors import UserError, UserErrors
from steerwright.experiments.language import Removal, TextCondition, all_vectors, conditions, joined, mixed
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint
from steerwright.steering.language.sweep import SteeringWay
from steerwright.steering.operators import Add, ProjectOut
from steerwright.vectors.direction import Direction
from steerwright.vectors.formats.vectors_file import save_vectors
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey

MODEL = Fingerprint(name="m", source="s", revision=None, digest="1" * 64, libraries={})
POINTS = [Hookpoint(f"model.layers.{layer}") for layer in range(3)]
HAPPY, SAD = (
    SteeringVectors(
        name, MODEL, "mean_difference", "content",
        {VectorKey(point): Direction(torch.eye(4)[axis], torch.tensor(2.0), torch.tensor(-1.0)) for point in POINTS},
    )
    for name, axis in (("happy", 0), ("sad", 1))
)  # fmt: skip
# What asking for it does to the tokens of an answer lies another way.
ASKING = replace(HAPPY, directions={slot: replace(one, unit=torch.eye(4)[2]) for slot, one in HAPPY.directions.items()})
CHOSEN = {"happy": {"layer": 1, "strength": 0.5}}
MIX = "happy:3,sad:4"


def made(**more: object) -> dict[str, TextCondition]:
    removal = Removal(**more)  # type: ignore[arg-type]
    found = conditions(
        {"happy": HAPPY, "sad": SAD, MIX: mixed(MIX, {"happy": HAPPY, "sad": SAD})}, {"happy": "Be happy."}, CHOSEN,
        {MIX: {"layer": 2, "strength": 0.7}},
        SteeringWay(units="relative", tokens="generated", bound="keep_norm"), removal, {"happy": ASKING}, 7,
    )  # fmt: skip
    return {name: one for one in found for name in one.as_}


def test_steered_and_random_are_at_the_chosen_point_and_differ_in_the_direction_alone() -> None:
    found = made()
    assert set(found) == {"unsteered", "steered", "random", "instruction", "asked", "removed", "mix"}
    (steered,), (random,) = found["steered"].edits, found["random"].edits
    for edit in (steered, random):
        assert edit.hookpoint == POINTS[1] and edit.strength == 0.5 and edit.tokens == "generated"
        assert isinstance(edit.operator, Add) and edit.operator.units == "relative"
    assert steered.bound == random.bound
    assert torch.equal(steered.operator.direction.unit, torch.eye(4)[0])  # type: ignore[union-attr]
    assert abs(float(random.operator.direction.unit[0])) < 0.99  # type: ignore[union-attr]
    assert found["unsteered"].edits == found["instruction"].edits == ()


def test_words_are_added_to_the_prompt_where_it_asks_and_one_generation_serves_both_controls() -> None:
    found = made()
    assert found["instruction"] is found["asked"]
    assert found["instruction"].given("Tell me.") == found["removed"].given("Tell me.") == "Tell me. Be happy."
    assert found["steered"].given("Tell me.") == found["unsteered"].given("Tell me.") == "Tell me."


def test_removal_takes_the_component_out_at_every_layer_or_those_named() -> None:
    edits = made()["removed"].edits
    assert [edit.hookpoint for edit in edits] == POINTS
    assert all(isinstance(edit.operator, ProjectOut) and edit.operator.centred for edit in edits)
    assert all(torch.equal(edit.operator.direction.unit, torch.eye(4)[2]) for edit in edits)  # type: ignore[union-attr]
    assert {edit.strength for edit in edits} == {1.5} and {edit.tokens for edit in edits} == {"all"}
    (one,) = made(layers=[2], strength=2.0, tokens="last")["removed"].edits
    assert (one.hookpoint, one.strength, one.tokens) == (POINTS[2], 2.0, "last")


def test_a_concept_is_subtracted_where_it_is_added_or_at_the_layers_named() -> None:
    (edit,) = made(by="subtract", strength=0.8, tokens="last")["removed"].edits
    assert (edit.hookpoint, edit.strength, edit.tokens) == (POINTS[1], -0.8, "last")
    assert isinstance(edit.operator, Add) and edit.operator.units == "relative"
    assert torch.equal(edit.operator.direction.unit, torch.eye(4)[2])  # type: ignore[union-attr]
    assert [one.hookpoint for one in made(by="subtract", layers=[0, 2])["removed"].edits] == [POINTS[0], POINTS[2]]


def test_joined_conditions_steer_their_own_rows_alone() -> None:
    found = made()
    edits = joined([found["unsteered"], found["steered"], found["removed"]], 2)
    assert [edit.hookpoint for edit in edits] == [POINTS[1], *POINTS]
    strengths = [edit.strength.tolist() for edit in edits]  # type: ignore[union-attr]
    assert strengths == [[0, 0, 0.5, 0.5, 0, 0], *[[0, 0, 0, 0, 1.5, 1.5]] * 3]


def test_a_mix_goes_its_own_way_by_the_weights_alone() -> None:
    found = made()["mix"]
    assert (found.concept, found.layer, found.strength) == (MIX, 2, 0.7)
    (edit,) = found.edits
    # Weights 3 and 4 of two axes at a right angle: a direction (0.6, 0.8), whatever the vectors' norms are.
    assert torch.allclose(edit.operator.direction.unit, torch.tensor([0.6, 0.8, 0.0, 0.0]))  # type: ignore[union-attr]


def test_vectors_are_read_with_mixes_of_those_that_there_are(tmp_path: Path) -> None:
    for vectors in (SAD, HAPPY):
        save_vectors(vectors, tmp_path / f"{vectors.concept}.safetensors")
    found = all_vectors(tmp_path, MODEL, [MIX])
    assert list(found) == ["happy", "sad", MIX]
    with pytest.raises(UserErrors, match=r"happy:1,calm:1: there is no concept calm"):
        all_vectors(tmp_path, MODEL, ["happy:1,calm:1"])
    with pytest.raises(UserError, match="fitted on"):
        all_vectors(tmp_path, MODEL.model_copy(update={"digest": "2" * 64}), [])
