"""Mixing concepts: linear, with the length of the sum, saved as any other, and every mistake named."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steerwright.errors import UserError
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint
from steerwright.vectors.direction import Direction, normalised
from steerwright.vectors.formats.vectors_file import load_vectors, save_vectors
from steerwright.vectors.mixing import mix, mix_name, parse_mix, takes_turns
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey

MODEL = Fingerprint(name="tiny", source="tiny", revision=None, digest="a1" * 32, libraries={})
LAYERS = [VectorKey(Hookpoint(f"model.layers.{layer}")) for layer in range(3)]


def vectors(concept: str, *raw: list[float], model: Fingerprint = MODEL) -> SteeringVectors:
    """Of layer l the l-th of `raw`."""
    directions = {slot: normalised(torch.tensor(one)) for slot, one in zip(LAYERS, raw, strict=False)}
    return SteeringVectors(concept, model, "mean_difference", "content", directions)


HAPPY = vectors("happy", [3.0, 0.0], [0.0, 2.0])
EXCITED = vectors("excited", [0.0, 1.0], [4.0, 0.0])
PARTS = {"happy": HAPPY, "excited": EXCITED}


def raw(mixed: SteeringVectors, layer: int) -> torch.Tensor:
    found = mixed.directions[LAYERS[layer]]
    return found.norm * found.unit


def test_a_mix_is_the_weighted_sum_of_its_parts() -> None:
    mixed = mix(PARTS, {"happy": 0.5, "excited": 2.0})
    assert torch.allclose(raw(mixed, 0), torch.tensor([1.5, 2.0]))
    assert torch.allclose(raw(mixed, 1), torch.tensor([8.0, 1.0]))
    assert float(mixed.directions[LAYERS[0]].norm) == pytest.approx(2.5)  # 1.5, 2, 2.5
    assert mixed.concept == "happy:0.5,excited:2"
    assert (mixed.model, mixed.estimator, mixed.token_policy) == (MODEL, "mix of raw", "content")


def test_parts_of_length_one_count_alike() -> None:
    mixed = mix(PARTS, {"happy": 0.6, "excited": 0.8}, of="unit")
    assert torch.allclose(raw(mixed, 0), torch.tensor([0.6, 0.8]))
    assert torch.allclose(raw(mixed, 1), torch.tensor([0.8, 0.6]))
    assert float(mixed.directions[LAYERS[0]].norm) == pytest.approx(1.0)


def test_one_part_with_weight_one_is_itself_and_minus_one_its_opposite() -> None:
    same, opposite = mix(PARTS, {"happy": 1.0}), mix(PARTS, {"happy": -1.0})
    for slot, direction in HAPPY.directions.items():
        assert torch.allclose(same.directions[slot].unit, direction.unit)
        assert torch.allclose(opposite.directions[slot].unit, -direction.unit)
        assert float(opposite.directions[slot].norm) == pytest.approx(float(direction.norm))


@settings(max_examples=30, deadline=None)
@given(st.floats(0.1, 5), st.floats(-5, -0.1), st.floats(0.1, 4))
def test_scaling_all_weights_scales_the_mix(first: float, second: float, factor: float) -> None:
    mixed = mix(PARTS, {"happy": first, "excited": second})
    scaled = mix(PARTS, {"happy": factor * first, "excited": factor * second})
    for layer in range(2):
        assert torch.allclose(raw(scaled, layer), factor * raw(mixed, layer), rtol=1e-4, atol=1e-5)


def test_where_texts_without_the_concepts_lie_is_not_known() -> None:
    slot = LAYERS[0]
    known = Direction(HAPPY.directions[slot].unit, HAPPY.directions[slot].norm, torch.tensor(0.7))
    part = SteeringVectors("happy", MODEL, "", "last", {slot: known}, controls={slot: 0.1})
    mixed = mix({"happy": part}, {"happy": 2.0})
    assert mixed.directions[slot].origin is None
    assert mixed.controls == {}


def test_a_mix_is_saved_and_read_as_any_other(tmp_path: Path) -> None:
    mixed = mix(PARTS, parse_mix("happy:0.7,excited:-0.3"))
    save_vectors(mixed, tmp_path / "mix.safetensors")
    read = load_vectors(tmp_path / "mix.safetensors", MODEL)
    assert read.concept == "happy:0.7,excited:-0.3"
    assert parse_mix(read.concept) == {"happy": 0.7, "excited": -0.3}
    for slot, direction in mixed.directions.items():
        assert torch.equal(read.directions[slot].unit, direction.unit)
        assert torch.equal(read.directions[slot].norm, direction.norm)


def test_the_form_is_read() -> None:
    assert parse_mix("happy:0.7,excited:0.3") == {"happy": 0.7, "excited": 0.3}
    assert list(parse_mix(" b-2 : 1 , a_1:-2e-1")) == ["b-2", "a_1"]
    assert mix_name({"happy": 0.7, "sad": -1.0}) == "happy:0.7,sad:-1"


@pytest.mark.parametrize(
    "text",
    ["", "happy", "happy:", ":0.5", "happy:x", "happy:nan", "happy:inf", "happy:0", "happy:1,", "a/b:1", "../x:1"],
)
def test_anything_else_shows_the_form(text: str) -> None:
    with pytest.raises(UserError, match=r"write concepts with weights, as happy:0\.7,excited:0\.3"):
        parse_mix(text)


def test_a_name_twice_is_named() -> None:
    with pytest.raises(UserError, match="names 'happy' twice"):
        parse_mix("happy:1,sad:1,happy:2")


def test_what_cannot_be_mixed_is_named() -> None:
    other = MODEL.model_copy(update={"name": "other", "digest": "b2" * 32})
    with pytest.raises(UserError, match="A mix needs the vectors of sad; there are happy, excited"):
        mix(PARTS, {"happy": 1.0, "sad": 1.0})
    with pytest.raises(UserError, match="needs the vectors of its concepts"):
        mix(PARTS, {})
    with pytest.raises(UserError, match=r"fitted on tiny \(fingerprint a1a1.*on other \(fingerprint b2b2"):
        mix({"happy": HAPPY, "sad": vectors("sad", [1.0, 0.0], [1.0, 0.0], model=other)}, {"happy": 1.0, "sad": 1.0})
    with pytest.raises(UserError, match=r"'happy' has a vector at model\.layers\.1:out and 'sad' has none"):
        mix({"happy": HAPPY, "sad": vectors("sad", [1.0, 0.0])}, {"happy": 1.0, "sad": 1.0})
    with pytest.raises(UserError, match=r"happy:1,sad:-1 cancel each other out at model\.layers\.0"):
        mix({"happy": HAPPY, "sad": HAPPY}, {"happy": 1.0, "sad": -1.0})
    wider = vectors("wide", [1.0, 0.0, 0.0], [1.0, 0.0, 0.0])
    with pytest.raises(UserError, match="vectors of different shapes"):
        mix({"happy": HAPPY, "wide": wider}, {"happy": 1.0, "wide": 1.0})


def test_bars_say_that_concepts_take_turns_and_do_not_go_with_commas() -> None:
    assert parse_mix("happy:0.7|excited:0.3") == {"happy": 0.7, "excited": 0.3}
    assert takes_turns("happy:0.7|excited:0.3") and not takes_turns("happy:0.7,excited:0.3")
    assert mix_name({"happy": 0.5, "sad": 0.5}, turns=True) == "happy:0.5|sad:0.5"
    with pytest.raises(UserError, match="has commas and bars"):
        parse_mix("happy:0.7|excited:0.3,sad:1")
