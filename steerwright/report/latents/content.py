"""What the report of latents is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import polars.selectors as cs
from numpy.typing import NDArray

from steerwright.report.provenance import RunProvenance
from steerwright.scoring.erasure_samples import TOGETHER, UNSTEERED
from steerwright.scoring.unlearning import axes_of

METHODS = (UNSTEERED, "steered", "ablation", "saeuron", "random")
METHOD_NAMES = {
    UNSTEERED: "Unsteered", "steered": "Ours", "ablation": "Plain ablation", "saeuron": "SAeUron",
    "random": "Random latents",
}  # fmt: skip
# Method -> the theme's colour that it is drawn in, and its mark.
COLOURS = {
    UNSTEERED: "unsteered", "steered": "adaptive", "ablation": "fixed", "saeuron": "prompt", "random": "random",
}  # fmt: skip
MARKS = {UNSTEERED: "o", "steered": "D", "ablation": "s", "saeuron": "^", "random": "X"}
RATES = ("target", "method", "strength", "operating", "metric", "estimate", "low", "high", "prompts", "images")
COLUMNS: dict[str, tuple[str, ...]] = {
    "images": ("target", "method", "strength", "operating", "prompt_id", "prompt", "seed"),
    "unlearning": RATES,
    "sequential": RATES,
    "comparisons": ("question", "measure", "target", "method", "estimate", "low", "high", "bar", "met"),
    "quality": ("sae", "measure", "step", "low", "high", "value"),
    "curves": ("sae", "rows"),
    "concept_latents": ("sae", "concept", "latent", "mean", "selected"),
    "pictures": ("target", "method", "prompt_id", "seed", "path"),
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class TopPicture:
    """An unsteered picture on which a latent is active: `maps` [steps, h, w] are its activations on every token."""

    prompt: str
    seed: int
    path: Path
    activation: float
    maps: NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class LatentCard:
    """One latent: where it is used, how it scores, and the pictures on which it is most active.

    `concept`: what it was chosen for; `scores`: name -> number, as they are shown; `density`: share of tokens on which
    it is active; `steps`: the denoising steps of the maps; `by_step`: name of a line (the concept, the others) -> its
    mean activation at each of `steps`.
    """

    sae: str
    latent: int
    concept: str
    scores: Mapping[str, float | None]
    density: float | None
    steps: Sequence[int]
    by_step: Mapping[str, Sequence[float]]
    top: Sequence[TopPicture]


@dataclass(frozen=True, slots=True, eq=False)
class LatentsContent:
    """Everything on the page; `write_latents_report` draws it and reads no other file than the pictures.

    - `title`, `model`: the page's heading, and the model's name with a word on what it is.
    - `done`: what was done, heading -> sentence, in order.
    - `images`, `unlearning`, `sequential`, `comparisons`: the tables of latents-scores (docs/formats.md).
    - `chosen`: target -> method -> its operating point, any mapping; `trials`: what was tried on tuning prompts, any
      columns, one of them `target`, shown as they are.
    - `quality`: measurements of autoencoders, long: sae, measure (`fvu`, `l0`, `dead_share`: one number each, where
      `step` is given, of that step; `density`: number of latents whose density is in [low, high), in powers of ten),
      value. `curves`: sae, rows, and any of fvu, l0, dead_share. `saes`: sae -> what is to be said of it, name -> text.
    - `concept_latents`: the mean activation of latents over the pictures of each concept; `selected` where the latent
      was chosen for it. `cards`: see `LatentCard`.
    - `pictures`: target (null for unsteered ones), method, prompt_id, seed, path, at the operating points.
    - `perceptual`, `fid_name`: the names of these scores. `explanations`: further paragraphs, heading -> text.
    """

    title: str
    model: str
    done: Mapping[str, str]
    images: pl.DataFrame
    unlearning: pl.DataFrame
    sequential: pl.DataFrame
    comparisons: pl.DataFrame
    chosen: Mapping[str, Mapping[str, Mapping[str, Any]]]
    trials: pl.DataFrame
    quality: pl.DataFrame
    curves: pl.DataFrame
    saes: Mapping[str, Mapping[str, str]]
    concept_latents: pl.DataFrame
    cards: Sequence[LatentCard]
    pictures: pl.DataFrame
    provenance: RunProvenance
    perceptual: str = "lpips"
    fid_name: str = "fid"
    explanations: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, columns in COLUMNS.items():
            table: pl.DataFrame = getattr(self, name)
            missing = [column for column in columns if column not in table.columns]
            if missing:
                raise ValueError(f"The table {name} of the report lacks the columns {', '.join(missing)}.")
        if not self.targets:
            raise ValueError("A report of latents needs at least one target that was erased.")

    @property
    def targets(self) -> list[str]:
        """Single targets in the order of the table of rates."""
        names = self.unlearning["target"].unique(maintain_order=True).to_list()
        return [name for name in names if ":" in name and TOGETHER not in name]

    @property
    def means(self) -> list[str]:
        """The means over targets that are worth showing: one for each axis, and over all where there are several."""
        names = self.unlearning["target"].unique(maintain_order=True).to_list()
        means = [name for name in names if name.startswith("mean over ")]
        return [*means, "mean"] if len(means) > 1 and "mean" in names else means

    @property
    def methods(self) -> list[str]:
        """The methods that there are, in the order of `METHODS`; others after them."""
        present = set(self.unlearning["method"].to_list())
        return [*(name for name in METHODS if name in present), *sorted(present - set(METHODS))]

    @property
    def axes(self) -> list[str]:
        """The axes of the concepts."""
        return axes_of(self.images)

    def rates(self, target: str) -> dict[tuple[str, str], dict[str, Any]]:
        """The rows of `target` at its operating point, by method and metric; NaN is None."""
        rows = self.unlearning.filter(pl.col("operating"), target=target).with_columns(cs.float().fill_nan(None))
        return {
            (row["method"], row["metric"]): row for row in rows.iter_rows(named=True) if row["estimate"] is not None
        }


def method_name(method: str) -> str:
    """A method for people."""
    return METHOD_NAMES.get(method, method.replace("_", " ").capitalize())


def colour(method: str) -> str:
    """The theme's colour of a method."""
    return COLOURS.get(method, "muted")


def concept_name(target: str) -> str:
    """`season:winter` as `winter`; several as `winter + summer`; a mean as it is."""
    return TOGETHER.join(part.partition(":")[2] or part for part in target.split(TOGETHER)).replace("_", " ")


def mean_name(target: str) -> str:
    """`mean over seasons` as `Seasons`, `mean` as `All`."""
    return target.removeprefix("mean over ").capitalize() if target != "mean" else "All targets"
