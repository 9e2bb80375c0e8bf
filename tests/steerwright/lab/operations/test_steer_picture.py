"""Steering a picture in the lab: it shows what was asked for, and mistakes are refused before anything is drawn."""

import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steerwright.errors import UserError
from steerwright.lab.jobs import Cancelled, Job
from steerwright.lab.operations.steer_feature import layer_features, steer_feature
from steerwright.lab.operations.steer_picture import picture_strip, steer_picture
from steerwright.models.generate import generate

ROOT = Path(__file__).parents[4]
HOUSE, CAT = "a red house by a lake", "a yellow cat on a street"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A workbench of the embedded picture models, whose pipelines have not run."""
    import yaml

    from steerwright.lab.workbench import Workbench
    from steerwright.models.language.spec import LanguageSpec

    root = tmp_path_factory.mktemp("lab")
    (root / "models").symlink_to(ROOT / "models")
    models = yaml.safe_load((ROOT / "params.yaml").read_text())["models"]
    return Workbench(root, LanguageSpec(name="none", source="nowhere"), models)


def label(found: Any, name: str) -> tuple[str, str]:
    one = next(one for one in found.change.labels if one.label == name)
    return one.before, one.after


@pytest.mark.slow
@pytest.mark.parametrize("method", ["text", "attention", "latents"])
def test_every_method_brings_winter_into_a_picture_without_it(lab: Any, method: str) -> None:
    found = steer_picture(lab, HOUSE, method, "add-winter", seed=3)
    assert label(found, "season") == ("summer", "winter")
    assert label(found, "object") == ("house", "house")
    assert found.change.distance > 0.5
    assert np.array_equal(found.unsteered, generate(lab.picture_model("seasons-sd"), [HOUSE], [3])[0])


@pytest.mark.slow
def test_a_cat_is_replaced_by_a_horse_and_its_presence_falls(lab: Any) -> None:
    found = steer_picture(lab, CAT, "attention", "cat-to-horse", seed=3)
    assert label(found, "object") == ("cat", "horse")
    assert found.heat.mean() < found.heat_unsteered.mean()


def test_latents_erase_a_cat_and_fall_silent(lab: Any) -> None:
    found = steer_picture(lab, CAT, "latents", "erase-cat", seed=3)
    assert label(found, "object")[0] == "cat" and label(found, "object")[1] != "cat"
    assert found.heat.mean() < 0.5 * found.heat_unsteered.mean()


def test_an_edit_whose_gate_stays_shut_and_strength_0_change_nothing(lab: Any) -> None:
    for edit, strength in (("erase-cat", None), ("add-winter", 0.0)):
        found = steer_picture(lab, HOUSE, "latents", edit, strength, seed=3)
        assert np.array_equal(found.steered, found.unsteered)
        assert found.change.distance == 0.0


def test_a_word_of_the_prompt_can_be_looked_for(lab: Any) -> None:
    found = steer_picture(lab, HOUSE, "attention", "add-winter", 0.0, seed=3, heat="house")
    assert "“house”" in found.heat_of
    assert np.array_equal(found.heat, found.heat_unsteered)
    with pytest.raises(UserError, match="no word of the prompt 'tower'; choose one of"):
        steer_picture(lab, HOUSE, "attention", "add-winter", 0.0, seed=3, heat="tower")


def test_a_strip_shows_each_picture_as_it_comes_and_its_strength_0_is_the_unsteered_one(lab: Any) -> None:
    seen: list[int] = []
    found = picture_strip(
        lab, HOUSE, "text", "add-winter", [0.0, 0.5], 3, Job(show=lambda strip: seen.append(len(strip.pictures)))
    )
    assert seen == [1, 2]
    assert found.changes[0].distance == 0.0 and found.changes[1].distance > 0.5
    assert np.array_equal(found.pictures[1], steer_picture(lab, HOUSE, "text", "add-winter", 0.5, 3).steered)


def test_a_strip_that_is_stopped_keeps_what_it_has_shown(lab: Any) -> None:
    shown: list[Any] = []
    job = Job(show=shown.append, cancelled=lambda: len(shown) >= 2)
    with pytest.raises(Cancelled):
        picture_strip(lab, HOUSE, "text", "add-winter", [0.0, 0.2, 0.4, 0.6], 3, job)
    assert [len(strip.pictures) for strip in shown] == [1, 2]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"prompt": "  "}, "prompt is empty"),
        ({"prompt": "x" * 301}, "301 characters; at most 300"),
        ({"prompt": "x" * 300, "method": "text"}, "shorten it"),
        ({"method": "../../etc"}, "no method"),
        ({"edit": "erase-winter"}, "no edit 'erase-winter'; choose one of add-winter"),
        ({"strength": math.nan}, "strength must be a number"),
        ({"strength": 1e9}, "strength must be a number from"),
        ({"seed": -1}, "seed must be a whole number"),
    ],
)
def test_mistakes_are_refused_in_words(lab: Any, wrong: dict[str, Any], message: str) -> None:
    asked = {"prompt": HOUSE, "method": "attention", "edit": "add-winter", "strength": 1.0, "seed": 3, **wrong}
    with pytest.raises(UserError, match=message):
        steer_picture(lab, **asked)


@pytest.mark.slow
def test_requests_at_once_get_what_each_gets_alone(lab: Any) -> None:
    asked = [
        (HOUSE, "text", "add-winter"), (CAT, "attention", "cat-to-horse"), (HOUSE, "latents", "add-autumn"),
    ]  # fmt: skip
    alone = [steer_picture(lab, *one, seed=11).steered for one in asked]
    together: dict[int, Any] = {}

    def work(number: int) -> None:
        together[number] = steer_picture(lab, *asked[number], seed=11)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, wanted in enumerate(alone):
        assert np.array_equal(together[number].steered, wanted)


def test_a_flux_feature_of_summer_turns_autumn_into_summer(lab: Any) -> None:
    first = layer_features(lab, "late")[0]
    assert first.value == "summer"
    found = steer_feature(lab, "a red house by a lake at noon", "late", first.latent, 0.8, 5)
    assert label(found, "season") == ("autumn", "summer")
    # What it adds is the feature itself: it is active where it was not.
    assert found.heat[5].mean() > found.heat_unsteered[5].mean()
    still = steer_feature(lab, "a red house by a lake at noon", "late", first.latent, 0.0, 5)
    assert np.array_equal(still.steered, found.unsteered)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"layer": "middle"}, "no layer 'middle'; choose one of early, late"),
        ({"latent": 1.5}, "feature must be a whole number"),
        ({"latent": 2}, "no feature 2 among those of the late layer"),
        ({"strength": math.inf}, "strength must be a number from -1.2 to 1.2"),
    ],
)
def test_mistakes_with_features_are_refused_in_words(lab: Any, wrong: dict[str, Any], message: str) -> None:
    asked = {"prompt": HOUSE, "layer": "late", "latent": 243, "strength": 0.5, "seed": 1, **wrong}
    with pytest.raises(UserError, match=message):
        steer_feature(lab, **asked)
