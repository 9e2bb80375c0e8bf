from xml.etree import ElementTree

import pytest

from steerwright.lab.charts.charts import depth_card, depth_strip


@pytest.mark.parametrize("layers", [2, 8, 33])
def test_every_layer_has_a_cell_and_only_the_chosen_one_is_marked(layers: int) -> None:
    for layer in range(layers):
        cells = list(ElementTree.fromstring(depth_strip(layer, layers)).iter("i"))
        assert [cell.get("title") for cell in cells] == [f"layer {number}" for number in range(layers)]
        assert [cell.get("class") for cell in cells].index("here") == layer
        assert sum(cell.get("class") == "here" for cell in cells) == 1


def test_the_card_names_the_layers_stage_and_the_numbers_that_were_measured() -> None:
    card = ElementTree.fromstring(depth_card(7, 8, [("12 %", "of <b>something</b>")]))
    assert card.findtext(".//h3") == "Layer 7: speaking"
    numbers = card.find(".//div[@class='numbers']")
    assert numbers is not None
    assert ["".join(one.itertext()) for one in numbers] == ["12 %of <b>something</b>"]
