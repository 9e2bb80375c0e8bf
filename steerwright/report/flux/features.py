"""The latents that have a card, with all that is known of each, joined from the frames of their layer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from steerwright.report.attention.tables import slug
from steerwright.report.flux.content import FluxContent, LayerContent
from steerwright.report.html.labelled_grid import LABELS

Row = Mapping[str, Any]
NOTHING: Row = {}
# Frames whose latents have a card, selected or not.
STEERED = ("steering", "trials", "grids")


@dataclass(frozen=True, slots=True)
class Example:
    """An image on which a latent is active. `seen`: what the judge reads off it; `score`: its score in the S matrix.

    `overlay` is None where no heat was drawn; `most` is then None too, else the largest activation of its tokens.
    """

    image: int
    prompt: str
    seen: tuple[str, ...]
    picture: Path
    score: float | None
    overlay: Path | None
    most: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Feature:
    """A latent with a card; a row that is not there is empty.

    `selected` (rank, coherence, z, examples; no rank if it was steered without having been selected), `statistics`,
    `coherence`, `label`, `decoder`: its rows in the frames of these names (`label` has no `value` where no truth is
    known); `limit`: the activation at which the heat of its overlays is full; `threshold`: the AUROC from which a
    latent counts as matching its label.
    """

    layer: LayerContent
    latent: int
    selected: Row
    statistics: Row
    coherence: Row
    label: Row
    decoder: Row
    examples: tuple[Example, ...]
    top: tuple[Example, ...]
    levels: tuple[tuple[float, tuple[Example, ...]], ...]
    distribution: tuple[Row, ...]
    limit: float | None
    threshold: float

    @property
    def key(self) -> str:
        """The name of its card within the page."""
        return feature_key(self.layer.name, self.latent)

    @property
    def chosen(self) -> bool:
        """Whether it was selected."""
        return self.selected["rank"] is not None

    @property
    def value(self) -> str:
        """`season: winter`, or nothing."""
        return value_name(self.label)

    @property
    def interpretable(self) -> bool:
        """Whether it matches its label well enough."""
        return clear_label(self.label, self.threshold)

    @property
    def wanted(self) -> tuple[str, str] | None:
        """The label and the value that it matches best."""
        return (self.label["label"], self.label["value"]) if self.label.get("value") is not None else None


def feature_key(layer: str, latent: int) -> str:
    """`early-1058`."""
    return f"{slug(layer)}-{latent}"


def value_name(row: Row) -> str:
    """The label and value of a row of labels: `season: winter`; nothing where there is none."""
    return f"{row['label']}: {row['value']}" if row.get("value") is not None else ""


def clear_label(row: Row, threshold: float) -> bool:
    """Whether a row of labels has an AUROC of at least `threshold`."""
    return bool(row.get("auroc") is not None and row["auroc"] >= threshold)


def features(content: FluxContent) -> list[Feature]:
    """Every selected latent, layer by layer and by rank; then those that were steered without having been selected."""
    images = {row["image"]: row for row in content.images.iter_rows(named=True)}
    return [feature for layers in (_selected, _steered) for layer in content.layers
            for feature in _joined(content, layer, layers(layer), images)]  # fmt: skip


def _selected(layer: LayerContent) -> Sequence[Row]:
    return layer.selected.sort("rank").to_dicts()


def _steered(layer: LayerContent) -> Sequence[Row]:
    """Rows as those of `selected`, without a rank, of the latents that were steered as well."""
    known = set(layer.selected["latent"].to_list())
    latents = [latent for name in STEERED for latent in getattr(layer, name)["latent"].to_list()]
    coherence = _by_latent(layer.coherence, latents)
    return [
        {"rank": None, "latent": latent, "coherence": coherence.get(latent, NOTHING).get("coherence"),
         "z": coherence.get(latent, NOTHING).get("z"), "examples": []}
        for latent in dict.fromkeys(latents) if latent not in known
    ]  # fmt: skip


def _joined(
    content: FluxContent, layer: LayerContent, chosen: Sequence[Row], images: Mapping[int, Row]
) -> Iterator[Feature]:  # fmt: skip
    latents = [row["latent"] for row in chosen]
    rows = {name: _by_latent(getattr(layer, name), latents) for name in
            ("statistics", "coherence", "labels", "decoder")}  # fmt: skip
    many = {name: _lists(getattr(layer, name), latents) for name in ("top", "levels", "distribution", "overlays")}
    for row in chosen:
        latent = row["latent"]
        heated = {one["image"]: one for one in many["overlays"].get(latent, [])}
        ranked = sorted(many["top"].get(latent, []), key=lambda one: one["rank"])
        scores = {one["image"]: one["score"] for one in ranked}
        levels = many["levels"].get(latent, [])
        shown = partial(_example, content, layer, images, heated)
        yield Feature(
            layer, latent, row, rows["statistics"].get(latent, NOTHING), rows["coherence"].get(latent, NOTHING),
            rows["labels"].get(latent, NOTHING), rows["decoder"].get(latent, NOTHING),
            tuple(shown(image, scores.get(image)) for image in row["examples"] if image in images),
            tuple(shown(one["image"], one["score"]) for one in ranked if one["image"] in images),
            tuple(
                (level, tuple(shown(one["image"], one["score"]) for one in levels
                              if one["level"] == level and one["image"] in images))
                for level in dict.fromkeys(one["level"] for one in levels)
            ),
            tuple(many["distribution"].get(latent, [])),
            next((one["vmax"] for one in heated.values()), None), content.interpretable,
        )  # fmt: skip


def seen_of(row: Row) -> tuple[str, ...]:
    """The values of the labels that a row of images or pictures has."""
    return tuple(str(row[label]) for label in LABELS if row.get(label) is not None)


def _by_latent(table: pl.DataFrame, latents: list[int]) -> dict[int, Row]:
    part = table.filter(pl.col("latent").is_in(latents))
    return {row["latent"]: row for row in part.iter_rows(named=True)}


def _lists(table: pl.DataFrame, latents: list[int]) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = {}
    for row in table.filter(pl.col("latent").is_in(latents)).iter_rows(named=True):
        found.setdefault(row["latent"], []).append(row)
    return found


def _example(
    content: FluxContent, layer: LayerContent, images: Mapping[int, Row], heated: Mapping[int, Row], image: int,
    score: float | None,
) -> Example:  # fmt: skip
    row, over = images[image], heated.get(image)
    return Example(
        image, row["prompt"], seen_of(row), content.image_folder / row["file"], score,
        layer.overlay_folder / over["file"] if over else None, over["map_max"] if over else None,
    )  # fmt: skip
