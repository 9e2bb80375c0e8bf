import math
from xml.etree import ElementTree

from steerwright.lab.charts.charts import heatmap


def _cells(html: str) -> list[list[ElementTree.Element]]:
    body = next(ElementTree.fromstring(html).iter("tbody"))
    return [list(row.iter("td")) for row in body.iter("tr")]


def test_a_cell_is_tinted_by_its_share_of_the_largest() -> None:
    cells = _cells(heatmap([[0.0, 1.0], [3.0, 4.0]], ["a", "b"], ["x", "y"], title="t", unit="u"))
    assert [[cell.get("style") for cell in row] for row in cells] == [
        ["--share:0.000", "--share:0.250"],
        ["--share:0.750", "--share:1.000"],
    ]


def test_negative_cells_have_the_other_colour_where_signs_matter() -> None:
    (cells,) = _cells(heatmap([[-2.0, 1.0]], ["a"], ["x", "y"], title="t", unit="u", signed=True))
    looks = [(cell.get("class") or "").split() for cell in cells]
    assert ["cold" in look for look in looks] == [True, False]
    assert [cell.get("style") for cell in cells] == ["--share:1.000", "--share:0.500"]


def test_a_cell_beyond_the_scale_is_fully_tinted_and_one_that_is_no_number_is_empty() -> None:
    (cells,) = _cells(heatmap([[9.0, math.nan]], ["a"], ["x", "y"], title="t", unit="u", top=3.0))
    assert cells[0].get("style") == "--share:1.000"
    assert cells[1].get("class") == "none"


def test_the_settled_layer_of_each_column_is_outlined() -> None:
    cells = _cells(heatmap([[1.0, 1.0], [1.0, 1.0]], ["a", "b"], ["x", "y"], title="t", unit="u", sure=[1, -1]))
    outlined = [["sure" in (cell.get("class") or "").split() for cell in row] for row in cells]
    assert outlined == [[False, False], [True, False]]


def test_tokens_cannot_bring_markup_into_the_page() -> None:
    html = heatmap([[1.0]], ["a"], ["<script>"], title="t", unit="u", words=[["<img src=x>"]])
    assert "<script" not in html
    assert "<img" not in html


def test_tokens_that_cannot_be_seen_are_shown_by_signs() -> None:
    html = heatmap([[1.0, 1.0]], ["a"], ["\n", " "], title="t", unit="u")
    head = next(ElementTree.fromstring(html).iter("thead"))
    assert [span.text for span in head.iter("span")] == ["\u21b5", "\u2423"]
