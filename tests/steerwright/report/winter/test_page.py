"""The page: whole, self-contained, escaped, the same for the same content, with the numbers beside every figure."""

import base64
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from steerwright.report.winter.content import ReportContent
from steerwright.report.winter.page import write_report
from tests.digests import digests
from tests.html_reader import HtmlReader

Make = Callable[..., ReportContent]


def test_the_page_asks_for_nothing_outside_itself(report: Path) -> None:
    page = report.read_text()
    for _, attributes in HtmlReader(report).elements:
        for name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            target = attributes.get(name)
            assert target is None or target.startswith(("data:", "#")), target
    assert not re.search(r"url\((?!#)|@import|<script", page)


def test_ids_are_unique_and_links_within_the_page_lead_somewhere(report: Path) -> None:
    elements = HtmlReader(report).elements
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {
        value[1:] for _, attributes in elements for key in ("href", "xlink:href")
        if (value := attributes.get(key)) and value.startswith("#")
    }  # fmt: skip
    assert targets and targets <= set(ids)
    page = report.read_text()
    assert set(re.findall(r"url\(#([^)]+)\)", page)) <= set(ids)


def test_what_comes_from_data_is_text_and_never_markup(report: Path) -> None:
    reader = HtmlReader(report)
    text = reader.text
    for said in ("a <b>blue</b> cat & friends in a room", "Scenes <turned> to winter", "<indoor>", "Said <here>."):
        assert said in text
    assert not {"turned", "indoor", "here"} & {tag for tag, _ in reader.elements}
    alts = [attributes["alt"] for tag, attributes in reader.elements if tag == "img"]
    assert "Adaptive: a <b>blue</b> cat & friends in a room, judged winter" in alts


def test_small_pictures_are_in_the_page_byte_for_byte_and_of_the_smallest_seed(
    report: Path, content: ReportContent
) -> None:
    images = [a for tag, a in HtmlReader(report).elements if tag == "img"]
    # Prompt 2 has no adaptive picture, so it is not on the sheet: two prompts, three pictures each.
    assert len(images) == 6
    expected = [
        Path(content.pictures.filter(prompt_id=number, seed=3, condition=condition)["path"][0]).read_bytes()
        for number in (0, 1) for condition in ("unsteered", "fixed", "adaptive")
    ]  # fmt: skip
    found = [base64.b64decode(str(image["src"]).removeprefix("data:image/png;base64,")) for image in images]
    assert found == expected
    assert {(image["width"], image["height"], image["class"]) for image in images} == {("64", "64", "small")}


def test_large_pictures_are_reduced(tmp_path: Path, make_content: Make) -> None:
    images = [a for tag, a in HtmlReader(write_report(tmp_path / "r", make_content(side=512))).elements if tag == "img"]
    assert {(image["width"], image["height"]) for image in images} == {("384", "384")}
    assert all(str(image["src"]).startswith("data:image/webp") and "class" not in image for image in images)


def test_every_figure_is_a_png_with_its_numbers_beside_it_and_within_the_page(
    report: Path, content: ReportContent
) -> None:
    elements = HtmlReader(report).elements
    links = {a["download"]: str(a["href"]) for tag, a in elements if tag == "a" and "download" in a}
    for name in ("contact-sheet", "winter-rate", "search", "similarity", "activation-difference"):
        with Image.open(report.parent / f"{name}.png") as picture:
            assert picture.format == "PNG"
        data = (report.parent / f"{name}.csv").read_bytes()
        assert base64.b64decode(links[f"{name}.csv"].partition(",")[2]) == data
    search = pl.read_csv(report.parent / "search.csv")
    assert search["score"].to_list() == content.search["score"].to_list()
    assert pl.read_csv(report.parent / "intervals.csv").height == content.scores.aggregate.height


def test_the_same_content_gives_the_same_bytes(tmp_path: Path, report: Path, content: ReportContent) -> None:
    again = write_report(tmp_path, content)
    assert digests(again.parent) == digests(report.parent)


def test_tables_show_what_the_scores_say(report: Path) -> None:
    text = HtmlReader(report).text
    # Outdoors are prompts 0 and 2; fixed is winter on one of two seeds, adaptive on both, unsteered never.
    assert "of outdoor pictures show winter with adaptive steering" in text
    assert "50~% with one fixed strength and 0~% without steering" in text
    assert "a.b" in text and "[1, 2]" in text and "ab12" in text


def test_a_report_without_controls_has_no_words_on_them(tmp_path: Path, make_content: Make) -> None:
    content = make_content(conditions=("unsteered", "fixed", "adaptive"))
    text = HtmlReader(write_report(tmp_path, content)).text
    assert "random direction (" not in text and "show winter" in text


def test_a_table_without_a_column_is_refused_by_name(content: ReportContent) -> None:
    with pytest.raises(ValueError, match="table doses of the report lacks the columns reason"):
        replace(content, doses=content.doses.drop("reason"))


def test_a_report_without_pictures_is_refused(tmp_path: Path, content: ReportContent) -> None:
    with pytest.raises(ValueError, match="no pictures"):
        write_report(tmp_path, replace(content, pictures=content.pictures.clear()))
