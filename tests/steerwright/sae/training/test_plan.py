"""What params.yaml says about training: every mistake is named, with its key, in one message."""

from typing import Any

import pytest

from steerwright.errors import UserErrors
from steerwright.models.hookpoints import Hookpoint
from steerwright.sae.training.plan import by_steps, parse_training

MIDDLE = Hookpoint.parse("unet.mid_block.attentions.0:out")
GOOD: dict[str, Any] = {"hookpoint": "unet.mid_block.attentions.0", "architecture": "topk", "latents": 64, "k": 4}
AMOUNTS: dict[str, Any] = {"rows": 1000, "batch_rows": 100, "pool_rows": 500, "checkpoint_rows": 200, "seed": 0}


def problems(saes: dict[str, Any], **amounts: Any) -> list[str]:
    with pytest.raises(UserErrors, match="these autoencoders cannot be trained") as caught:
        parse_training(saes, AMOUNTS | amounts, [MIDDLE])
    return caught.value.problems


def test_a_plan_holds_configurations_and_hookpoints() -> None:
    planned, amounts = parse_training({"mid": GOOD, "other.seed-2": GOOD | {"seed": 2}}, AMOUNTS, [MIDDLE])
    assert {name: one.hookpoint for name, one in planned.items()} == {"mid": MIDDLE, "other.seed-2": MIDDLE}
    assert planned["other.seed-2"].config.seed == 2 and planned["mid"].config.k == 4
    assert amounts.pool_rows == 500


def test_all_mistakes_are_told_at_once() -> None:
    saes = {
        "a/b": GOOD,
        "typo": GOOD | {"latent": 5},
        "impossible": GOOD | {"k": 100},
        "nowhere": GOOD | {"hookpoint": "unet.conv_in"},
        "without": {key: value for key, value in GOOD.items() if key != "hookpoint"},
        "word": 7,
    }
    found = problems(saes, rows=0, batch_rows=-1)
    expected = [
        ("latents.sae.rows:", "greater than or equal to 1"),
        ("latents.sae.batch_rows:", "greater than or equal to 1"),
        ("latents.sae.saes.a/b:", "letters, digits"),
        ("latents.sae.saes.typo.latent:", "not permitted"),
        ("latents.sae.saes.impossible:", "k = 100 exceeds the 64 latents"),
        ("latents.sae.saes.nowhere.hookpoint:", "there are rows of unet.mid_block.attentions.0:out"),
        ("latents.sae.saes.without.hookpoint:", "is missing"),
        ("latents.sae.saes.word:", "is 7"),
    ]
    assert len(found) == len(expected)
    for problem, (key, words) in zip(found, expected, strict=True):
        assert problem.startswith(key) and words in problem


def test_a_pool_must_hold_more_than_a_batch_in_each_half() -> None:
    (found,) = problems({"mid": GOOD}, pool_rows=150)
    assert found.startswith("latents.sae.pool_rows: 150 rows hold fewer than two batches of 100")


def test_something_must_be_trained() -> None:
    assert problems({}) == ["latents.sae.saes: there is none to train; name at least one"]


def test_autoencoders_of_the_same_steps_share_a_stream_and_others_do_not() -> None:
    late = GOOD | {"steps": [9]}
    saes = {"pooled": GOOD, "late": late, "wide": GOOD | {"latents": 128}, "two": late}
    planned, _ = parse_training(saes, AMOUNTS, [MIDDLE])
    assert {steps: list(group) for steps, group in by_steps(planned).items()} == {
        None: ["pooled", "wide"],
        (9,): ["late", "two"],
    }


def test_steps_that_are_none_are_named() -> None:
    for wrong in (9, [], [-1], ["last"], [True]):
        assert "latents.sae.saes.odd.steps: is" in problems({"odd": GOOD | {"steps": wrong}})[0]
