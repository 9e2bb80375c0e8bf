import math

import pytest
import torch

from steerwright.errors import UserError
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint
from steerwright.steering.text_encoder import edit_norm, text_edit
from steerwright.vectors.direction import Direction
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey

MODEL = Fingerprint(name="tiny", source="here", revision=None, digest="0" * 64, libraries={})


def layer(number: int) -> Hookpoint:
    return Hookpoint(f"text_encoder.encoder.layers.{number}.mlp")


def vectors(norms: dict[int, float], types: tuple[str, ...] = ("all",)) -> SteeringVectors:
    directions = {
        VectorKey(layer(number), tokens): Direction(torch.eye(4)[0], torch.tensor(norm))
        for number, norm in norms.items()
        for tokens in types
    }
    return SteeringVectors("winter", MODEL, "mean_difference", "typed", directions)


def test_layers_and_strengths_pair_in_the_order_given() -> None:
    edits = text_edit(vectors({0: 3, 6: 4, 7: 5}), [6, 0], [1.0, 0.5], branch="both", units="raw", multiplier=2.0)
    assert {str(edit.hookpoint): edit.strength for edit in edits} == {str(layer(0)): 1.0, str(layer(6)): 2.0}
    assert {edit.branch for edit in edits} == {"both"}


def test_typed_vectors_edit_the_tokens_of_their_type() -> None:
    edits = text_edit(vectors({0: 3}, ("content", "eos", "padding")), [0], 1.0, branch="cond", units="unit")
    assert [edit.tokens for edit in edits] == ["content", "eos", "padding"]


def test_a_multiplier_per_image_becomes_a_strength_per_image() -> None:
    (edit,) = text_edit(
        vectors({0: 3}), [0], 0.5, branch="cond", units="unit", multiplier=torch.tensor([1.0, 0.0, 4.0])
    )
    assert isinstance(edit.strength, torch.Tensor)
    assert edit.strength.tolist() == [0.5, 0.0, 2.0]


def test_the_norm_of_an_edit_by_hand() -> None:
    one = vectors({0: 3.0, 6: 4.0})
    # Raw: lengths 2 * 3 and 1 * 4; half of that in the published units; unit lengths 2 and 1 otherwise.
    assert edit_norm(text_edit(one, [0, 6], [2.0, 1.0], branch="cond", units="raw")) == pytest.approx(math.sqrt(52))
    assert edit_norm(text_edit(one, [0, 6], [2.0, 1.0], branch="cond", units="half_raw")) == pytest.approx(
        math.sqrt(13)
    )
    assert edit_norm(text_edit(one, [0, 6], [2.0, 1.0], branch="cond", units="unit")) == pytest.approx(math.sqrt(5))
    # Three typed edits of length 3 are still a change of 3 for each token.
    typed = vectors({0: 3.0}, ("content", "eos", "padding"))
    assert edit_norm(text_edit(typed, [0], 1.0, branch="cond", units="raw")) == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("layers", "strengths", "units", "message"),
    [
        ([0, 9], 1.0, "raw", "holds? nothing at layer 9; they hold layers 0, 6"),
        ([0, 6], [1.0], "raw", "1 strengths for 2 layers"),
        ([0, 0], 1.0, "raw", "name one twice"),
        ([0], 1.0, "metres", "'metres' do not exist; choose one of unit, raw"),
    ],
)
def test_what_does_not_fit_is_said_in_one_message(
    layers: list[int], strengths: object, units: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        text_edit(vectors({0: 3, 6: 4}), layers, strengths, branch="cond", units=units)  # type: ignore[arg-type]
