"""UnlearnCanvas' prompt files as a table of prompts."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from steerwright.errors import UserError
from steerwright.prompts.concept_suite import STYLES, concept_prompts, parse_suite


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for concept in ("Dogs", "Cats"):
        lines = "".join(f"a picture, number {i}, of {concept.lower()}\n" for i in range(80))
        (tmp_path / f"sd_prompt_{concept}.txt").write_text(lines)
    return tmp_path


def made(folder: Path, **asked: Any) -> Any:
    return concept_prompts(parse_suite({"kind": "unlearn_canvas", **asked}), folder)


def test_every_prompt_comes_without_and_with_every_style(folder: Path) -> None:
    table = made(folder)
    assert len(table) == 2 * 80 * 51 and len(STYLES) == len(set(STYLES)) == 50
    assert table.columns == ["id", "prompt", "split", "template", "seed", "object", "style"]
    said = dict(table.select("id", "prompt").iter_rows())
    assert said["Dogs-007-none"] == "a picture, number 7, of dogs"
    assert said["Dogs-007-Van_Gogh"] == "a picture, number 7, of dogs, Van Gogh style"
    assert table.filter(id="Dogs-007-none")["style"].to_list() == [None]
    assert table["id"].n_unique() == table["seed"].n_unique() == len(table)


def test_a_prompt_and_its_styles_are_in_one_split(folder: Path) -> None:
    table = made(folder)
    assert table.select("object", "template", "split").n_unique() == 160
    lines = Counter(table.unique(["object", "template"])["split"])
    assert 112 <= lines["train"] <= 144 and 6 <= lines["test"] <= 28  # 128 and 16 of 160 expected


def test_shares_take_lines_whole(folder: Path) -> None:
    assert set(made(folder, shares={"train": 1.0})["split"]) == {"train"}
    with pytest.raises(UserError, match="add up to 1"):
        made(folder, shares={"train": 0.5})


def test_other_files_and_lines_move_nothing(folder: Path) -> None:
    before = made(folder, objects=["Dogs"], styles=["Winter"])
    (folder / "sd_prompt_Bears.txt").write_text("a bear\n")
    with (folder / "sd_prompt_Dogs.txt").open("a") as file:
        file.write("another dog\n\n")
    after = made(folder, styles=["Rust", "Winter"])
    kept = after.join(before, on=before.columns, how="semi", nulls_equal=True)
    assert kept.height == before.height
    assert after.height == (80 + 81 + 1) * 3


def test_fewer_lines_and_styles_are_taken_evenly(folder: Path) -> None:
    table = made(folder, prompts=20, styles_per_prompt=5, unstyled=False)
    assert len(table) == 2 * 20 * 5
    counts = Counter(table["style"])
    assert len(counts) >= 45 and max(counts.values()) <= 12


@pytest.mark.parametrize(
    ("name", "content", "asked", "message"),
    [
        ("sd_prompt_Dogs.txt", b"\xff\xfe", {}, "not UTF-8"),
        ("sd_prompt_Dogs.txt", b"\n \n", {}, "is empty"),
        ("sd_prompt_Dogs.txt", b"a dog\na dog\n", {}, "twice"),
        ("sd_prompt_Dogs.txt", b"a dog\n", {"objects": ["Frogs"]}, r"sd_prompt_Frogs\.txt; there are Cats, Dogs"),
    ],
)
def test_files_that_cannot_be_read_are_named(
    folder: Path, name: str, content: bytes, asked: dict[str, Any], message: str
) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        made(folder, **asked)


def test_a_folder_without_such_files_says_what_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file sd_prompt_CONCEPT"):
        made(tmp_path)
