"""Texts as editors and spreadsheets save them, read by all that reads lists of prompts."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from steerwright.errors import UserError, UserErrors
from steerwright.prompts.concept_library import read_library
from steerwright.prompts.concept_suite import UnlearnCanvas, concept_prompts, parse_suite, read_unlearn_canvas
from steerwright.prompts.concepts import read_list
from steerwright.prompts.suite import read_contrast_pairs, read_prompts
from steerwright.report.submission import decode_submission
from steerwright.text_file import csv_rows, read_text_file, text_lines

# What str.splitlines() takes for the end of a line and no editor does: VT, FF, FS, GS, RS, NEL, LS, PS.
INSIDE = "\v\f\x1c\x1d\x1e\x85\u2028\u2029"
BOM = "\ufeff"


def from_list(folder: Path) -> list[str]:
    return read_list(folder, "train")


def from_lines(folder: Path) -> list[str]:
    prompts: list[str] = concept_prompts(parse_suite({"kind": "lines", "counts": {"train": None}}), folder)[
        "prompt"
    ].to_list()
    return prompts


def from_canvas(folder: Path) -> list[str]:
    (folder / "train.txt").rename(folder / "sd_prompt_Dogs.txt")
    table = read_unlearn_canvas(UnlearnCanvas(styles=["Winter"]), folder)
    lines: list[str] = table.filter(pl.col("style").is_null())["prompt"].to_list()
    return lines


READERS = [from_list, from_lines, from_canvas]
SAVED = {
    "unix": "a dog{0}by a lake\na cat\n",
    "windows": "a dog{0}by a lake\r\na cat\r\n",
    "old mac": "a dog{0}by a lake\ra cat\r",
    "no last end": "a dog{0}by a lake\na cat",
    "trailing blank lines": "a dog{0}by a lake\r\na cat\r\n\r\n   \r\n",
    "byte order mark": BOM + "a dog{0}by a lake\na cat\n",
}


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("how", SAVED)
@pytest.mark.parametrize("inside", [" ", *INSIDE])
def test_a_line_is_a_prompt_however_it_is_saved(
    tmp_path: Path, read: Callable[[Path], list[str]], how: str, inside: str
) -> None:
    (tmp_path / "train.txt").write_bytes(SAVED[how].format(inside).encode())
    assert sorted(read(tmp_path)) == ["a cat", f"a dog{inside}by a lake"]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a dog\na cat\n".encode("utf-16"), "not UTF-8: byte 0 is 0xff, as in UTF-16"),
        ("a dog\na cat\n".encode("utf-16-be"), "NUL character on line 1"),
        (b"a dog\r\na\0cat\n", "NUL character on line 2"),
        (b"a caf\xe9\n", "not UTF-8: byte 5 is 0xe9"),
    ],
)
def test_other_encodings_are_refused_by_the_place(
    tmp_path: Path, read: Callable[[Path], list[str]], content: bytes, message: str
) -> None:
    (tmp_path / "train.txt").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read(tmp_path)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", BOM])
def test_rows_of_a_csv_are_named_by_their_line_in_the_file(tmp_path: Path, mark: str, end: str) -> None:
    path = tmp_path / "prompts.csv"
    rows = ["ID,prompt", f"0,a dog{INSIDE}by a lake", '1,"a cat', 'in a hat"', "", "x,a bus", "1,"]
    path.write_bytes((mark + end.join(rows) + end).encode())
    with pytest.raises(UserErrors) as refused:
        read_prompts(path)
    told = str(refused.value)
    assert "line 6: the ID 'x'" in told and "line 7: the prompt is empty" in told
    assert "already used on line 3" in told
    path.write_bytes((mark + end.join(rows[:5]) + end).encode())
    assert read_prompts(path) == {0: f"a dog{INSIDE}by a lake", 1: f"a cat{end}in a hat"}
    path.write_bytes((mark + end.join([*rows[:5], '2,"open']) + end).encode())
    with pytest.raises(UserError, match="line 6: unexpected end of data"):
        read_prompts(path)


def test_pairs_and_submissions_are_read_alike(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.csv"
    pairs.write_bytes(f"{BOM}ID,positive,negative\r\n0,a\u2028b,c\x85d\r\n".encode())
    (pair,) = read_contrast_pairs(pairs)
    assert (pair.positive, pair.negative) == ("a\u2028b", "c\x85d")
    sent = tmp_path / "submission.csv"
    sent.write_bytes(b"id,image\na,\0\n")
    with pytest.raises(UserError, match="NUL character on line 2"):
        decode_submission(sent, tmp_path / "out")


@pytest.mark.parametrize("inside", "\x85\u2028\u2029")
@pytest.mark.parametrize("mark", ["", BOM])
def test_a_library_keeps_what_stands_in_its_texts(tmp_path: Path, inside: str, mark: str) -> None:
    path = tmp_path / "concepts.yaml"
    text = f"""\
rain:
  factor: weather
  instruction: Speak of rain.
  hypothesis: It rains.
  pairs:
    - prompt: Tell{inside}me.
      positive: "It{inside}rains."
      negative: 'It is{inside}dry.'
    - {{prompt: And now, positive: It pours., negative: It is sunny.}}
"""
    path.write_bytes((mark + text).encode())
    pair, _ = read_library(path)["rain"].pairs
    assert (pair.prompt, pair.positive, pair.negative) == (
        f"Tell{inside}me.",
        f"It{inside}rains.",
        f"It is{inside}dry.",
    )


def test_lines_and_rows() -> None:
    assert text_lines("") == [] and text_lines("a") == ["a"] and text_lines("a\r\n\nb\r") == ["a", "", "b"]
    assert csv_rows('a,"b\r\nc"\nd,e\n', Path("x")) == [(1, ["a", "b\r\nc"]), (3, ["d", "e"])]


def test_a_file_without_a_mark_is_its_text(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a\r\nb")
    assert read_text_file(tmp_path / "a") == "a\r\nb"
    (tmp_path / "empty").write_bytes(b"")
    assert read_text_file(tmp_path / "empty") == ""
