"""Figures follow the page's theme, and mark what was chosen."""

import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from steerwright.report.html import figures
from steerwright.report.html.theme import DARK, LIGHT
from steerwright.report.winter.content import ReportContent

Make = Callable[..., ReportContent]


def drawings(content: ReportContent) -> dict[str, tuple[figures.Draw, float]]:
    return {
        "rates": figures.winter_rates(content.scores.aggregate, content.scores.target),
        "search": figures.search_heatmap(content.search, "score"),
        "scatter": figures.similarity_scatter(content.scores.per_prompt, content.scores.target),
        "layers": figures.activation_difference(content.activations),
    }


def test_an_svg_holds_no_colour_of_one_theme_and_only_variables_that_the_page_defines(make_content: Make) -> None:
    for name, drawing in drawings(make_content()).items():
        svg = figures.to_svg(drawing, name)
        assert not set(re.findall(r"#[0-9a-f]{6}", svg)) & set(LIGHT.values())
        used = set(re.findall(r"var\(--([\w-]+)\)", svg))
        assert {"ink", "sans"} <= used <= {*LIGHT, "sans"}
        assert "DejaVu" not in svg and "<metadata" not in svg


def test_no_two_theme_colours_are_the_same_so_that_each_can_be_swapped() -> None:
    assert LIGHT.keys() == DARK.keys()
    assert len(set(LIGHT.values())) == len(LIGHT)


def test_the_heatmap_writes_the_score_of_each_grid_cell_and_frames_the_chosen_one(make_content: Make) -> None:
    content = make_content()
    svg = figures.to_svg(figures.search_heatmap(content.search, "winter times fidelity"), "search")
    texts = re.findall(r">([^<>]+)</text>", svg)
    # The four cells of the grid, and below them the trial that is not of it.
    assert [text for text in texts if re.fullmatch(r"0\.\d\d", text)] == ["0.10", "0.20", "0.30", "0.90", "0.15"]
    assert "winter times fidelity" in texts and "0, 6, 7, 8" in texts
    assert svg.count("stroke: var(--fixed)") == 1
    unchosen = content.search.with_columns(pl.lit(False).alias("chosen"))
    assert "stroke: var(--fixed)" not in figures.to_svg(figures.search_heatmap(unchosen, ""), "search")


def test_a_trial_that_is_no_cell_of_the_grid_stands_below_it_with_its_strengths_and_is_framed_if_chosen() -> None:
    # The published configuration of seed 000, whose mean strength 0.5375 is no strength of the grid, and a refined one.
    def trial(layers: str, strength: float | None, strengths: str, score: float, kind: str) -> dict[str, object]:
        return {"layers": layers, "strength": strength, "strengths": strengths, "score": score, "kind": kind,
                "chosen": score == 0.61}  # fmt: skip

    rows = [
        trial("0", 0.5, "0.5", 0.1, "grid"), trial("0", 1.0, "1", 0.2, "grid"),
        trial("0, 6, 7, 8", None, "0.4, 0.25, 0.5, 1", 0.3, "grid"), trial("0, 6", None, "0.3, 0.7", 0.61, "refine"),
    ]  # fmt: skip
    svg = figures.to_svg(figures.search_heatmap(pl.DataFrame(rows), "score"), "search")
    texts = re.findall(r">([^<>]+)</text>", svg)
    assert "0: 0.4, 6: 0.25, 7: 0.5, 8: 1" in texts and "0: 0.3, 6: 0.7" in texts
    assert "0.5375" not in texts and "0.54" not in texts
    assert {"0.5", "1", "grid", "refine", "0.61"} <= set(texts)
    assert svg.count("stroke: var(--fixed)") == 1
    alone = figures.to_svg(figures.search_heatmap(pl.DataFrame(rows[2:]), "score"), "search")
    assert alone.count("stroke: var(--fixed)") == 1


def test_the_rates_are_written_beside_their_intervals(make_content: Make) -> None:
    scores = make_content().scores
    svg = figures.to_svg(figures.winter_rates(scores.aggregate, scores.target), "rates")
    written = re.findall(r">([^<>]+\u202f%)</text>", svg)
    assert written == ["0\u202f%", "0\u202f%", "100\u202f%", "50\u202f%", "0\u202f%"]


@pytest.mark.parametrize("name", ["rates", "search", "scatter", "layers"])
def test_a_png_is_drawn_and_not_empty(tmp_path: Path, make_content: Make, name: str) -> None:
    figures.save_png(drawings(make_content())[name], tmp_path / "f.png")
    with Image.open(tmp_path / "f.png") as picture:
        assert picture.width == round(figures.WIDTH * 200)
        assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 20


def test_a_search_whose_scores_are_all_equal_is_drawn(make_content: Make) -> None:
    search = make_content().search.with_columns(pl.lit(0.5).alias("score"))
    assert "0.50" in figures.to_svg(figures.search_heatmap(search, ""), "search")
