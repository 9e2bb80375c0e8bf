"""The page of language models: everything on it, its numbers those of the tables, no request, the same bytes."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import polars as pl
import pytest
from PIL import Image

from steerwright.report.language.content import KINDS, LanguageContent, nothing
from steerwright.report.language.page import write_language_report
from steerwright.report.provenance import RunProvenance
from tests.digests import digests
from tests.html_reader import HtmlReader

Make = Callable[..., LanguageContent]
PARTS = {"done", "concepts", "texts", "sweep", "frontier", "mixes", "removal", "vectors", "notes", "provenance"}
SENTENCES = {
    "aggregate": ("No texts were scored.", "No concept was removed."), "texts": ("No texts were kept.",),
    "sweep": ("No layers and strengths were tried.", "No perplexities were measured over layers and strengths."),
    "mixes": ("No concepts were mixed.",),
}  # fmt: skip


@pytest.fixture(scope="module")
def report(content: LanguageContent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_report(content, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def page(report: Path) -> HtmlReader:
    return HtmlReader(report)


def bare(content: LanguageContent) -> LanguageContent:
    """Without what takes time to draw."""
    empty = {name: nothing(name) for name in ("sweep", "statistics", "cosines", "mixes", "texts")}
    return replace(content, mix_sweep=nothing("sweep"), **empty)


def written(folder: Path, content: LanguageContent) -> HtmlReader:
    return HtmlReader(write_language_report(content, folder))


def test_the_page_asks_for_nothing_outside_its_folder_and_its_links_lead_somewhere(
    report: Path, page: HtmlReader
) -> None:
    ids = page.ids()
    assert len(ids) == len(set(ids))
    files = set()
    for _, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "srcset", "action"):
            target = attributes.get(name)
            if target is None or target.startswith("data:"):
                continue
            if target.startswith("#"):
                assert target.removeprefix("#") in ids, target
            else:
                files.add(unquote(target))
    beside = {path.relative_to(report.parent).as_posix() for path in report.parent.rglob("*") if path.is_file()}
    assert beside == files | {"index.html", "data/chosen.json", "data/provenance.json"}
    assert not re.search(r"url\((?!#)|@import|<script|https?://(?!www\.w3\.org)", report.read_text())


def test_all_parts_are_there_and_what_comes_from_data_is_text(page: HtmlReader) -> None:
    assert page.sections() == PARTS
    for said in ("language model <itself>", "8 requests <each>", "ships & <sails>", "one <happy> would say it"):
        assert said in page.text
    assert not {"itself", "each", "sails", "happy"} & {tag for tag, _ in page.elements}


def test_the_table_holds_rates_intervals_perplexity_and_the_operating_point(
    page: HtmlReader, content: LanguageContent
) -> None:
    table = page.text[page.text.index("Sampled texts Concept") : page.text.index("Greedy texts Concept")]
    for concept in content.concepts:
        row = table[re.search(rf" {concept} ", table).end() :].split()  # type: ignore[union-attr]
        scores, point = content.scores(concept, "sampled"), content.chosen[concept]
        wanted = []
        for condition in ("steered", "unsteered", "random", "instruction"):
            one = scores[condition]
            wanted.append(f"{round(100 * one['rate'])}~%")
            wanted += f"{round(100 * one['rate_low'])} to {round(100 * one['rate_high'])}~%".split()
        ratio = scores["steered"]
        wanted += f"{ratio['ratio']:.2f}\u00d7 {ratio['ratio_low']:.2f} to {ratio['ratio_high']:.2f}".split()
        wanted += [str(point["layer"]), f"{point['strength']:g}", f"{point['safe'][1]:g}", "yes"]
        assert row[: len(wanted)] == wanted


def test_every_figure_is_a_png_and_its_numbers_are_the_tables(report: Path, content: LanguageContent) -> None:
    names = {path.stem for path in (report.parent / "figures").iterdir()}
    assert names == {"rates", "perplexities", "sweep-rates", "sweep-perplexities", "frontier", "frontiers", "removal",
                     "separability", "norms", "cosines"}  # fmt: skip
    for name in names:
        with Image.open(report.parent / "figures" / f"{name}.png") as picture:
            assert picture.format == "PNG" and len(picture.convert("RGB").getcolors(1 << 24) or []) > 20
    for name, table in (("measurements", content.aggregate), ("sweep", content.sweep), ("mixes", content.mixes),
                        ("statistics", content.statistics), ("texts", content.texts)):  # fmt: skip
        read = pl.read_csv(report.parent / "data" / f"{name}.csv")
        assert read.columns == table.columns and read.height == table.height
    removal = pl.read_csv(report.parent / "data" / "removal.csv")
    assert set(removal["condition"]) == {"asked", "removed"}


def test_the_same_content_gives_the_same_bytes(tmp_path: Path, report: Path, content: LanguageContent) -> None:
    assert digests(write_language_report(content, tmp_path).parent) == digests(report.parent)


@pytest.mark.parametrize("name", SENTENCES)
def test_a_sentence_stands_where_a_table_has_no_rows(tmp_path: Path, content: LanguageContent, name: str) -> None:
    whole = bare(content)
    small = {"texts": content.texts.head(0), "aggregate": content.aggregate.head(0)} | {
        "sweep": content.sweep.filter(concept="sad"), "mixes": content.mixes
    }  # fmt: skip
    page = written(tmp_path, replace(whole, **small | {name: nothing(name)}))
    for sentence in SENTENCES[name]:
        assert sentence in page.text


def test_a_page_without_anything_is_still_a_page(tmp_path: Path) -> None:
    page = written(tmp_path, LanguageContent("Nothing", "a model", RunProvenance()))
    assert page.sections() == PARTS - {"done"}
    for sentence in [one for some in SENTENCES.values() for one in some]:
        assert sentence in page.text
    assert not (tmp_path / "figures" / "rates.png").exists()


def test_greedy_texts_alone_without_controls_and_without_intervals_are_enough(tmp_path: Path, make: Make) -> None:
    content = bare(make(decodings=("greedy",)))
    few = content.aggregate.filter(pl.col("condition").is_in(["steered", "unsteered"]))
    blank = [
        pl.lit(None, pl.Float64).alias(name) for name in ("rate_low", "rate_high", "ratio_low", "ratio_high", "kl")
    ]
    page = written(tmp_path, replace(content, aggregate=few.with_columns(blank), chosen={}))
    assert "Greedy texts" in page.text and "Sampled texts" not in page.text
    # What was not measured is not met.
    assert "0 of 4" in page.text and "no random direction" in page.text


def test_undefined_numbers_are_dashes_and_do_not_stop_the_page(tmp_path: Path, content: LanguageContent) -> None:
    undefined = [pl.lit(float("nan")).alias(name) for name in ("ratio", "ratio_low", "ratio_high", "perplexity", "kl")]
    sweep = content.sweep.filter(concept="sad").with_columns(
        pl.when(pl.col("strength") > 1).then(float("nan")).otherwise("ratio").alias("ratio")
    )
    page = written(tmp_path, replace(bare(content), aggregate=content.aggregate.with_columns(undefined), sweep=sweep))
    assert "nan" not in page.text.lower().split() and "perplexity not measured" in page.text


def test_a_table_without_a_column_is_refused_by_name(content: LanguageContent) -> None:
    for name in KINDS:
        table: pl.DataFrame = getattr(content, name)
        with pytest.raises(ValueError, match=f"table {name} of the report lacks the columns {table.columns[0]}"):
            replace(content, **{name: table.drop(table.columns[0])})
