import itertools
import math
from xml.etree import ElementTree

import pytest

from steerwright.lab.charts.plane import Path, Place, plane


def _map(places: list[Place], paths: list[Path] | None = None) -> ElementTree.Element:
    return ElementTree.fromstring(plane(places, paths or [], title="t", x_label="x", y_label="y"))


def _circles(drawn: ElementTree.Element) -> dict[str, tuple[float, float]]:
    found = {}
    for circle in drawn.iter("circle"):
        title = circle.find("title")
        if title is not None and title.text:
            found[title.text.split(":")[0]] = (float(circle.get("cx", 0)), float(circle.get("cy", 0)))
    return found


def test_equal_distances_are_drawn_equally_long_in_every_direction() -> None:
    drawn = _circles(_map([Place("a", 0, 0), Place("right", 3, 0), Place("up", 0, 3), Place("far", 10, 1)]))
    assert math.dist(drawn["a"], drawn["right"]) == pytest.approx(math.dist(drawn["a"], drawn["up"]), abs=0.05)
    assert drawn["right"][0] > drawn["a"][0]
    assert drawn["up"][1] < drawn["a"][1]


def test_names_of_close_places_do_not_cover_each_other() -> None:
    places = [Place(f"concept{number}", 0.01 * number, 0.02 * (number % 2)) for number in range(5)]
    names = [text for text in _map([*places, Place("far", 9, 9)]).iter("text") if text.get("class") == "name"]
    boxes = []
    for text in names:
        wide = 6.6 * len(text.text or "")
        x, y = float(text.get("x", 0)), float(text.get("y", 0))
        left = x if text.get("text-anchor") == "start" else x - wide
        boxes.append((left, y, left + wide))
    for (left, y, right), (other_left, other_y, other_right) in itertools.combinations(boxes, 2):
        assert abs(y - other_y) >= 13.9 or right <= other_left + 0.1 or other_right <= left + 0.1


def test_a_path_leads_through_its_points_in_order() -> None:
    path = Path(["from", "half", "to"], [(0, 0), (1, 0), (2, 0)])
    drawn = _map([Place("a", 2, 2)], [path])
    line = next(drawn.iter("polyline")).get("points", "").split()
    across = [float(point.split(",")[0]) for point in line]
    assert across == sorted(across)
    assert across[1] - across[0] == pytest.approx(across[2] - across[1], abs=0.05)
    shown = [text.text for text in drawn.iter("text") if text.get("class") == "name"]
    assert sorted(str(name) for name in shown) == ["a", "from", "to"]


def test_names_cannot_bring_markup_into_the_page() -> None:
    assert "<img" not in plane([Place("<img src=x>", 1, 1)], title="t", x_label="x", y_label="y")


def test_a_map_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        plane([], title="t", x_label="x", y_label="y")
