"""Prompts of concepts by styles by templates: what appending leaves alone, and how evenly values come."""

from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from steerwright.errors import UserError
from steerwright.prompts.concept_grid import Axis, concept_name, spread
from steerwright.prompts.concept_suite import concept_prompts, parse_suite
from steerwright.prompts.concept_table import read_concept_prompts, seeds

AXES: dict[str, Any] = {
    "object": ["house", "umbrella", "old boat"],
    "season": {"summer": ["in summer", "in the heat"], "winter": ["in winter", "in the snow"]},
}
PLACES = {"place": {"lake": ["by a lake"], "street": ["on a street", "in the city"], "field": []}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train.txt").write_text("# wordings\n{a} {object} {season}\n{place}, {a} {object} {season}\n")
    (tmp_path / "test.txt").write_text("a photo of {a} {object} {season}\na photo of {a} {object}\n")
    return tmp_path


def made(folder: Path, counts: dict[str, int] | None = None, **more: Any) -> pl.DataFrame:
    suite = {"axes": AXES, "contexts": PLACES, "counts": counts or {"train": 12, "test": 9}, **more}
    return concept_prompts(parse_suite(suite), folder)


def test_the_table_says_of_every_prompt_what_it_names(folder: Path) -> None:
    table = made(folder)
    assert table.columns == ["id", "prompt", "split", "template", "seed", "object", "season", "place"]
    assert Counter(table["split"]) == {"train": 12, "test": 9}
    boat = table.row(by_predicate=(pl.col("id") == "test0-old_boat-winter"), named=True)
    assert boat["prompt"] in ("a photo of an old boat in winter", "a photo of an old boat in the snow")
    assert (boat["object"], boat["season"], boat["place"]) == ("old boat", "winter", None)
    plain = table.row(by_predicate=(pl.col("id") == "test1-umbrella"), named=True)
    assert (plain["prompt"], plain["season"], plain["template"]) == ("a photo of an umbrella", None, 1)
    for row in table.filter(split="train", template=1).iter_rows(named=True):
        said = {"lake": ("by a lake",), "street": ("on a street", "in the city"), "field": ("field",)}[row["place"]]
        assert row["prompt"].startswith(said)


def test_ids_prompts_and_seeds_are_each_there_once(folder: Path) -> None:
    table = made(folder)
    for column in ("id", "prompt", "seed"):
        assert table[column].n_unique() == len(table)
    assert table["seed"].min() >= 0 and table["seed"].max() < 2**53  # type: ignore[operator]
    assert made(folder).equals(table)
    assert not set(made(folder, seed=1)["seed"]) & set(table["seed"])


def test_higher_counts_append(folder: Path) -> None:
    for fewer in ({"train": 5, "test": 3}, {"train": 11, "test": 6}):
        small, large = made(folder, fewer), made(folder)
        for split in ("train", "test"):
            assert large.filter(split=split).head(fewer[split]).equals(small.filter(split=split))


def test_a_template_more_appends(folder: Path) -> None:
    before = made(folder)
    with (folder / "train.txt").open("a") as file:
        file.write("a drawing of {a} {object} {season}\n")
    after = made(folder, {"train": 18, "test": 9})
    assert after.filter(pl.col("template") < 2).equals(before)
    assert after.filter(split="train").head(12).equals(before.filter(split="train"))


def test_a_value_more_moves_nothing_that_was_there(folder: Path) -> None:
    before = made(folder)
    axes = {**AXES, "object": ["house", "tree", "umbrella", "old boat"]}
    after = concept_prompts(
        parse_suite({"axes": axes, "contexts": PLACES, "counts": {"train": 16, "test": 12}}), folder
    )
    assert after.join(before, on=before.columns, how="semi", nulls_equal=True).height == before.height
    assert set(after["object"].unique()) == {"house", "tree", "umbrella", "old boat"}


def test_each_combination_comes_once_before_any_comes_twice(folder: Path) -> None:
    table = made(folder, {"test": 6})
    assert table.select("object", "season").n_unique() == 6


def test_any_first_part_has_all_values_about_equally_often() -> None:
    for turn in range(3):
        order = list(spread(96, turn))
        assert sorted(order) == list(range(96))
        for part in (24, 48, 64):
            objects = Counter(place // 12 for place in order[:part])
            assert max(objects.values()) - min(objects.get(i, 0) for i in range(8)) <= 2
            assert max((c := Counter(place % 3 for place in order[:part])).values()) - min(c.values()) <= 1
    assert [list(spread(n)) for n in (0, 1, 2)] == [[], [0], [0, 1]]


def test_a_seed_depends_on_its_id_alone() -> None:
    assert seeds(["a", "b"], 0)[1] == seeds(["b"], 0)[0] != seeds(["b"], 1)[0]
    with pytest.raises(ValueError, match="same seed"):
        seeds(["a", "a"], 0)


def test_concepts_are_named_by_axis_and_value() -> None:
    assert Axis("season", ("summer", "winter"), {}).concepts == ("season:summer", "season:winter")
    assert concept_name("object", "horse") == "object:horse"
    suite = parse_suite({"axes": AXES, "contexts": PLACES, "counts": {"train": 1}})
    assert [axis.name for axis in suite.columns()] == ["object", "season", "place"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"counts": {"train": 13}}, "13 train prompts are asked for, but the 2 templates of .*train.txt give 12"),
        ({"counts": {"validation": 1}}, "no list 'validation'"),
        ({"counts": {"trian": 1}}, r"latents.prompts.suite.counts.trian"),
        ({"counts": {"train": 0}}, "not all 0"),
        ({"axes": {"object": []}}, "object needs values"),
        ({"axes": {"split": ["a"]}}, "'split' cannot be the name"),
        ({"axes": {"object": ["house"]}}, "place for season, which is neither"),
        ({"axes": {**AXES, "place": ["x"]}}, "place: an axis or a context, not both"),
        ({"kind": "unlearncanvas"}, "kind|tag"),
    ],
)
def test_what_cannot_be_made_is_said(folder: Path, change: dict[str, Any], message: str) -> None:
    suite = {"axes": AXES, "contexts": PLACES, "counts": {"train": 12}, **change}
    with pytest.raises(UserError, match=message):
        concept_prompts(parse_suite(suite), folder)


def test_two_templates_must_not_make_the_same_prompt(folder: Path) -> None:
    (folder / "test.txt").write_text("{a} {object} {season}\n")
    axes = {"object": ["house"], "season": ["winter"]}
    suite = parse_suite({"axes": axes, "contexts": PLACES, "counts": {"train": 1, "test": 1}})
    with pytest.raises(UserError, match="'a house winter' is train0-house-winter and test0-house-winter"):
        concept_prompts(suite, folder)


def test_a_table_without_its_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run the stage"):
        read_concept_prompts(tmp_path / "prompts.parquet")
    pl.DataFrame({"id": ["a"]}).write_parquet(tmp_path / "prompts.parquet")
    with pytest.raises(UserError, match="no column prompt and no column split"):
        read_concept_prompts(tmp_path / "prompts.parquet")


def test_the_shipped_templates_give_every_test_combination_once() -> None:
    """The seasons world: 8 objects, 4 seasons, 3 times; 640 prompts to train on and 96 of each other split."""
    from seasons.labels import OBJECTS, SEASONS, TIMES

    suite = parse_suite(
        {
            "axes": {"object": list(OBJECTS), "season": list(SEASONS), "time": list(TIMES)},
            "contexts": {"place": ["meadow", "lake"]},
            "counts": {"train": 640, "validation": 96, "tuning": 96, "test": 96},
        }
    )
    table = concept_prompts(suite, Path(__file__).parents[3] / "data" / "latents")
    test = table.filter(split="test")
    assert test.select("object", "season", "time").n_unique() == len(test) == 96
    train = table.filter(split="train")
    assert 0.3 < train["place"].null_count() / len(train) < 0.7
    for axis in ("object", "season", "time"):
        counts = Counter(train[axis])
        assert max(counts.values()) - min(counts.values()) <= 4
