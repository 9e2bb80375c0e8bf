"""The page of latents: everything on it, its numbers those of the tables, no request, the same bytes every time."""

import base64
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from steerwright.report.html.overlays import SCALE, grey_overlay, heat, shown_steps, strip
from steerwright.report.latents.content import LatentsContent
from steerwright.report.latents.grids import grids
from steerwright.report.latents.page import write_latents_report
from steerwright.report.latents.words import headlines
from tests.digests import digests
from tests.html_reader import HtmlReader

Make = Callable[..., LatentsContent]
THIN = "\u202f"


@pytest.fixture(scope="module")
def report(content: LatentsContent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_latents_report(tmp_path_factory.mktemp("report"), content)


@pytest.fixture(scope="module")
def page(report: Path) -> HtmlReader:
    return HtmlReader(report)


def bare(content: LatentsContent) -> LatentsContent:
    """Without what takes time to draw."""
    return replace(
        content, quality=content.quality.clear(), curves=content.curves.clear(), trials=content.trials.clear(),
        concept_latents=content.concept_latents.clear(), sequential=content.sequential.clear(), saes={}, done={},
        cards=[],
    )  # fmt: skip


def written(folder: Path, content: LatentsContent) -> HtmlReader:
    return HtmlReader(write_latents_report(folder, content))


def test_the_page_asks_for_nothing_outside_itself_and_its_links_lead_somewhere(report: Path, page: HtmlReader) -> None:
    ids = page.ids()
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "srcset", "action"):
            target = attributes.get(name)
            assert target is None or target.startswith("data:") or target.removeprefix("#") in ids, target
    text = report.read_text()
    assert not re.search(r"url\((?!#)|@import|<script|https?://(?!www\.w3\.org)", text)


def test_all_parts_are_there_and_what_comes_from_data_is_text(page: HtmlReader) -> None:
    parts = {"done", "rates", "pictures", "together", "autoencoders", "concepts", "latents", "points", "answers",
             "provenance", "notes"}  # fmt: skip
    assert parts <= page.sections()
    for said in ("Latents that <carry> concepts", "512 latents <each>", "a picture of a <car>", "Said <here>"):
        assert said in page.text
    assert not {"carry", "each", "car", "here"} & {tag for tag, _ in page.elements}
    for name in ("Unsteered", "Ours", "Plain ablation", "SAeUron", "Random latents"):
        assert name in page.text


@pytest.mark.parametrize(("target", "name"), [("mean over seasons", "Seasons"), ("mean over objects", "Objects")])
def test_the_table_of_methods_holds_the_estimates_and_their_intervals(
    page: HtmlReader, content: LatentsContent, target: str, name: str
) -> None:
    part = page.text[page.text.index(f" {name} 16 prompts, ") :]
    for metric, words in (("ua", "asked for, and not shown"), ("cra", "labels of other axes, right")):
        rest = part[part.index(words) + len(words) :].split()
        wanted = []
        for method in content.methods:
            row = content.rates(target)[method, metric]
            low, high = round(100 * row["low"]), round(100 * row["high"])
            wanted += [
                f"{round(100 * row['estimate'])}~%",
                *(f"{low} to {high}~%" if low != high else f"{high}~%").split(),
            ]
        assert rest[: len(wanted)] == wanted


def test_the_headlines_say_what_had_been_hoped_for_and_whether_it_came(
    page: HtmlReader, content: LatentsContent
) -> None:
    answers = {(row["target"], row["measure"]): row for row in
               content.comparisons.filter(method="steered").iter_rows(named=True)}  # fmt: skip
    found = re.findall(r"Hoped for: (at (?:least|most) [\d.]*\d)[^.]*\. Reached: (yes|no)", page.text)
    seasons, objects = (answers[f"mean over {axis}s", "ua"]["met"] for axis in ("season", "object"))
    assert [verdict for _, verdict in found[:2]] == ["yes" if met else "no" for met in (seasons, objects)]
    assert [bar for bar, _ in found] == ["at least 95", "at least 95", "at least 95", "at most 15", "at most 0.05"]


@pytest.mark.parametrize(("share", "met", "shown"), [(0.948, False, "94.8~%"), (0.952, True, "95~%")])
def test_a_number_that_missed_does_not_read_as_the_bar_itself(
    content: LatentsContent, share: float, met: bool, shown: str
) -> None:
    of_seasons = (pl.col("target") == "mean over seasons") & (pl.col("method") == "steered")
    unlearning = content.unlearning.with_columns(
        pl.when(of_seasons & (pl.col("metric") == "ua")).then(share).otherwise("estimate").alias("estimate")
    )
    comparisons = content.comparisons.with_columns(
        pl.when(of_seasons & (pl.col("measure") == "ua")).then(met).otherwise("met").alias("met")
    )
    first = headlines(replace(content, unlearning=unlearning, comparisons=comparisons))[0]
    assert first.number.replace(THIN, "~") == shown and first.met == met


def test_the_matrix_erases_on_its_diagonal_and_shows_what_the_judge_saw(content: LatentsContent) -> None:
    matrix = next(grid for grid in grids(content) if grid.name == "object-targets")
    assert matrix.columns == ("Unsteered", "car erased", "cat erased", "tent erased")
    for number, (row, value) in enumerate(zip(matrix.rows, ("car", "cat", "tent"), strict=True)):
        assert f"<{value}>" in row.prompt
        assert [cell.erasing for cell in row.cells if cell] == [place == number + 1 for place in range(4)]
        for column, cell in zip((None, "object:car", "object:cat", "object:tent"), row.cells, strict=True):
            assert cell is not None
            judged = content.images.filter(
                pl.col("target").eq_missing(pl.lit(column)), pl.col("method") == ("steered" if column else "unsteered"),
                pl.col("prompt") == row.prompt,
            ).to_dicts()[0]  # fmt: skip
            assert cell.seen == judged["object"] and cell.named == (judged["object"] == value)
            plain = content.images.filter(method="unsteered", prompt=row.prompt).to_dicts()[0]
            kept = ("season", "time", "place", "colour")
            assert set(cell.changed) == {judged[name] for name in kept if judged[name] != plain[name]}


def test_the_methods_stand_side_by_side_also_where_nothing_should_be_erased(content: LatentsContent) -> None:
    methods = next(grid for grid in grids(content) if grid.name == "season-methods")
    assert methods.columns == ("Unsteered", "Ours", "Plain ablation", "SAeUron", "Random latents")
    assert [row.about for row in methods.rows] == ["spring", "winter", "winter; spring is erased"]
    assert not any(cell.erasing for cell in methods.rows[-1].cells if cell)


def test_every_figure_is_a_png_with_its_numbers_beside_it_and_within_the_page(report: Path, page: HtmlReader) -> None:
    links = {a["download"]: str(a["href"]) for tag, a in page.elements if tag == "a" and "download" in a}
    for name in ("rates", "targets", "sequential", "training", "loss-by-step", "density", "mid-concepts", "up-concepts",
                 "season-targets", "season-methods", "object-targets", "object-methods"):  # fmt: skip
        with Image.open(report.parent / f"{name}.png") as picture:
            assert picture.format == "PNG" and len(picture.convert("RGB").getcolors(1 << 24) or []) > 20
        data = (report.parent / f"{name}.csv").read_bytes()
        assert base64.b64decode(links[f"{name}.csv"].partition(",")[2]) == data
    assert {"cards.csv", "comparisons.csv", "trials.csv", "unlearning.csv"} <= set(links)


def test_the_sequence_counts_the_concepts_that_are_erased_together(report: Path, page: HtmlReader) -> None:
    table = pl.read_csv(report.parent / "sequential.csv").filter(metric="ua").sort("concepts")
    assert table["concepts"].to_list() == [1, 2, 3]
    assert "spring, winter, car 3 concepts" in page.text


def test_a_card_shows_its_numbers_its_pictures_and_its_steps(
    report: Path, page: HtmlReader, content: LatentsContent
) -> None:
    assert "Latent 7 spring, mid Density 1.2~% AUROC 0.99 Cohen's d 2.35" in page.text
    cards = pl.read_csv(report.parent / "cards.csv")
    first = content.cards[0]
    shown = cards.filter(sae="mid", latent=7, concept="season:spring", rank=1)
    assert shown["step"].to_list() == list(first.steps)
    assert shown["largest"].to_list() == pytest.approx(first.top[0].maps.max((1, 2)).tolist(), abs=1e-6)
    heats = [a for tag, a in page.elements if tag == "img" and str(a.get("alt")).startswith("Where it is active")]
    assert len(heats) == sum(len(card.top) for card in content.cards)


def test_heat_goes_from_dark_to_bright_and_a_map_lies_over_its_place() -> None:
    scale = heat(np.array([[0.0, 1.0, 2.0]]), 2.0)
    assert [tuple(int(SCALE[end][i : i + 2], 16) for i in (1, 3, 5)) for end in (0, -1)] == [
        tuple(scale[0, 0].tolist()), tuple(scale[0, 2].tolist())
    ]  # fmt: skip
    assert (heat(np.zeros((2, 2)), 0.0) == scale[0, 0]).all()
    values = np.zeros((8, 8))
    values[:4, :4] = 1.0
    pixels = np.asarray(grey_overlay(Image.new("RGB", (64, 64), (100, 100, 100)), values, 1.0)).astype(float)
    assert pixels[:24, :24].mean() > 150 and pixels[40:, 40:].mean() == pytest.approx(62, abs=1)


def test_a_strip_has_a_tile_for_each_step_and_the_last_step_is_shown() -> None:
    assert shown_steps(range(4)) == [0, 1, 2, 3]
    places = shown_steps(range(50))
    assert len(places) == 10 and places[0] == 0 and places[-1] == 49
    image = np.asarray(strip(np.stack([np.zeros((4, 4)), np.ones((4, 4))]), 1.0))
    assert image.shape == (8, 17, 4)  # two tiles of twice 4 pixels, and one between
    assert image[:, 8, 3].max() == 0 and (image[0, 9, :3] > image[0, 0, :3]).all()


def test_the_same_content_gives_the_same_bytes(tmp_path: Path, report: Path, content: LatentsContent) -> None:
    assert digests(write_latents_report(tmp_path, content).parent) == digests(report.parent)


def test_one_target_by_one_method_and_nothing_else_is_enough(tmp_path: Path, make: Make) -> None:
    content = make(targets=("object:cat",), methods=("steered",), together=(), clip=False, saes=("mid",), cards=0)
    page = written(tmp_path, bare(content))
    assert {"rates", "pictures", "points", "answers"} <= page.sections()
    assert not {"together", "autoencoders", "concepts", "latents", "done"} & page.sections()
    assert "SAeUron edits" not in page.text and "with random latents" not in page.text


def test_a_method_that_was_made_for_some_targets_only_leaves_dashes(tmp_path: Path, content: LatentsContent) -> None:
    def without(table: pl.DataFrame) -> pl.DataFrame:
        return table.filter((pl.col("method") != "saeuron") | (pl.col("target") == "season:winter"))

    part = replace(bare(content), unlearning=without(content.unlearning), images=without(content.images))
    page = written(tmp_path, replace(part, pictures=without(content.pictures)))
    assert "SAeUron" in page.text and {"rates", "pictures"} <= page.sections()


def test_without_pictures_there_are_no_grids(tmp_path: Path, content: LatentsContent) -> None:
    page = written(tmp_path, replace(bare(content), pictures=content.pictures.clear()))
    assert "pictures" not in page.sections() and not any(tag == "img" for tag, _ in page.elements)


def test_a_table_without_a_column_and_a_page_without_targets_are_refused(content: LatentsContent) -> None:
    with pytest.raises(ValueError, match="table quality of the report lacks the columns measure"):
        replace(content, quality=content.quality.drop("measure"))
    with pytest.raises(ValueError, match="at least one target"):
        replace(content, unlearning=content.unlearning.clear())
