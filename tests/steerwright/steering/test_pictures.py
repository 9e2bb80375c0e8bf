"""`make_pictures` and its changes: what is given is used, or refused in one message, as on the command line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from steerwright.errors import UserError
from steerwright.models.attention_blocks import attention_blocks
from steerwright.models.generate import generate
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.load import load_model
from steerwright.models.spec import ModelSpec
from steerwright.steering.pictures import add, add_to_text, as_grid, erase, make_pictures, open_model, replace
from steerwright.vectors.direction import normalised
from steerwright.vectors.steering_vectors import SteeringVectors, VectorKey

PROMPT = "a red house"
WORDS = "winter snow", "summer heat"


@pytest.fixture(scope="module")
def winter(sd21: Any) -> SteeringVectors:
    blocks = attention_blocks(sd21.pipeline)[-2:]
    directions = {VectorKey(block.hookpoint): normalised(torch.ones(block.width).cumsum(0)) for block in blocks}
    return SteeringVectors("winter", sd21.fingerprint, "none", "mean", directions)


@pytest.fixture(scope="module")
def text(sd21: Any) -> SteeringVectors:
    layers = {VectorKey(Hookpoint("text_encoder.encoder.layers.2.mlp")): normalised(torch.ones(32).cumsum(0))}
    return SteeringVectors("text", sd21.fingerprint, "none", "all", layers)


def apart(one: Any, other: Any) -> int:
    return int(np.abs(one.pixels.astype(int) - other.pixels).max())


def test_each_picture_has_its_own_negative_prompt(sd21: Any, tmp_path: Path) -> None:
    alone = [make_pictures(sd21, PROMPT, 1, negative_prompt=words)[0] for words in WORDS]
    together = make_pictures(sd21, [PROMPT, PROMPT], 1, negative_prompt=list(WORDS))
    assert [apart(*pair) for pair in zip(together, alone, strict=True)] < [2, 2]
    assert apart(*together) > 2
    for picture, words in zip(together, WORDS, strict=True):
        with Image.open(picture.save(tmp_path / "out.png")) as opened:
            assert opened.text["negative_prompt"] == words  # type: ignore[attr-defined]
    # Batches of one, and one text for each prompt with all of its seeds.
    for options in ({"batch_size": 1}, {}):
        found = make_pictures(sd21, [PROMPT, PROMPT], [1, 2], negative_prompt=WORDS, **options)  # type: ignore[arg-type]
        assert [picture.about["negative_prompt"] for picture in found] == [WORDS[0]] * 2 + [WORDS[1]] * 2
        assert max(apart(found[0], alone[0]), apart(found[2], alone[1])) <= 1
    assert as_grid(together, 2).about["negative_prompt"] == '["winter snow", "summer heat"]'
    assert as_grid(found[:2], 2).about["negative_prompt"] == "winter snow"


def test_a_picture_without_a_negative_prompt_among_others_is_the_plain_one(sd21: Any) -> None:
    plain, steered = make_pictures(sd21, [PROMPT, PROMPT], 1, negative_prompt=["", WORDS[0]])
    assert apart(plain, make_pictures(sd21, PROMPT, 1)[0]) <= 1
    assert apart(steered, make_pictures(sd21, PROMPT, 1, negative_prompt=WORDS[0])[0]) <= 1


def test_seeds_of_numpy_and_torch_are_seeds(sd21: Any) -> None:
    plain = make_pictures(sd21, PROMPT, [3, 4])
    for seeds in (np.array([3, 4]), torch.tensor([3, 4]), [np.int64(3), torch.tensor(4)]):
        found = make_pictures(sd21, PROMPT, seeds)  # type: ignore[arg-type]
        assert [picture.about["seed"] for picture in found] == ["3", "4"]
        assert max(apart(*pair) for pair in zip(found, plain, strict=True)) == 0
    assert np.array_equal(generate(sd21, [PROMPT], np.array([3])), plain[0].pixels[None])  # type: ignore[arg-type]
    assert make_pictures(sd21, PROMPT, np.int64(3))[0].about["seed"] == "3"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 0}, "at least 1 step"),
        ({"steps": False}, "at least 1 step"),
        ({"guidance": float("nan")}, "guidance nan"),
        ({"height": 0}, "height 0"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"seeds": True}, "a seed is a whole number"),
        ({"seeds": -1}, "a seed is a whole number"),
        ({"seeds": []}, "There is no seed"),
        ({"prompts": []}, "There is no prompt"),
        ({"prompts": ["a", " "]}, "prompt number 2 is empty"),
        ({"prompts": 3}, "is no text"),
        ({"negative_prompt": ["a", "b", "c"]}, "3 negative prompts for 1 pictures"),
        ({"negative_prompt": 3}, "1 negative prompts|is no text"),
        ({"guidance": 1, "negative_prompt": "a house"}, "negative prompt would change nothing"),
        ({"guidance": 0.5, "negative_prompt": ["a house"]}, "negative prompt would change nothing"),
        ({"guidance_scale": 3}, "There is no setting guidance_scale; choose among negative_prompt"),
        ({"num_inference_steps": 3}, "There is no setting num_inference_steps"),
        ({"edits": None}, "There is no setting edits"),
    ],
)
def test_what_would_be_ignored_or_cannot_be_is_refused(sd21: Any, given: dict[str, Any], message: str) -> None:
    asked: dict[str, Any] = {"prompts": PROMPT, "seeds": 1, **given}
    with pytest.raises(UserError, match=message):
        make_pictures(sd21, asked.pop("prompts"), asked.pop("seeds"), **asked)


def test_the_library_below_refuses_it_too(sd21: Any) -> None:
    for options, message in (
        ({"steps": 0}, "at least 1 step"),
        ({"guidance": 1.0, "negative_prompt": "x"}, "would change nothing"),
        ({"negative_prompt": ["x", "y"]}, "2 negative prompts for 1 pictures"),
        ({"guidance_scale": 3.0}, "There is no setting guidance_scale"),
    ):
        with pytest.raises(UserError, match=message):
            generate(sd21, [PROMPT], [1], **options)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="1 prompts but 2 seeds"):
        generate(sd21, PROMPT, [1, 2])


def test_an_unconditional_branch_that_does_not_run_is_not_edited(
    sd21: Any, winter: SteeringVectors, text: SteeringVectors
) -> None:
    for change in (add(winter, 5, branch="uncond"), add_to_text(text, 5, layers=2, branch="uncond")):
        with pytest.raises(UserError, match=r"branch uncond: tiny-sd-2\.1 with guidance 1 has one branch only"):
            make_pictures(sd21, PROMPT, 1, [change], guidance=1)
        assert len(make_pictures(sd21, PROMPT, 1, [change], guidance=2, steps=1)) == 1
    both = add(winter, 5, branch="both")
    assert len(make_pictures(sd21, PROMPT, 1, [both], guidance=1, steps=1)) == 1


@pytest.mark.parametrize(
    ("action", "recipe", "message"),
    [
        ("erase", {"units": "raw"}, "units is for add"),
        ("replace", {"units": "raw"}, "units is for add"),
        ("add", {"two_sided": True}, "two_sided is for erase"),
        ("replace", {"two_sided": True}, "two_sided is for erase"),
        ("add", {"centred": True}, "centred is for erase and replace"),
        ("erase", {"gate_at": "mid.0"}, "gate_at mid.0 says where gate is measured; give gate too"),
        ("erase", {"gate": 0.5, "gate_until": 0}, "give gate_at the block to look at"),
        ("add", {"layers": [1]}, "An edit has no setting layers; choose among places"),
        ("add", {"branch": "left"}, "Branch 'left' does not exist"),
        ("add", {"units": "metres"}, "Units 'metres' do not exist"),
        ("add", {"bound": float("nan")}, "bound nan does not exist; choose none, keep_norm, or cap:SHARE"),
        ("add", {"bound": 0.3}, "bound 0.3 does not exist; write cap:0.3"),
        ("add", {"bound": True}, "bound True does not exist; choose none"),
        ("add", {"gate": float("inf")}, "gate inf"),
        ("add", {"strength": float("nan")}, "strength nan of winter is not a finite number"),
        ("add", {"strength": True}, "strength True"),
        ("erase", {"strength": "1"}, "strength '1'"),
    ],
)  # fmt: skip
def test_settings_that_an_action_makes_nothing_of_are_refused(
    winter: SteeringVectors, action: str, recipe: dict[str, Any], message: str
) -> None:
    make: Any = {"add": add, "erase": erase, "replace": lambda v, *s, **r: replace(v, v, *s, **r)}[action]
    with pytest.raises(UserError, match=message):
        make(winter, recipe.pop("strength", 1.0), **recipe)


def test_steps_and_marks_that_there_are_not_are_refused(sd21: Any, winter: SteeringVectors) -> None:
    held = add(winter, 1, gate=0.5, gate_at="up", gate_until=9)
    with pytest.raises(UserError, match="gate_until 9: there is no such step; this run has steps 0 to"):
        make_pictures(sd21, PROMPT, 1, [held])
    with pytest.raises(UserError, match="none has a control"):
        make_pictures(sd21, PROMPT, 1, [add(winter, 1, noise=False)])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 0}, "at least 1 step"),
        ({"guidance": -1}, "guidance -1"),
        ({"revision": "main"}, "is a folder, which has none"),
        ({"dtype": "float8"}, "dtype"),
    ],
)
def test_a_model_is_not_opened_with_what_cannot_be(sd21_folder: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_model(sd21_folder, **given)


def test_a_model_without_guidance_takes_none(flux_folder: Any) -> None:
    spec = ModelSpec(name="schnell", family="flux", source=str(flux_folder("schnell")), steps=1, guidance=0.0)
    model = load_model(spec, device=torch.device("cpu"))
    with pytest.raises(UserError, match=r"guidance 4: schnell was distilled to run without guidance"):
        make_pictures(model, PROMPT, 1, guidance=4)
    assert len(make_pictures(model, PROMPT, 1, guidance=0)) == 1
    with pytest.raises(UserError, match="takes no negative prompt"):
        make_pictures(model, PROMPT, 1, negative_prompt="x")
