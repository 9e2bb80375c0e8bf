"""From steering vectors to edits: each layer's own vector, the right model, and every wrong setting named."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from steerwright.activations.residuals import residuals
from steerwright.errors import UserError
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.language.encode import encode_texts
from steerwright.steering.algebra import Cap, KeepNorm, Unbounded
from steerwright.steering.language.apply import check_vectors, steer_text, text_edits
from steerwright.steering.operators import Add, ProjectOut
from steerwright.vectors.direction import Direction, normalised
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey


def fitted(model: Any, *, origins: bool = False) -> SteeringVectors:
    """Vectors whose layer l points along dimension l, with norm l + 1."""
    directions = {
        VectorKey(hookpoint): Direction(
            torch.eye(32)[layer], torch.tensor(layer + 1.0), torch.tensor(0.5) if origins else None
        )
        for layer, hookpoint in enumerate(model.hookpoints)
    }
    return SteeringVectors("joy", model.fingerprint, "mean_difference", "content", directions)


@pytest.mark.parametrize("layer", range(4))
def test_a_sweep_over_layers_uses_each_layers_own_vector(
    language: Callable[[str], Any], language_shape: str, layer: int
) -> None:
    model = language(language_shape)
    encoded = encode_texts(model, ["A boat lies by the lake."])
    plain = residuals(model, encoded)
    with steer_text(model, text_edits(fitted(model), [layer], 2.0, units="unit", tokens="last", model=model)):
        steered = residuals(model, encoded)
    change = (steered - plain)[:, 0, -1]
    assert torch.allclose(change[layer], 2.0 * torch.eye(32)[layer], atol=1e-4)
    assert torch.equal(change[:layer], torch.zeros(layer, 32))


def test_several_layers_come_in_the_order_asked_for(language: Callable[[str], Any]) -> None:
    model = language("mistral")
    edits = text_edits(fitted(model), [3, 0], 1.5)
    assert [edit.hookpoint for edit in edits] == [model.hookpoints[3], model.hookpoints[0]]
    for edit, layer in zip(edits, (3, 0), strict=True):
        assert isinstance(edit.operator, Add)
        assert torch.equal(edit.operator.direction.unit, torch.eye(32)[layer])
        assert (edit.operator.units, edit.tokens, edit.strength, edit.bound) == ("relative", "last", 1.5, Unbounded())


def test_a_removal_measures_from_where_texts_without_the_concept_are_if_that_is_known(
    language: Callable[[str], Any],
) -> None:
    model = language("mistral")
    for origins in (True, False):
        (edit,) = text_edits(fitted(model, origins=origins), [2], 1.0, action="erase", tokens="all")
        assert isinstance(edit.operator, ProjectOut)
        assert edit.operator.centred == origins
        assert not edit.operator.two_sided


@pytest.mark.parametrize(("text", "bound"), [("none", Unbounded()), ("keep_norm", KeepNorm()), ("cap:0.25", Cap(0.25))])
def test_bounds_are_read(language: Callable[[str], Any], text: str, bound: Any) -> None:
    assert text_edits(fitted(language("mistral")), [1], 1.0, bound=text)[0].bound == bound


def test_vectors_of_another_model_are_refused_by_both_names(language: Callable[[str], Any]) -> None:
    mistral, llama = language("mistral"), language("llama")
    check_vectors(mistral, fitted(mistral))
    with pytest.raises(UserError, match=r"were fitted on tiny-llama from .*the model to steer is tiny-mistral from"):
        text_edits(fitted(llama), [1], 1.0, model=mistral)
    renamed = mistral.fingerprint.model_copy(update={"name": "elsewhere", "revision": "abc"})
    check_vectors(mistral, SteeringVectors("joy", renamed, "", "", fitted(mistral).directions))
    revised = mistral.fingerprint.model_copy(update={"digest": "9" * 64})
    with pytest.raises(UserError, match="fingerprint 999999999999"):
        check_vectors(mistral, SteeringVectors("joy", revised, "", "", fitted(mistral).directions))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"layers": [9]}, r"hold nothing at layer 9; they hold layers 0, 1, 2, 3"),
        ({"layers": []}, "name at least one"),
        ({"layers": [1, 1]}, "each once"),
        ({"strength": float("nan")}, "'joy' must be a finite number; found nan"),
        ({"strength": torch.tensor([1.0, torch.inf])}, "must be a finite number"),
        ({"units": "half_raw"}, "Units of strength 'half_raw' do not exist; choose one of relative, unit, raw"),
        ({"action": "remove"}, "Action 'remove' does not exist; choose one of add, erase"),
        ({"bound": "cap"}, "bound cap does not exist"),
        ({"bound": "cap:0"}, "bound cap:0 does not exist"),
        ({"bound": "cap:nan"}, "bound cap:nan does not exist"),
        ({"bound": "norm"}, "bound norm does not exist; write keep_norm"),
    ],
)
def test_every_wrong_setting_is_named(language: Callable[[str], Any], asked: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"layers": [1], "strength": 1.0, **asked}
    with pytest.raises(UserError, match=message):
        text_edits(fitted(language("mistral")), given.pop("layers"), given.pop("strength"), **given)


def test_vectors_that_are_none_of_a_text_are_refused(language: Callable[[str], Any]) -> None:
    model = language("mistral")
    hookpoint = Hookpoint("text_encoder.encoder.layers.0.mlp")
    by_position = {VectorKey(hookpoint): normalised(torch.ones(7, 32))}
    by_step = {VectorKey(hookpoint, steps=(0, 0)): normalised(torch.ones(32))}
    for directions in (by_position, by_step):
        vectors = SteeringVectors("joy", model.fingerprint, "", "", directions, (1.0,))
        with pytest.raises(UserError, match="is not one for the tokens of a text"):
            text_edits(vectors, [0], 1.0)
