"""The parameter sets that are shipped say what the pipelines can read."""

from pathlib import Path
from typing import Any

import pytest

from seasons.label_set import SEASONS_WORLD
from steerwright.dag.params import load_params
from steerwright.errors import UserError
from steerwright.models.select import select_model
from steerwright.prompts.concepts import contrast_pairs, parse_concepts
from steerwright.prompts.suite import read_contrast_pairs
from steerwright.scoring.samples import parse_seeds
from steerwright.scoring.target import check_pairs, parse_target
from steerwright.steering.attention import parse_edits

ROOT = Path(__file__).parents[3]


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """As `steerwright run --params` merges: mappings key by key, all else replaced."""
    found = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(found.get(key), dict)
        found[key] = merged(found[key], value) if both else value
    return found


@pytest.mark.parametrize("name", [None, "tiny", "attention-full", "real-models"])
def test_concepts_edits_and_seeds_can_be_read(name: str | None) -> None:
    params = load_params(ROOT)
    if name is not None:
        params = merged(params, load_params(ROOT, f"params/{name}.yaml"))
    attention = params["attention"]
    concepts = parse_concepts(attention["prompts"]["concepts"], SEASONS_WORLD)
    edits = parse_edits(attention["edits"], set(concepts), {"winter", "objects"}, "attention.edits")
    assert {edit.action for edit in edits.values()} == {"add", "erase", "replace"}
    for edit in edits.values():
        parse_seeds(attention["images"]["seeds"], edit.suite)
        for concept in filter(None, (edit.concept, edit.target)):
            pairs = contrast_pairs(concepts[concept], ROOT / "data" / "attention" / "contexts")
            assert all(pair.positive != pair.negative for pair in pairs)


def test_real_models_are_steered_as_published() -> None:
    params = merged(load_params(ROOT), load_params(ROOT, "params/real-models.yaml"))["attention"]
    edits = parse_edits(params["edits"], set(params["prompts"]["concepts"]), {"winter", "objects"}, "e")
    for edit in edits.values():
        assert (edit.branch, edit.bound, edit.centred, edit.gate) == ("both", "keep_norm", False, None)
    winter = parse_concepts(params["prompts"]["concepts"], SEASONS_WORLD)["winter"]
    first, *_ = contrast_pairs(winter, ROOT / "data" / "attention" / "contexts")
    assert first.positive == f"{first.negative} with snow"


@pytest.mark.parametrize("name", ["sd-1.4", "sd-1.5", "sd-2.1-base", "sdxl", "sdxl-turbo", "sd-turbo"])
def test_the_named_models_are_there(name: str) -> None:
    spec = select_model(name, load_params(ROOT)["models"])
    turbo = "turbo" in name
    assert (spec.steps == 1, spec.guidance == 0.0) == (turbo, turbo)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"action": "erase", "units": "raw"}, "units is for add"),
        ({"action": "add", "centred": True}, "centred is for erase and replace"),
        ({"action": "add", "two_sided": True}, "two_sided is for erase"),
        ({"action": "erase", "gate_at": "mid.0"}, "gate_at mid.0 says where gate is measured; give gate too"),
        ({"action": "erase", "gate": None, "gate_at": "mid.0"}, "give gate too"),
        ({"action": "erase", "gate": 0.5, "gate_until": 1}, "give gate_at the block"),
    ],
)
def test_settings_of_an_edit_that_would_change_nothing_are_refused(values: dict[str, Any], message: str) -> None:
    common = {"concept": "horse", "suite": "objects", "strengths": [1.0], "goal": 0.9}
    with pytest.raises(UserError, match=message):
        parse_edits({"one": {**common, **values}}, {"horse"}, {"objects"}, "attention.edits")
    fine = {"action": "erase", "units": "unit", "gate": None, "gate_at": None, "centred": False}
    assert parse_edits({"one": {**common, **fine}}, {"horse"}, {"objects"}, "attention.edits")


@pytest.mark.parametrize(
    ("name", "key", "words"),
    [
        (None, "winter", "in winter"), ("tiny", "winter", "in winter"), ("autumn", "autumn", "in autumn"),
        ("winter-night", "winter_night", "in winter at night"), ("real-models", "winter", "in winter"),
    ],
)  # fmt: skip
def test_what_the_winter_pipeline_steers_towards_has_pairs_of_its_own(name: str | None, key: str, words: str) -> None:
    params = load_params(ROOT)
    if name is not None:
        params = merged(params, load_params(ROOT, f"params/{name}.yaml"))
    winter = params["winter"]
    concept, added = winter["vectors"]["concept"], winter["images"]["added_words"]
    target = parse_target(concept, winter["concepts"], SEASONS_WORLD, added, winter["resistance"])
    assert (target.key, target.added_words) == (key, words)
    pairs = {name: read_contrast_pairs(ROOT / "data" / "winter" / one.pairs) for name, one in target.concepts.items()}
    check_pairs(target, pairs)
    assert all(len(several) == 64 for several in pairs.values())
    named = {name: [SEASONS_WORLD.named(pair.positive)[str(one.label)] for pair in pairs[name]] for name, one in
             target.concepts.items()}  # fmt: skip
    assert named == {name: [one.value] * 64 for name, one in target.concepts.items()}
