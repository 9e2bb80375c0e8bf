"""The FLUX features that the lab offers: latents of two layers, what their top pictures show, and where they fire."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steerkit.errors import UserError
from steerkit.lab.pictures.feature_files import FeatureFiles
from steerkit.lab.pictures.sources import read_json, starters_folder
from steerkit.models.fingerprint import same_digest
from steerkit.sae.sae import Sae
from steerkit.sae.sae_file import load_sae

LAYERS = ("early", "late")
_CONTENT = "features.json"


@dataclass(frozen=True, slots=True)
class Feature:
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
    features: tuple[Feature, ...]
    strip: Callable[[Feature], NDArray[np.uint8]]

    def feature(self, latent: int) -> Feature:
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
        from steerkit.lab.pictures.feature_tables import layer_of

        found = layer_of(name, files)
        if (known := found.sae.site.model) is not None and same_digest(known, digest):
            return found
    return read_layer(starters_folder(root, "seasons-flux", digest) / "flux" / name, name)


def read_layer(folder: Path, name: str) -> FluxLayer:
    """What `write_layer` wrote. UserError for a folder that is missing or damaged."""
    content = read_json(folder / _CONTENT)
    try:
        features = tuple(Feature(**{**one, "prompts": tuple(one["prompts"])}) for one in content["features"])
        norm, step = float(content["norm"]), int(content["step"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / _CONTENT} is damaged ({error}); restore it from the repository.") from error

    def strip(feature: Feature) -> NDArray[np.uint8]:
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


def _strip(folder: Path, feature: Feature) -> Path:
    return folder / "strips" / f"{feature.latent}.webp"
