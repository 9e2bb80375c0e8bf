"""Prompts that stand in files, a line each."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from steerwright.errors import UserError, UserErrors
from steerwright.prompts.concept_suite import concept_prompts, parse_suite


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train.txt").write_text("# captions\na dog on a beach\n\na cat in a hat\na red bus\n")
    (tmp_path / "test.txt").write_text("a blue bus\na kite\n")
    return tmp_path


def made(folder: Path, **asked: Any) -> pl.DataFrame:
    return concept_prompts(parse_suite({"kind": "lines", **asked}), folder)


def test_each_line_is_a_prompt_of_its_files_split(folder: Path) -> None:
    table = made(folder, counts={"train": None, "test": 1})
    assert table["prompt"].to_list() == ["a dog on a beach", "a cat in a hat", "a red bus", "a blue bus"]
    assert table["split"].to_list() == ["train", "train", "train", "test"]
    assert table.columns == ["id", "prompt", "split", "template", "seed"]


def test_a_line_more_or_another_order_changes_no_other_prompts_id_or_seed(folder: Path) -> None:
    before = {row["prompt"]: row for row in made(folder, counts={"train": None}).drop("template").to_dicts()}
    (folder / "train.txt").write_text("a boat\na red bus\na dog on a beach\na cat in a hat\n")
    after = {row["prompt"]: row for row in made(folder, counts={"train": None}).drop("template").to_dicts()}
    assert {prompt: after[prompt] for prompt in before} == before
    assert len({row["seed"] for row in after.values()}) == 4


def test_a_prompt_in_two_files_is_refused_and_named(folder: Path) -> None:
    (folder / "test.txt").write_text("a red bus\n")
    with pytest.raises(UserErrors, match="a red bus"):
        made(folder, counts={"train": None, "test": None})


def test_a_missing_file_is_named(folder: Path) -> None:
    with pytest.raises(UserError, match="tuning"):
        made(folder, counts={"tuning": 3})
