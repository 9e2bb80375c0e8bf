"""The scoreboard: aligned, within 110 columns, its numbers those of the table, in three forms."""

import base64
import re
from pathlib import Path

import polars as pl
import pytest

from seasons.label_set import SEASONS_WORLD
from steerwright.report.scoreboard import measures, scoreboard_table, scoreboard_text, write_scoreboard
from steerwright.scoring.target import parse_target

WINTER = parse_target("winter", {}, SEASONS_WORLD)
THIN = "\u202f"
METHODS = ("text encoder, fixed", "text encoder, <adaptive>", "cross-attention, add")


@pytest.fixture
def scores() -> pl.DataFrame:
    rows = [
        {"method": method, "metric": metric, "estimate": 0.9 + place / 100, "low": 0.85, "high": 0.97}
        for place, method in enumerate(METHODS)
        for metric in measures(WINTER)
    ]
    rows.append({"method": "in the prompt", "metric": "winter_rate", "estimate": 1.0, "low": None, "high": None})
    return pl.DataFrame(rows)


def test_the_text_is_a_table_whose_columns_end_together(scores: pl.DataFrame) -> None:
    lines = scoreboard_text(scores, WINTER).splitlines()
    assert lines[0].split() == ["Method", "Winter", "Labels", "Season", "changed", "CLIP", "to", "LPIPS"]
    assert set(lines[2]) == {"-"}
    assert [line.split("  ")[0] for line in lines[3:]] == [*METHODS, "in the prompt"]
    ends = [[found.end() for found in re.finditer(r"\d+ % \(\d+ to \d+\)|\b0\.\d{3}", line)] for line in lines[3:6]]
    assert len(ends[0]) == 5 and ends[0] == ends[1] == ends[2]
    assert "91 % (85 to 97)" in lines[4] and lines[4].endswith("0.910")
    # No interval, and nothing measured: a number alone, and a dash under each of the others.
    assert re.search(r"100 %\s+-\s+-\s+-\s+-$", lines[6])


def test_the_text_fits_a_terminal_however_long_a_name_is(scores: pl.DataFrame) -> None:
    name = "cross-attention, add, with everything that anybody ever thought of switched on at the same time"
    long = scores.with_columns(pl.col("method").replace({METHODS[2]: name}))
    text = scoreboard_text(long, WINTER)
    assert max(map(len, text.splitlines())) <= 110
    assert name in re.sub(r"  .*?\n|\s+", " ", re.sub(r"(?m)  +[\d%-].*$", "", text)).replace("  ", " ")


def test_a_method_alone_with_one_number_is_a_table_too() -> None:
    one = pl.DataFrame(
        {"method": ["a"], "metric": ["lpips"], "estimate": [float("nan")], "low": [None], "high": [None]}
    )
    assert scoreboard_text(one, WINTER).splitlines()[-1].split() == ["a", "-"]


def test_page_and_csv_hold_the_same_numbers_and_markup_stays_text(tmp_path: Path, scores: pl.DataFrame) -> None:
    said = {"title": "All <methods>", "note": "Thirty prompts", "perceptual": "alex"}
    path = write_scoreboard(tmp_path / "board", scores, target=WINTER, **said)
    page = path.read_text(encoding="utf-8")
    text = re.sub(r"<[^>]*>", "\n", page)
    assert "All &lt;methods&gt;" in text and "text encoder, &lt;adaptive&gt;" in text and "Thirty prompts" in text
    assert text.count(f"91{THIN}%") == 3 and text.count(f"85 to 97{THIN}%") == 9 and "0.850 to 0.970" in text
    assert "\nalex\n" in text and f"100{THIN}%" in text
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page) and "<script" not in page
    data = (path.parent / "scoreboard.csv").read_bytes()
    assert f"base64,{base64.b64encode(data).decode()}" in page
    assert pl.read_csv(path.parent / "scoreboard.csv")["estimate"].to_list() == pytest.approx(
        scores["estimate"].to_list()
    )
    assert (path.parent / "scoreboard.txt").read_text() == scoreboard_text(scores, WINTER)
    again = write_scoreboard(tmp_path / "again", scores, target=WINTER, **said)
    assert again.read_bytes() == path.read_bytes()


def test_what_the_scoreboard_does_not_know_is_refused_by_name(scores: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="no metric 'beauty'; it knows winter_rate"):
        scoreboard_table(scores.with_columns(pl.col("metric").replace({"lpips": "beauty"})), WINTER)
    with pytest.raises(ValueError, match="winter_rate of 'text encoder, fixed' twice"):
        scoreboard_text(pl.concat([scores, scores[:1]]), WINTER)
    with pytest.raises(ValueError, match="lack the columns low"):
        scoreboard_text(scores.drop("low"), WINTER)
