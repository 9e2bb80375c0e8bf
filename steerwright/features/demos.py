"""Prompts on which a latent is tried: those that leave unsaid what it stands for, so that steering can say it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from steerwright.experiments.steered_pictures import SeededPrompt
from steerwright.prompts.suite import evenly

if TYPE_CHECKING:
    import polars as pl
from typing import TYPE_CHECKING

from steerwright.features.responsiveness import responsiveness

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
