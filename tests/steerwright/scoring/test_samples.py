"""Which pictures are made for an edit."""

from collections import Counter
from typing import Any

import pytest

from steerwright.errors import UserErrors
from steerwright.prompts.concepts import Concept
from steerwright.scoring.samples import EditSample, Seeds, edit_samples, parse_seeds
from steerwright.steering.attention import EditSpec

CONCEPTS = {
    "horse": Concept(text="horse", contexts="x", words=("horse",), without="scene", label="object", value="horse"),
    "umbrella": Concept(text="umbrella", contexts="x", words=("umbrella",), label="object", value="umbrella"),
    "winter": Concept(
        text="in winter", against=("in summer", "in spring"), contexts="x", words=("winter",), label="season",
        value="winter",
    ),
}  # fmt: skip
SEEDS = Seeds(scored=(1, 2), sweep=(1,), controls=(2,))
PROMPTS = [{"id": 3, "prompt": "a horse in winter"}, {"id": 4, "prompt": "a car"}]


def planned(**changed: Any) -> list[EditSample]:
    values = {"action": "erase", "concept": "horse", "suite": "objects", "strengths": [0.5, 1.0, 2.0], "goal": 0.9}
    edit = EditSpec.model_validate(values | changed)
    return edit_samples("the-edit", edit, CONCEPTS, PROMPTS, strength=1.0, seeds=SEEDS)


def test_the_operating_point_and_the_controls_have_all_seeds_and_the_sweep_its_own() -> None:
    counts = Counter(one.condition for one in planned())
    assert counts == {
        "unsteered": 4, "steered_0": 2, "steered_1": 4, "steered_2": 2, "random": 2, "prompt": 2, "negative": 2,
    }  # fmt: skip
    for one in planned():
        assert one.operating == (one.condition not in ("steered_0", "steered_2"))
        assert one.unsteered == f"objects/unsteered/{one.prompt_id}-{one.seed}.png"
        own = f"the-edit/{one.condition}/{one.prompt_id}-{one.seed}.png"
        assert one.path == (one.unsteered if one.condition == "unsteered" else own)
        assert one.steering == {"steered": "edit", "random": "random"}.get(one.shown_as, "none")
        assert (one.strength > 0) == (one.steering != "none")
    assert len({(one.condition, one.prompt_id, one.seed) for one in planned()}) == len(planned())


def said(condition: str, **changed: Any) -> list[str]:
    return [one.prompt for one in planned(**changed) if one.condition == condition and one.seed == 2]


def test_the_prompt_control_says_in_words_what_the_edit_does() -> None:
    assert said("prompt") == ["a scene in winter", "a car"]
    assert said("prompt", action="replace", target="umbrella") == ["an umbrella in winter", "a car"]
    assert said("prompt", action="add", concept="winter") == ["a horse in winter", "a car in winter"]
    assert said("random") == said("steered_1") == said("unsteered") == ["a horse in winter", "a car"]


def test_the_negative_prompt_names_what_is_not_wanted() -> None:
    assert {one.negative_prompt for one in planned() if one.condition == "negative"} == {"horse"}
    added = planned(action="add", concept="winter")
    assert {one.negative_prompt for one in added if one.condition == "negative"} == {"in summer, in spring"}
    assert {one.negative_prompt for one in added if one.condition != "negative"} == {""}


def test_adding_what_has_no_opposite_has_no_negative_control() -> None:
    assert not any(one.condition == "negative" for one in planned(action="add", concept="umbrella"))


def test_seeds_are_given_for_each_suite() -> None:
    assert parse_seeds({"objects": {"scored": [1, 2], "sweep": [1], "controls": [2]}}, "objects") == SEEDS
    with pytest.raises(UserErrors, match="there is no 'winter'"):
        parse_seeds({"objects": {"scored": [1]}}, "winter")
    with pytest.raises(UserErrors, match=r"attention\.images\.seeds\.winter\.swep"):
        parse_seeds({"winter": {"scored": [1], "swep": [2]}}, "winter")


def test_fewer_prompts_are_taken_evenly() -> None:
    some = Seeds(scored=(1,), prompts=2)
    edit = EditSpec(action="erase", concept="horse", suite="objects", strengths=(1.0,), goal=0.9)
    prompts = [{"id": i, "prompt": f"prompt {i}"} for i in range(6)]
    made = edit_samples("e", edit, CONCEPTS, prompts, strength=1.0, seeds=some)
    assert {one.prompt_id for one in made} == {0, 3}
