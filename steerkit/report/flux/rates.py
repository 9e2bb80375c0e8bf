"""How often the pictures of a steered latent show its label, strength by strength, and between the ends."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import polars as pl

from steerkit.report.flux.features import Feature
from steerkit.scoring.bootstrap import Bootstrap

RATES = {
    "layer": pl.String, "latent": pl.Int64, "label": pl.String, "value": pl.String, "strength": pl.Float64,
    "pictures": pl.Int64, "rate": pl.Float64, "low": pl.Float64, "high": pl.Float64, "lpips": pl.Float64,
    "clip": pl.Float64,
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Ends:
    """The rate of the feature's label at the two ends of strength, and their difference with its interval.

    Pictures are paired by prompt and seed; those that one end lacks are left out. `pairs`: how many there are.
    """

    feature: Feature
    minus: float
    plus: float
    rate_minus: float
    rate_plus: float
    unsteered: float | None
    difference: float
    low: float
    high: float
    pairs: int


def label_rates(features: Iterable[Feature], bootstrap: Bootstrap) -> pl.DataFrame:
    """A row for each feature and strength of its steered pictures: columns of `RATES`.

    `rate`: share of pictures that show the feature's label value, with a bootstrap interval over prompts; null where
    pictures were not judged. `lpips` and `clip`: means, where the grids have them.
    """
    rows: list[dict[str, Any]] = []
    for feature in features:
        for (strength,), part in steered_pictures(feature).sort("strength").group_by("strength", maintain_order=True):
            row: dict[str, Any] = {"layer": feature.layer.name, "latent": feature.latent, "strength": strength}
            row |= {"label": feature.label.get("label"), "value": feature.label.get("value"), "pictures": part.height}
            row |= {name: part[name].mean() for name in ("lpips", "clip") if name in part.columns}
            shows = _shows(feature, part)
            if shows is not None and shows.height:
                found = bootstrap.mean(shows["shows"].to_list(), shows["prompt_id"].to_list())
                row |= {"rate": found.estimate, "low": found.low, "high": found.high}
            rows.append(row)
    return pl.DataFrame(rows, schema=RATES)


def ends(features: Iterable[Feature], bootstrap: Bootstrap) -> list[Ends]:
    """Of every feature whose strengths reach below and above 0 and were judged; the largest difference first."""
    found = []
    for feature in features:
        shows = _shows(feature, steered_pictures(feature))
        if shows is None or shows.height == 0:
            continue
        minus, plus = shows["strength"].min(), shows["strength"].max()
        assert isinstance(minus, float) and isinstance(plus, float)
        if not minus < 0 < plus:
            continue
        keys = ["prompt_id", "seed"]
        pairs = shows.filter(strength=plus).join(shows.filter(strength=minus), on=keys, suffix="_minus")
        if pairs.height == 0:
            continue
        plain = shows.filter(strength=0.0)["shows"]
        interval = bootstrap.paired_difference(
            pairs["shows"].to_list(), pairs["shows_minus"].to_list(), pairs["prompt_id"].to_list()
        )
        found.append(Ends(
            feature, minus, plus, float(pairs["shows_minus"].cast(pl.Float64).mean() or 0.0),  # type: ignore[arg-type]
            float(pairs["shows"].cast(pl.Float64).mean() or 0.0),  # type: ignore[arg-type]
            float(plain.cast(pl.Float64).mean()) if len(plain) else None,  # type: ignore[arg-type]
            interval.estimate, interval.low, interval.high, pairs.height,
        ))  # fmt: skip
    return sorted(found, key=lambda one: -one.difference)


def steered_pictures(feature: Feature) -> pl.DataFrame:
    """The pictures of its grids; without them those with its direction added."""
    grids = feature.layer.grids.filter(pl.col("file").is_not_null(), latent=feature.latent)
    if grids.height:
        return grids
    added = feature.layer.steering.filter(pl.col("file").is_not_null(), latent=feature.latent, mode="add")
    return added if "prompt_id" in added.columns else added.with_columns(prompt_id="prompt")


def _shows(feature: Feature, pictures: pl.DataFrame) -> pl.DataFrame | None:
    """prompt_id, seed, strength, shows; None where the label is unknown or was not judged."""
    if feature.wanted is None or feature.wanted[0] not in pictures.columns:
        return None
    label, value = feature.wanted
    judged = pictures.filter(pl.col(label).is_not_null())
    return judged.select(
        "prompt_id", "seed", pl.col("strength").cast(pl.Float64), (pl.col(label) == value).alias("shows")
    )
