"""The list of what can be done: what was searched, and the same with the concept's siblings."""

from typing import Any

import pytest
import torch

from steerwright.lab.pictures.catalogue import attention_choices, latent_choices, text_choices
from steerwright.lab.pictures.sources import AttentionSource, LatentsSource, TextSource
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.hookpoints import Hookpoint
from steerwright.vectors.direction import Direction
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey

MODEL = Fingerprint(name="m", source="m", revision=None, digest="0" * 64, libraries={})


def vectors(concept: str) -> SteeringVectors:
    direction = Direction(torch.tensor([1.0, 0.0]), torch.tensor(1.0))
    slot = VectorKey(Hookpoint("unet.mid_block.attentions.0.transformer_blocks.0.attn2"))
    return SteeringVectors(concept, MODEL, "mean_difference", "all", {slot: direction})


def entry(action: str, concept: str, target: str | None = None, **more: Any) -> dict[str, Any]:
    settings = {"suite": "objects", "strength": 1.5, "places": ["mid"], "window": None, "goal": 0.9, "kept": 1.0}
    return {"action": action, "concept": concept, "target": target, **settings, **more}


def test_an_object_is_erased_as_its_sibling_whose_erasing_was_searched() -> None:
    chosen = {
        "erase-horse": entry("erase", "horse", gate=0.75, gate_at="mid.0", centred=True),
        "cat-to-horse": entry("replace", "cat", "horse", strength=0.5),
        "add-winter": entry("add", "winter", suite="winter", strength=2.0, units="raw", attention="self"),
    }
    source = AttentionSource({name: vectors(name) for name in ("cat", "horse", "winter")}, chosen)
    found: Any = {one.choice.key: one for one in attention_choices(source)}
    assert {key for key, one in found.items() if one.choice.searched} == set(chosen)
    assert set(found) - set(chosen) == {"erase-cat", "horse-to-cat"}
    assert (found["add-winter"].recipe.attention, found["erase-cat"].recipe.attention) == ("self", "both")
    assert found["erase-cat"].recipe == found["erase-horse"].recipe
    assert found["erase-cat"].recipe.gate_at == "mid.0" and found["erase-cat"].vectors.concept == "cat"
    assert found["horse-to-cat"].target.concept == "cat"
    assert (found["add-winter"].choice.lowest, found["add-winter"].choice.highest) == (-2.0, 4.0)
    assert found["erase-cat"].choice.lowest == 0.0


def test_edits_without_vectors_are_left_out() -> None:
    chosen = {"cat-to-horse": entry("replace", "cat", "horse"), "erase-house": entry("erase", "house")}
    assert attention_choices(AttentionSource({"cat": vectors("cat")}, chosen)) == []


def test_each_layer_of_the_text_encoder_keeps_its_share_of_the_strength() -> None:
    best = {"layers": [0, 6], "strengths": [0.4, 0.1], "branch": "cond", "units": "raw"}
    (found,) = text_choices(TextSource(vectors("winter"), best))
    assert found.choice.key == "add-winter" and found.choice.strength == pytest.approx(0.4)
    assert found.shares == pytest.approx((1.0, 0.25))  # type: ignore[attr-defined]


def test_all_seasons_can_be_added_as_winter_was(picture_lab: Any, sd: Any) -> None:
    from steerwright.lab.pictures.sources import latents_source

    source: LatentsSource = latents_source(picture_lab.root, sd.fingerprint.digest)
    choices = [one.choice for one in latent_choices(source)]
    assert [one.key for one in choices if one.action == "add"] == [
        "add-winter", "add-autumn", "add-spring", "add-summer",
    ]  # fmt: skip
    assert [one.concept for one in choices if one.searched and one.action == "add"] == ["season:winter"]
    objects = {"house", "car", "boat", "horse", "cat", "tent", "tower", "umbrella"}
    assert {one.key for one in choices if one.action == "erase"} == {
        f"erase-{value}" for value in objects | {"winter", "spring", "summer", "autumn"}
    }
