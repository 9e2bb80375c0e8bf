"""Which pictures are made: concepts of axes, prompts that name them, seeds, and pictures that an edit leaves alone."""

import polars as pl
import pytest

from steerwright.errors import UserError
from steerwright.scoring.erasure_samples import concepts_of, named_rows, steered_samples, tuning_rows, unsteered_samples

ROWS = [
    ("t-1", "a cat in winter", "cat", "winter", 100),
    ("t-2", "a dog in winter", "dog", "winter", 200),
    ("t-3", "a cat", "cat", None, 300),
    ("t-4", "a dog in summer", "dog", "summer", 400),
    ("t-5", "a cat in summer", "cat", "summer", 500),
]
PROMPTS = pl.DataFrame(ROWS, schema=["id", "prompt", "object", "season", "seed"], orient="row")
AXES = ["object", "season"]


def test_an_axis_stands_for_all_of_its_concepts() -> None:
    assert concepts_of(PROMPTS, ["season"], AXES) == ["season:winter", "season:summer"]
    assert concepts_of(PROMPTS, ["object:dog", "object"], AXES) == ["object:dog", "object:cat"]
    with pytest.raises(UserError, match=r"no axis 'style'.*object, season"):
        concepts_of(PROMPTS, ["style"], AXES)
    with pytest.raises(UserError, match="No prompt names 'season:spring'; they name season:winter, season:summer"):
        concepts_of(PROMPTS, ["season:spring"], AXES)


def test_tuning_takes_prompts_that_name_the_target_and_prompts_that_do_not() -> None:
    assert named_rows(PROMPTS, "season:winter") == [True, True, False, False, False]
    assert named_rows(PROMPTS, "season:winter + object:cat") == [True, True, True, False, True]
    assert tuning_rows(PROMPTS, "season:winter", 5, 5) == [0, 1, 2, 3, 4]
    assert tuning_rows(PROMPTS, "season:winter", 1, 2) == [0, 2, 3]
    with pytest.raises(UserError, match="No tuning prompt names 'season:spring'"):
        tuning_rows(PROMPTS, "season:spring", 1, 1)


def test_every_picture_has_a_seed_and_a_place_of_its_own() -> None:
    shots = unsteered_samples(PROMPTS, [0, 7])
    assert [(shot.prompt_id, shot.seed) for shot in shots][:4] == [
        ("t-1", 100), ("t-1", 107), ("t-2", 200), ("t-2", 207),
    ]  # fmt: skip
    assert len({shot.path for shot in shots}) == len({(shot.prompt, shot.seed) for shot in shots}) == 10
    assert {shot.target for shot in shots} == {None}


def test_a_picture_that_an_edit_leaves_alone_is_the_unsteered_one() -> None:
    plain = unsteered_samples(PROMPTS, [0])
    acts = {shot.path: shot.prompt_id in ("t-1", "t-2") for shot in plain}
    made = steered_samples(plain, "season:winter", "steered", 1.5, acts)
    assert [shot.path == before.path for shot, before in zip(made, plain, strict=True)] == [
        False,
        False,
        True,
        True,
        True,
    ]
    assert {(shot.target, shot.method, shot.strength) for shot in made} == {("season:winter", "steered", 1.5)}
    assert [(shot.prompt_id, shot.seed) for shot in made] == [(shot.prompt_id, shot.seed) for shot in plain]
    everywhere = steered_samples(plain, "season:winter", "ablation", 1.0, None)
    both = steered_samples(plain, "season:winter + object:cat", "steered", 1.0, None)
    paths = [shot.path for shot in (*plain, *made[:2], *everywhere, *both)]
    assert len(set(paths)) == len(paths)
