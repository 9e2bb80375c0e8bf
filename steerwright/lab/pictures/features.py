"""The FLUX features that the lab offers: latents of two layers, what their top pictures show, and where they fire."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from steerwright.errors import UserError
from steerwright.features.token_maps import TokenMaps
from steerwright.lab.pictures.sources import read_json, starters_folder
from steerwright.models.fingerprint import same_digest
from steerwright.report.html.overlays import heat_limit, overlay
from steerwright.sae.sae import Sae
from steerwright.sae.sae_file import load_sae

LAYERS = ("early", "late")
_CONTENT = "features.json"


@dataclass(frozen=True, slots=True)
class LabFeature:
    """One latent: the label value that its activation picks out best (with its AUROC), and what is known of it.

    `coherence`: how alike its top pictures are (mean cosine of CLIP). `frequency`: share of pictures in which it is
    active. `change`: how much more often pictures showed the value when it was steered up than down, None where that
    was not tried. `limit`: the activation at which heat is full. `prompts`: those of its example pictures.
    """

    layer: str
    latent: int
    label: str | None
    value: str | None
    auroc: float | None
    coherence: float | None
    frequency: float
    change: float | None
    limit: float
    prompts: tuple[str, ...]

    @property
    def title(self) -> str:
        """What it seems to stand for, and its number."""
        return f"{self.value} · {self.latent}" if self.value else f"feature {self.latent}"


@dataclass(frozen=True, slots=True, eq=False)
class FluxLayer:
    """An autoencoder of one layer and its features; `norm` is the mean norm of the layer's tokens, `step` the denoising
    step at which the examples' heat was read. `strip` gives a feature's example pictures over their heat, uint8
    [height, width, 3]."""

    name: str
    sae: Sae
    norm: float
    step: int
    features: tuple[LabFeature, ...]
    strip: Callable[[LabFeature], NDArray[np.uint8]]

    def feature(self, latent: int) -> LabFeature:
        """UserError that names what there is."""
        for feature in self.features:
            if feature.latent == latent:
                return feature
        known = ", ".join(str(feature.latent) for feature in self.features)
        raise UserError(f"There is no feature {latent} among those of the {self.name} layer; choose one of {known}.")


def flux_layer(root: Path, name: str, digest: str) -> FluxLayer:
    """A layer from artifacts/flux, if it was run on the FLUX of this `digest`, else from the starters."""
    files = FeatureFiles.of_run(root / "artifacts" / "flux", name)
    if files is not None:
        # Not before: tables take a library that a page with nothing but starters opens faster without.

        found = layer_of(name, files)
        if (known := found.sae.site.model) is not None and same_digest(known, digest):
            return found
    return read_layer(starters_folder(root, "seasons-flux", digest) / "flux" / name, name)


def read_layer(folder: Path, name: str) -> FluxLayer:
    """What `write_layer` wrote. UserError for a folder that is missing or damaged."""
    content = read_json(folder / _CONTENT)
    try:
        features = tuple(LabFeature(**{**one, "prompts": tuple(one["prompts"])}) for one in content["features"])
        norm, step = float(content["norm"]), int(content["step"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / _CONTENT} is damaged ({error}); restore it from the repository.") from error

    def strip(feature: LabFeature) -> NDArray[np.uint8]:
        from PIL import Image

        with Image.open(_strip(folder, feature)) as picture:
            return np.asarray(picture.convert("RGB"))

    return FluxLayer(name, load_sae(folder / "sae"), norm, step, features, strip)


def write_layer(layer: FluxLayer, folder: Path) -> None:
    """The starter's form of a layer less its autoencoder: features.json, and a strip of pictures for each feature."""
    from PIL import Image

    (folder / "strips").mkdir(parents=True, exist_ok=True)
    content = {"norm": layer.norm, "step": layer.step, "features": [asdict(one) for one in layer.features]}
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    (folder / _CONTENT).write_text(text, encoding="utf-8")
    for feature in layer.features:
        Image.fromarray(layer.strip(feature)).save(_strip(folder, feature), quality=80, method=6)


def _strip(folder: Path, feature: LabFeature) -> Path:
    return folder / "strips" / f"{feature.latent}.webp"


# Which files of the FLUX pipeline say all that is offered of a layer's features.


@dataclass(frozen=True, slots=True)
class FeatureFiles:
    """Outs of the stages of one layer, and of the pictures that all layers share."""

    images: Path
    pictures: Path
    saes: Path
    facts: Path
    maps: Path
    statistics: Path
    top: Path
    coherence: Path
    labels: Path
    selected: Path
    changes: Path

    @classmethod
    def of_run(cls, flux: Path, name: str) -> FeatureFiles | None:
        """Those under artifacts/flux; None where one of them is not there (yet)."""
        found = cls(
            images=flux / "images" / "images.parquet",
            pictures=flux / "images" / "pictures",
            saes=flux / f"sae-{name}" / "saes",
            facts=flux / f"smatrix-{name}" / "facts.json",
            maps=flux / f"smatrix-{name}" / "maps",
            statistics=flux / f"statistics-{name}" / "statistics.parquet",
            top=flux / f"statistics-{name}" / "top.parquet",
            coherence=flux / f"coherence-{name}" / "coherence.parquet",
            labels=flux / f"labels-{name}" / "labels.parquet",
            selected=flux / f"selection-{name}" / "selected.parquet",
            changes=flux / f"demos-{name}" / "changes.parquet",
        )
        return found if all(getattr(found, field.name).exists() for field in fields(found)) else None


# The features of a layer from the tables of the FLUX pipeline: which are offered, and their example pictures.

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
            LabFeature(
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

    def strip(feature: LabFeature) -> NDArray[np.uint8]:
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
