"""Features as JSON in the layout of Neuronpedia's feature pages, one record per latent.

Keys are those of Neuronpedia's own records (modelId, layer, index, maxActApprox, frac_nonzero, freq_hist_data_bar_*,
activations, explanations, vector). What has no meaning for images is there and empty: logits (pos_str, neg_str,
logits_hist_data_bar_*). An activation's `tokens` are the places of an image's token grid, row by row, and `image`,
`imageId`, `prompt` and `grid`, which Neuronpedia does not have, say which image that is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 50


@dataclass(frozen=True, slots=True, eq=False)
class ImageActivation:
    """One image in which a latent is active: `file` name, `id`, `prompt`, and its `map` float [h, w]."""

    file: str
    id: str
    prompt: str
    map: NDArray[np.floating]


@dataclass(frozen=True, slots=True, eq=False)
class PublishedFeature:
    """What is known of a latent: `density` (share of images in which it is active), `scores` [images] (its pooled
    activation in every image), its best `activations`, the best first; `label` and its `auroc`, if it matches one."""

    index: int
    density: float
    scores: NDArray[np.floating]
    activations: Sequence[ImageActivation]
    label: str | None = None
    auroc: float | None = None
    direction: NDArray[np.floating] | None = None
    neighbours: Mapping[int, float] = field(default_factory=dict)


def feature_record(model: str, source: str, feature: PublishedFeature) -> dict[str, Any]:
    """The record of one feature: `model` is its modelId, `source` its layer (the autoencoder's name)."""
    active = feature.scores[feature.scores > 0]
    counts, edges = np.histogram(active, BINS) if len(active) else (np.zeros(0, int), np.zeros(1))
    activations = [_activation(model, source, feature.index, found) for found in feature.activations]
    largest = [record["maxValue"] for record in activations]
    return {
        "modelId": model,
        "layer": source,
        "index": str(feature.index),
        "sourceSetName": source,
        "maxActApprox": max([float(active.max()) if len(active) else 0.0, *largest]),
        "frac_nonzero": feature.density,
        # One value, the bin's middle, for each height: readers take both lists place by place.
        "freq_hist_data_bar_values": ((edges[:-1] + edges[1:]) / 2).tolist(),
        "freq_hist_data_bar_heights": counts.tolist(),
        "logits_hist_data_bar_values": [],
        "logits_hist_data_bar_heights": [],
        "pos_str": [],
        "pos_values": [],
        "neg_str": [],
        "neg_values": [],
        "topkCosSimIndices": list(feature.neighbours),
        "topkCosSimValues": list(feature.neighbours.values()),
        "vector": [] if feature.direction is None else feature.direction.astype(np.float64).tolist(),
        "hasVector": feature.direction is not None,
        "activations": activations,
        "explanations": _explanations(model, source, feature),
    }


def export_features(folder: Path, model: str, source: str, features: Sequence[PublishedFeature]) -> list[Path]:
    """Write MODEL/SOURCE/INDEX.json for every feature, and MODEL/SOURCE/index.json with all but their activations.

    Returns the files. Records are JSON for any reader: a number that is not finite is a ValueError.
    """
    place = folder / model / source
    place.mkdir(parents=True, exist_ok=True)
    records = [feature_record(model, source, feature) for feature in features]
    written = []
    for record in records:
        written.append(place / f"{record['index']}.json")
        _write(written[-1], record)
    short = [
        {name: value for name, value in record.items() if name not in ("activations", "vector")} for record in records
    ]
    written.append(place / "index.json")
    _write(written[-1], short)
    return written


def _activation(model: str, source: str, index: int, found: ImageActivation) -> dict[str, Any]:
    h, w = found.map.shape
    values = [float(value) for value in found.map.reshape(-1)]
    place = int(np.argmax(found.map))
    return {
        "modelId": model,
        "layer": source,
        "index": str(index),
        "tokens": [f"{row},{column}" for row in range(h) for column in range(w)],
        "values": values,
        "maxValue": values[place],
        "maxValueTokenIndex": place,
        "minValue": min(values),
        "image": found.file,
        "imageId": found.id,
        "prompt": found.prompt,
        "grid": [h, w],
    }


def _explanations(model: str, source: str, feature: PublishedFeature) -> list[dict[str, Any]]:
    if feature.label is None:
        return []
    known = feature.auroc is not None and math.isfinite(feature.auroc)
    scores = [{"value": feature.auroc, "explanationScoreTypeName": "auroc"}] if known else []
    return [
        {
            "modelId": model,
            "layer": source,
            "index": str(feature.index),
            "description": feature.label,
            "explanationModelName": "labels",
            "typeName": "best-matching label",
            "scores": scores,
        }
    ]


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n", "utf-8")
