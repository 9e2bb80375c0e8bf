"""The part of the page on the vectors: how well they separate, how long they are, how they lie to each other."""

import polars as pl

from steerwright.report.html.page import Html, el
from steerwright.report.html.theme import percent
from steerwright.report.language import figures as heatmaps
from steerwright.report.language.content import LanguageContent
from steerwright.report.language.parts import Beside

NORMS = heatmaps.ColourScale((0.05, 0.1, 0.2, 0.4, 0.8), heatmaps.PALE, "%", 100)


def vectors_part(content: LanguageContent, beside: Beside) -> list[Html]:
    """Heatmaps of separability and length over layers, and of cosines; a sentence where there is nothing."""
    statistics = content.statistics
    described = set(statistics["concept"].to_list())
    concepts = [concept for concept in content.concepts if concept in described]
    layers = {concept: point.get("layer") for concept, point in content.chosen.items()}
    numbers = beside.table("statistics", statistics)
    shown: list[Html] = []
    if statistics["separability"].drop_nulls().len():
        drawn = heatmaps.layer_map(statistics, "separability", concepts, heatmaps.SEPARABILITY, _auroc, layers)
        shown.append(beside.figure("separability", drawn, numbers, "Separability by layer",
                                   "AUROC on held-out pairs: 0.5 is chance, 1 is perfect."))  # fmt: skip
    if statistics["relative_norm"].drop_nulls().len():
        drawn = heatmaps.layer_map(statistics, "relative_norm", concepts, NORMS, _percent, layers)
        shown.append(beside.figure("norms", drawn, numbers, "Length by layer",
                                   "Length of the difference, in per cent of the residual stream's norm."))  # fmt: skip
    if content.cosines.drop_nulls("cosine").height:
        table, told = _at_one_layer(content)
        near = [concept for concept in content.concepts if concept in set(table["concept"].to_list())]
        shown.append(beside.figure("cosines", heatmaps.cosine_map(table, near),
                                   beside.table("cosines", content.cosines), 
                                   "How concepts lie to each other", told))  # fmt: skip
    if not shown:
        return [el("p", "Nothing was measured on the vectors.", class_="muted")]
    return [el("div", *shown, class_="figures")]


def _at_one_layer(content: LanguageContent) -> tuple[pl.DataFrame, str]:
    """The cosines of the layer that was chosen most often (of equals the first), and what is to be said of them."""
    layers = content.cosines["layer"].drop_nulls().unique().sort().to_list()
    if not layers:
        return content.cosines, "Cosine between the directions of two concepts."
    votes = [content.chosen.get(concept, {}).get("layer") for concept in content.concepts]
    layer = max(layers, key=lambda one: (votes.count(one), -one))
    often = ", the one chosen most often" if votes.count(layer) else ""
    return content.cosines.filter(
        layer=layer
    ), f"Cosine between the directions of two concepts at layer {layer}{often}."


def _auroc(value: float) -> str:
    return "1" if value >= 0.995 else f"{value:.2f}".removeprefix("0")


def _percent(value: float) -> str:
    return percent(value)[:-2]
