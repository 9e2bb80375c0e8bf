"""What the gallery of features is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import polars.selectors as cs
from numpy.typing import NDArray

from steerwright.report.provenance import RunProvenance

INT, REAL, TEXT, LIST, REALS = pl.Int64, pl.Float64, pl.String, pl.List(pl.Int64), pl.List(pl.Float64)

# The frames of a layer and the columns that the report cannot do without; more columns do no harm.
LAYER_FRAMES: dict[str, dict[str, Any]] = {
    "statistics": {"latent": INT, "alive": pl.Boolean, "bin": TEXT, "frequency": REAL, "mean": REAL, "std": REAL,
                   "largest": REAL},
    "top": {"latent": INT, "rank": INT, "image": INT, "score": REAL},
    "coherence": {"latent": INT, "images": INT, "coherence": REAL, "null_mean": REAL, "null_low": REAL,
                  "null_high": REAL, "z": REAL},
    "selected": {"rank": INT, "latent": INT, "coherence": REAL, "z": REAL, "examples": LIST},
    "labels": {"latent": INT, "label": TEXT, "value": TEXT, "auroc": REAL},
    "decoder": {"latent": INT, "norm": REAL, "encoder_decoder_cosine": REAL, "neighbours": LIST,
                "neighbour_cosines": REALS},
    "similarity": {"latent_a": INT, "latent_b": INT, "cosine": REAL},
    "overlays": {"latent": INT, "image": INT, "file": TEXT, "map_max": REAL, "vmax": REAL},
    "steering": {"latent": INT, "mode": TEXT, "strength": REAL, "prompt": TEXT, "seed": INT, "file": TEXT},
    "trials": {"latent": INT, "strength": REAL, "lpips_plus": REAL, "lpips_minus": REAL, "score": REAL},
    "grids": {"latent": INT, "strength": REAL, "prompt_id": TEXT, "prompt": TEXT, "seed": INT, "file": TEXT},
    "levels": {"latent": INT, "level": REAL, "image": INT, "score": REAL},
    "distribution": {"latent": INT, "low": REAL, "high": REAL, "images": INT},
}  # fmt: skip
CONTENT_FRAMES: dict[str, dict[str, Any]] = {
    "images": {"image": INT, "prompt_id": TEXT, "prompt": TEXT, "seed": INT, "file": TEXT},
    "matches": {"latent_a": INT, "latent_b": INT, "correlation": REAL},
}
ABSENT = "This was not measured in this run."


def empty(name: str) -> pl.DataFrame:
    """A frame of a layer, or `images` or `matches`, without rows."""
    return pl.DataFrame(schema=(LAYER_FRAMES | CONTENT_FRAMES)[name])


@dataclass(frozen=True, slots=True, eq=False)
class LayerContent:
    """One layer and its autoencoder: everything that the stages measured of its latents.

    - `name`: `early`, `late`; `facts`: what is to be said of it, name -> text (hookpoint, step, latents, k ...);
      `quality`: name -> number on held-out prompts, any of `l0` (mean number of active latents per token), `fvu`
      (fraction of variance unexplained), `dead_share`.
    - frames as the stages write them (columns in `LAYER_FRAMES`, where each may be empty):
      `statistics` (every latent), `top` (the images with the highest score of each latent), `coherence` (latents
      active in enough prompts), `selected` (`examples`: image numbers), `labels` (the best value of each latent: label,
      value, auroc; optionally low, high, second_label, second_value, second_auroc, positives, and of the pointing game
      region, pointing, base_rate, energy), `decoder` (optionally x, y: the place on the map of directions),
      `similarity` (decoder cosines of pairs of selected latents), `overlays`, `steering` and `grids` (optionally lpips,
      clip and the labels season, object, colour, place, time), `trials` of the demo search (optionally concept_gain,
      fidelity, image, prompt), `levels` and `distribution` (see `distributions`; of the selected latents).
    - `overlay_folder`, `steering_folder`, `grid_folder`: what the column `file` of these frames is relative to.
    - `strengths`: those that grids were asked for, so that a missing one shows. `why_empty`: frame -> the sentence
      that stands in its place if it has no rows.
    """

    name: str
    facts: Mapping[str, str] = field(default_factory=dict)
    quality: Mapping[str, float] = field(default_factory=dict)
    statistics: pl.DataFrame = field(default_factory=partial(empty, "statistics"))
    top: pl.DataFrame = field(default_factory=partial(empty, "top"))
    coherence: pl.DataFrame = field(default_factory=partial(empty, "coherence"))
    selected: pl.DataFrame = field(default_factory=partial(empty, "selected"))
    labels: pl.DataFrame = field(default_factory=partial(empty, "labels"))
    decoder: pl.DataFrame = field(default_factory=partial(empty, "decoder"))
    similarity: pl.DataFrame = field(default_factory=partial(empty, "similarity"))
    overlays: pl.DataFrame = field(default_factory=partial(empty, "overlays"))
    steering: pl.DataFrame = field(default_factory=partial(empty, "steering"))
    trials: pl.DataFrame = field(default_factory=partial(empty, "trials"))
    grids: pl.DataFrame = field(default_factory=partial(empty, "grids"))
    levels: pl.DataFrame = field(default_factory=partial(empty, "levels"))
    distribution: pl.DataFrame = field(default_factory=partial(empty, "distribution"))
    overlay_folder: Path = Path()
    steering_folder: Path = Path()
    grid_folder: Path = Path()
    strengths: Sequence[float] = ()
    why_empty: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check(self, LAYER_FRAMES, f"of the layer {self.name}")

    def why(self, name: str) -> str:
        """Why the frame `name` has no rows, as a sentence."""
        return self.why_empty.get(name, ABSENT)


@dataclass(frozen=True, slots=True, eq=False)
class FluxContent:
    """Everything that the report of the FLUX pipeline shows.

    - `model`: what is said of it below the title; `done`: what was done, heading -> sentence, in order.
    - `images`: a row for each image: image (its number), prompt_id, prompt, seed, file (relative to `image_folder`),
      and optionally the labels that the judge reads off it.
    - `layers`: in the order in which they are shown, names differ. `matches`: latent_a of the first of `matched`,
      latent_b of the second, correlation over the same images, optionally cosine of their decoder directions.
      `comparison`: summary.json of the comparison, shown as it is.
    - `interpretable`: the AUROC from which a latent counts as matching its label.
    - `perceptual`, `clip`: the names of these scores. `explanations`: further paragraphs on method, heading -> text.
    - `exports`: name -> a file or folder that is laid beside the pages and linked (Neuronpedia's JSON).
    - `why_empty`: as for layers, for `matches`.
    """

    title: str
    model: str
    images: pl.DataFrame
    image_folder: Path
    layers: Sequence[LayerContent]
    provenance: RunProvenance
    done: Mapping[str, str] = field(default_factory=dict)
    matches: pl.DataFrame = field(default_factory=partial(empty, "matches"))
    matched: tuple[str, str] | None = None
    comparison: Mapping[str, Any] = field(default_factory=dict)
    interpretable: float = 0.9
    perceptual: str = "LPIPS"
    clip: str = "CLIP"
    explanations: Mapping[str, str] = field(default_factory=dict)
    exports: Mapping[str, Path] = field(default_factory=dict)
    why_empty: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check(self, CONTENT_FRAMES, "of the report")
        names = [layer.name for layer in self.layers]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"A report needs layers of different names; found {names}.")
        if self.matches.height and (self.matched is None or not set(self.matched) <= set(names)):
            raise ValueError(f"Matches are between two of the layers {names}; `matched` is {self.matched}.")

    def layer(self, name: str) -> LayerContent:
        """The layer of that name."""
        return next(layer for layer in self.layers if layer.name == name)

    def why(self, name: str) -> str:
        """Why the frame `name` has no rows, as a sentence."""
        return self.why_empty.get(name, ABSENT)


def _check(content: object, frames: Mapping[str, Mapping[str, Any]], whose: str) -> None:
    """ValueError if a frame lacks columns. One without any stands for an empty one; NaN becomes null."""
    for name, columns in frames.items():
        table: pl.DataFrame = getattr(content, name)
        if table.width == 0:
            object.__setattr__(content, name, empty(name))
            continue
        missing = [column for column in columns if column not in table.columns]
        if missing:
            raise ValueError(f"The table {name} {whose} lacks the columns {', '.join(missing)}.")
        object.__setattr__(content, name, table.with_columns(cs.float().fill_nan(None)))


# How the scores of a latent spread over images: a histogram, and images at chosen levels of it.
#
# The images with the highest scores show a feature at its purest. Whether a latent means one thing is seen at its lower
# levels (Bricken et al. 2023, "Towards Monosemanticity", sample them for the same reason).

LEVELS = (0.9, 0.5, 0.1)
SCHEMA_LEVELS = {"latent": pl.Int64, "level": pl.Float64, "image": pl.Int64, "score": pl.Float64}
SCHEMA_BINS = {"latent": pl.Int64, "low": pl.Float64, "high": pl.Float64, "images": pl.Int64}


def score_levels(
    scores: NDArray[np.floating[Any]], latents: Sequence[int], levels: Sequence[float] = LEVELS, each: int = 3,
    above: float = 1e-4,
) -> pl.DataFrame:  # fmt: skip
    """Images whose score is nearest to shares of the latent's largest score: latent, level, image, score.

    `scores`: [images, len(latents)], column j of `latents[j]`; only images with a score > `above` count. Level 0.5 is
    half of the largest score. Each image belongs to its nearest level (the first of two), so that a level may have
    fewer than `each` or none; within one, ties go to the smaller image number and the largest score comes first.
    """
    values = _checked(scores, latents)
    rows: list[dict[str, Any]] = []
    for latent, column in zip(latents, values.T, strict=True):
        active = np.flatnonzero(column > above)
        targets = np.array(levels) * column.max(initial=0.0)
        distance = np.abs(column[active, None] - targets)
        nearest = distance.argmin(1)
        for place, level in enumerate(levels):
            own = np.flatnonzero(nearest == place)
            kept = active[own[np.argsort(distance[own, place], kind="stable")[:each]]]
            kept = np.sort(kept)
            rows += [{"latent": latent, "level": level, "image": int(image), "score": float(column[image])}
                     for image in kept[np.argsort(-column[kept], kind="stable")]]  # fmt: skip
    return pl.DataFrame(rows, schema=SCHEMA_LEVELS)


def score_histogram(
    scores: NDArray[np.floating[Any]], latents: Sequence[int], bins: int = 24, above: float = 1e-4
) -> pl.DataFrame:
    """How many images have a score in [low, high): latent, low, high, images; the last bin holds its upper end.

    `scores`: [images, len(latents)], column j of `latents[j]`. Bins are equal parts of 0 to the latent's largest score;
    only scores > `above` count, so a latent that is nowhere active has no rows.
    """
    values = _checked(scores, latents)
    rows: list[dict[str, Any]] = []
    for latent, column in zip(latents, values.T, strict=True):
        active = column[column > above]
        if active.size == 0:
            continue
        counts, edges = np.histogram(active, bins=bins, range=(0.0, float(active.max())))
        rows += [{"latent": latent, "low": float(low), "high": float(high), "images": int(count)}
                 for (low, high), count in zip(pairwise(edges), counts, strict=True)]  # fmt: skip
    return pl.DataFrame(rows, schema=SCHEMA_BINS)


def _checked(scores: NDArray[np.floating[Any]], latents: Sequence[int]) -> NDArray[np.float64]:
    values = np.asarray(scores, np.float64)
    if values.ndim != 2 or values.shape[1] != len(latents):
        raise ValueError(f"scores are [images, {len(latents)}], one column a latent, not {list(values.shape)}")
    return values
