"""Prompts on which a latent is tried: those that leave unsaid what it stands for, so that steering can say it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steerwright.errors import UserError
from steerwright.experiments.steered_pictures import SeededPrompt
from steerwright.prompts.concept_table import evenly

if TYPE_CHECKING:
    import polars as pl


Half = Literal["choose", "score"]


def neutral_prompts(
    prompts: pl.DataFrame, label: str | None, count: int, half: Half | None = None
) -> list[SeededPrompt]:
    """`count` of the `prompts`, evenly over those that do not say `label`; over all where each says it or none can.

    `half`: only every other one of them. What is chosen on the one half can be scored on the other.
    """
    import polars as pl

    silent = prompts.filter(pl.col(label).is_null()) if label in prompts.columns else prompts
    rows = (silent if silent.height else prompts).select("id", "prompt", "seed").to_dicts()
    if half is not None:
        rows = rows[half == "score" :: 2]
    return [SeededPrompt(**row) for row in evenly(rows, min(count, len(rows)))]


# Which images show best what a latent does: those that change most, and on both sides, when it is steered.


def demo_trials(judged: pl.DataFrame, kept: int) -> pl.DataFrame:
    """One row per latent, image and strength, from the judged pictures of both signs of each strength.

    `judged`: latent, strength (signed, never 0), prompt_id, prompt, seed, lpips, concept, clip, clip_plain. Columns:
    latent, prompt_id, prompt, seed, strength (above 0), lpips_plus, lpips_minus, score (`responsiveness`), concept_gain
    (cosine to what the latent's own images have in common, at plus less at minus), fidelity (mean cosine to the prompt
    of both pictures over that of the unsteered one), best (the image's best strength), kept (the `kept` images of a
    latent with the highest scores at their best strength).
    """
    import polars as pl

    keys = ["latent", "prompt_id", "prompt", "seed", "strength"]
    names = ("lpips", "concept", "clip", "clip_plain")
    sides = {}
    for side, wanted in (("plus", pl.col("strength") > 0), ("minus", pl.col("strength") < 0)):
        part = judged.filter(wanted).with_columns(pl.col("strength").abs())
        sides[side] = part.select(*keys, *(pl.col(name).alias(f"{name}_{side}") for name in names))
    both = sides["plus"].join(sides["minus"], on=keys, how="inner", maintain_order="left")
    scores = responsiveness(both["lpips_plus"].to_numpy(), both["lpips_minus"].to_numpy())
    found = both.select(
        *keys, "lpips_plus", "lpips_minus", pl.Series("score", scores),
        (pl.col("concept_plus") - pl.col("concept_minus")).alias("concept_gain"),
        ((pl.col("clip_plus") + pl.col("clip_minus")) / 2 / pl.col("clip_plain_plus")).alias("fidelity"),
    )  # fmt: skip
    image = ["latent", "prompt_id", "seed"]
    found = found.with_columns(
        (pl.col("strength").sort_by("score", descending=True).first().over(image) == pl.col("strength")).alias("best")
    )
    ranks = (
        found.filter("best")
        .sort(["latent", "score", "prompt_id"], descending=[False, True, False])
        .group_by("latent", maintain_order=True)
        .head(kept)
        .select(*image, pl.lit(True).alias("kept"))
    )
    marked = found.join(ranks, on=image, how="left", maintain_order="left")
    return marked.with_columns(pl.col("kept").fill_null(False) & pl.col("best"))


# How much pictures change when a latent's direction is added or subtracted, and which images to try that on.

log = logging.getLogger(__name__)


def responsiveness(plus: ArrayLike, minus: ArrayLike) -> NDArray[np.float64]:
    """Score of LPIPS distances d+ and d- (any one shape) of the two steered pictures from the unsteered one.

    1/2 (d+ + d-) (1/2 + 1/2 min / max): the mean distance, halved where only one side changes anything; 0 where neither
    does. The formula of seed 004, which says how much a picture changes and not into what.
    """
    first, second = np.broadcast_arrays(np.asarray(plus, dtype=np.float64), np.asarray(minus, dtype=np.float64))
    if (first < 0).any() or (second < 0).any() or not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("a distance is negative or not finite")
    larger = np.maximum(first, second)
    balance = np.divide(np.minimum(first, second), larger, out=np.zeros_like(larger), where=larger > 0)
    return np.asarray((first + second) / 2 * (0.5 + 0.5 * balance))


@dataclass(frozen=True, slots=True, eq=False)
class DemoCandidates:
    """Images for demos of one latent: `table` has latent, image, score, by score descending; `low` and `high` are the
    scores between which they lie, `in_band` how many images there do, `wanted` how many were asked for."""

    table: pl.DataFrame
    low: float
    high: float
    in_band: int
    wanted: int

    @property
    def short(self) -> int:
        """How many are lacking."""
        return self.wanted - len(self.table)


def demo_candidates(
    scores: NDArray[np.floating],
    latent: int,
    *,
    low: float = 70,
    high: float = 95,
    count: int = 10,
    alive_above: float = 0.0,
    prompts: Sequence[object] | None = None,
    seed: int = 0,
) -> DemoCandidates:
    """`count` images in which the latent is clearly active but not at its very strongest.

    `scores` [images]: its pooled activation in every image of a finished matrix. Percentiles `low` to `high` (both
    inside, linearly interpolated) are those of the scores above `alive_above`. Of the images there, a random choice by
    `seed` and the latent's number; with `prompts` [images] at most one of each prompt, its strongest. Fewer than
    `count` are logged and counted in `short`; UserError for a latent that is active nowhere.
    """
    import polars as pl

    if not 0 <= low < high <= 100:
        raise UserError(f"Percentiles {low} to {high} are no band within 0 to 100.")
    active = scores[scores > alive_above]
    if not len(active):
        raise UserError(
            f"Latent {latent} is active in none of {len(scores)} images, so it has no demo; choose another."
        )
    bottom, top = np.percentile(active, [low, high])
    inside = np.flatnonzero((scores > alive_above) & (scores >= bottom) & (scores <= top))
    if prompts is not None:
        strongest: dict[object, int] = {}
        for image in inside[np.lexsort((inside, -scores[inside]))].tolist():
            strongest.setdefault(prompts[image], image)
        inside = np.sort(np.array(list(strongest.values()), dtype=np.int64))
    chosen = np.random.default_rng((seed, latent)).permutation(inside)[:count]
    chosen = chosen[np.lexsort((chosen, -scores[chosen]))]
    if len(chosen) < count:
        log.warning(
            "latent %d: %d demo candidates, not %d: only so many of its %d active images lie in percentiles %g to %g",
            latent, len(chosen), count, len(active), low, high,
        )  # fmt: skip
    table = pl.DataFrame(
        {"latent": [latent] * len(chosen), "image": chosen, "score": scores[chosen].astype(np.float64)},
        schema={"latent": pl.Int64, "image": pl.Int64, "score": pl.Float64},
    )
    return DemoCandidates(table, float(bottom), float(top), len(inside), count)
