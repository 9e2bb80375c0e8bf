from xml.etree import ElementTree

from steerwright.lab.charts.charts import lens_chart
from steerwright.lab.operations.explore_layers import Guess, LayerExploration


def _guesses(*tokens: str) -> tuple[tuple[Guess, ...], ...]:
    return tuple((Guess(token, 0.5), Guess(" other", 0.25)) for token in tokens)


def test_each_cell_shows_a_layers_best_guess_and_its_settled_layer_is_outlined() -> None:
    found = LayerExploration(
        prompt="p",
        answer=" a b",
        words=(" a", " b"),
        norms=(1.0, 2.0, 3.0),
        written=(float("nan"), 0.5, 0.5),
        guesses=(_guesses(" a", " x"), _guesses(" a", " y"), _guesses(" a", " b")),
        settled=(0, 2),
    )
    drawn = ElementTree.fromstring(lens_chart(found, 1))
    rows = list(next(drawn.iter("tbody")).iter("tr"))
    assert [[cell.text for cell in row.iter("td")] for row in rows] == [["a", "x"], ["a", "y"], ["a", "b"]]
    outlined = [["sure" in str(cell.get("class")).split() for cell in row.iter("td")] for row in rows]
    assert outlined == [[True, False], [False, False], [False, True]]
    assert [row.get("class") for row in rows] == [None, "here", None]
    assert "x 50 %, other 25 %" in str(rows[0][2].get("title"))
