"""The features of a layer from the tables of the FLUX pipeline: which are offered, and their example pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from steerkit.features.token_maps import TokenMaps
from steerkit.lab.pictures.feature_files import FeatureFiles
from steerkit.lab.pictures.features import Feature, FluxLayer
from steerkit.report.overlay import heat_limit, overlay
from steerkit.sae.sae_file import load_sae

EXAMPLES = 4
_GAP = 4
# A latent counts as effective when its value shows so much more often in pictures that are steered up than down.
_EFFECTIVE = 0.3


def layer_of(name: str, files: FeatureFiles) -> FluxLayer:
    """The layer `name`: latents that change a label when they are steered, then the selected ones by rank."""
    said = json.loads(files.facts.read_text(encoding="utf-8"))
    selected, changes = pl.read_parquet(files.selected), pl.read_parquet(files.changes)
    tables = {key: pl.read_parquet(getattr(files, key)) for key in ("labels", "coherence", "statistics")}
    stored, top = TokenMaps.open(files.maps), pl.read_parquet(files.top)
    images = pl.read_parquet(files.images).sort("image")
    names, prompts = images["file"].to_list(), images["prompt"].to_list()
    examples = dict(selected.select("latent", "examples").iter_rows())
    shown: dict[int, list[int]] = {}
    features = []
    for latent in offered(selected, changes):
        shown[latent] = list(examples.get(latent) or _tops(top, latent, prompts))[:EXAMPLES]
        row = {key: _row(table, latent) for key, table in tables.items()}
        features.append(
            Feature(
                layer=name,
                latent=latent,
                label=row["labels"].get("label"),
                value=row["labels"].get("value"),
                auroc=row["labels"].get("auroc"),
                coherence=row["coherence"].get("coherence"),
                frequency=float(row["statistics"]["frequency"]),
                change=_row(changes, latent).get("change"),
                limit=heat_limit(stored.map(image, latent) for image in shown[latent]),
                prompts=tuple(prompts[image] for image in shown[latent]),
            )
        )

    def strip(feature: Feature) -> NDArray[np.uint8]:
        from PIL import Image

        above, below = [], []
        for image in shown[feature.latent]:
            with Image.open(files.pictures / names[image]) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            above.append(pixels)
            below.append(overlay(pixels, stored.map(image, feature.latent), feature.limit))
        return two_rows(above, below)

    sae = load_sae(files.saes / said["sae"])
    return FluxLayer(name, sae, float(said["site_norm"]), int(said["step"]), tuple(features), strip)


def offered(selected: pl.DataFrame, changes: pl.DataFrame) -> list[int]:
    """Latents in the order in which they are offered: the effective ones by what they do, then those selected."""
    effective = changes.filter(pl.col("change") >= _EFFECTIVE).sort(["change", "latent"], descending=[True, False])
    return list(dict.fromkeys([*effective["latent"].to_list(), *selected.sort("rank")["latent"].to_list()]))


def two_rows(above: Sequence[NDArray[np.uint8]], below: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Pictures [h, w, 3] side by side, others of that size under them, with a grey gap between."""
    height, width, _ = above[0].shape
    out = np.full((2 * height + _GAP, len(above) * (width + _GAP) - _GAP, 3), 128, np.uint8)
    for column, pair in enumerate(zip(above, below, strict=True)):
        left = column * (width + _GAP)
        for row, pixels in enumerate(pair):
            out[row * (height + _GAP) : row * (height + _GAP) + height, left : left + width] = pixels
    return out


def _row(table: pl.DataFrame, latent: int) -> dict[str, Any]:
    return next(table.filter(latent=latent).iter_rows(named=True), {})


def _tops(top: pl.DataFrame, latent: int, prompts: Sequence[str]) -> list[int]:
    """The latent's top images, one of each prompt."""
    by_prompt: dict[str, int] = {}
    for image in top.filter(latent=latent).sort("rank")["image"].to_list():
        by_prompt.setdefault(prompts[image], image)
    return list(by_prompt.values())
