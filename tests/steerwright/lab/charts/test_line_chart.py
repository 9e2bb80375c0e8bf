import math
import re
from xml.etree import ElementTree

import pytest

from steerwright.lab.charts.line_chart import Line, line_chart


def _chart(*lines: Line, **more: object) -> ElementTree.Element:
    return ElementTree.fromstring(line_chart(list(lines), title="t", x_label="x", y_label="y", **more))  # type: ignore[arg-type]


def _points(chart: ElementTree.Element) -> list[list[tuple[float, float]]]:
    return [
        [tuple(float(part) for part in point.split(",")) for point in line.get("points", "").split()]  # type: ignore[misc]
        for line in chart.iter("polyline")
    ]


def test_larger_values_are_drawn_higher_and_further_right() -> None:
    (points,) = _points(_chart(Line("a", [0, 1, 2], [1.0, 4.0, 2.0])))
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    heights = [y for _, y in points]
    assert heights[1] < heights[2] < heights[0]


def test_a_value_that_is_not_a_number_leaves_a_gap() -> None:
    runs = _points(_chart(Line("a", [0, 1, 2, 3, 4], [1.0, 2.0, math.nan, 2.0, 1.0])))
    assert [len(run) for run in runs] == [2, 2]


def test_a_limit_lies_where_a_line_of_that_height_lies() -> None:
    chart = _chart(Line("a", [0, 1], [2.0, 2.0]), limits=[(2.0, "limit")], y_range=(0, 4))
    limit = next(line for line in chart.iter("line") if line.get("class") == "limit")
    assert {y for _, y in _points(chart)[0]} == {float(limit.get("y1", "nan"))}


def test_layers_are_counted_in_whole_numbers_on_the_axis() -> None:
    chart = _chart(Line("a", [0, 1, 2, 3], [0.0, 1.0, 2.0, 3.0]), y_range=(0, 30))
    below = {text.text for text in chart.iter("text") if text.get("text-anchor") == "middle"}
    assert {"0", "1", "2", "3"} <= below
    assert not any(re.fullmatch(r"\d+\.\d+", str(text)) for text in below)


def test_names_cannot_bring_markup_into_the_page() -> None:
    chart = line_chart(
        [Line("<img src=x>", [0, 1], [0, 1]), Line("b", [0, 1], [0, 1])], title="<b>", x_label="<i>", y_label="y"
    )
    assert "<img" not in chart
    assert "<b>" not in chart
    assert "<i>" not in chart


def test_a_chart_of_nothing_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="no finite point"):
        line_chart([Line("a", [0], [math.nan])], title="t", x_label="x", y_label="y")
