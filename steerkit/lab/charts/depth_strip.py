"""Where a layer stands in the model's depth, and what its stage is for."""

from collections.abc import Sequence

from steerkit.lab.operations.depth import STAGES, layers_of, stage_of
from steerkit.report.html import Html, el


def depth_strip(layer: int, layers: int) -> Html:
    """All layers in a row, grouped by stage, the chosen one marked."""
    groups = []
    for stage in STAGES:
        own = layers_of(stage, layers)
        if not own:
            continue
        cells = [el("i", class_="here" if number == layer else None, title=f"layer {number}") for number in own]
        current = stage is stage_of(layer, layers)
        words = (el("b", stage.name), el("span", stage.short))
        look = "stage here" if current else "stage"
        groups.append(el("div", el("div", *cells, class_="cells"), *words, class_=look, style=f"flex-grow:{len(own)}"))
    return el("div", *groups, class_="depth-strip", role="img", aria_label=f"Layer {layer} of {layers}")


def depth_card(layer: int, layers: int, measured: Sequence[tuple[str, str]]) -> Html:
    """What the layer's stage is for, what a push there does, and numbers with what each means."""
    stage = stage_of(layer, layers)
    numbers = [el("div", el("b", value), el("span", words)) for value, words in measured]
    return el(
        "div",
        el("div", el("h3", f"Layer {layer}: {stage.name.lower()}"), el("p", stage.text),
           el("p", el("b", "Steering here. "), stage.steering), class_="words"),
        el("div", *numbers, class_="numbers"),
        class_="depth-card",
    )  # fmt: skip
