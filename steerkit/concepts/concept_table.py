"""The table of concepts: the best latents of every concept, step by step, with all scores and how sure they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from steerkit.concepts.concept_labels import ConceptLabels
from steerkit.concepts.concept_moments import ConceptMoments
from steerkit.concepts.false_discovery import q_values
from steerkit.concepts.permutation_test import LabelPermutations, permutation_p_values
from steerkit.concepts.ranks import StepRanks, auroc
from steerkit.concepts.scores import MOMENT_SCORES, moment_scores
from steerkit.concepts.stability import Stability, prompt_halves
from steerkit.concepts.token_means import StepEntries
from steerkit.errors import UserError

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class TableOptions:
    """`keep`: latents kept by each score; `permutations`: at most so many draws; `halvings`: random halvings of the
    prompts for the stability; `seed`: of both. UserError for one that is less than 1."""

    keep: int = 20
    permutations: int = 10_000
    halvings: int = 25
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("keep", "permutations", "halvings"):
            if getattr(self, name) < 1:
                raise UserError(f"Mapping concepts with {name}: {getattr(self, name)} makes no table; use 1 or more.")


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """The images whose prompts count: `prompt` int64 [images], the number of each image's prompt; `counted` bool
    [images]; `present` bool [images, steps + 1]."""

    prompt: NDArray[np.int64]
    counted: NDArray[np.bool_]
    present: NDArray[np.bool_]


def concept_table(
    name: str,
    moments: ConceptMoments,
    entries: StepEntries,
    images: Images,
    labels: ConceptLabels,
    options: TableOptions,
) -> pl.DataFrame:
    """One row per concept, step (null: all pooled) and latent that is among the `keep` best of any score.

    Columns: sae (`name`), concept, step, latent; mean, mean_others (of token means, over the concept's images and over
    those of the other concepts on its axis); share_difference; auroc; cohens_d; p_value (one-sided, of the AUROC,
    labels permuted over the prompts of the axis); q_value (Benjamini-Hochberg; the family is all concepts of the axis
    times all latents that are active in its images, at this step of this autoencoder); stability (share of random
    halves of the prompts in which the latent is among the `keep` best by share difference); density (share of tokens
    on which it is active); keep. Images whose prompts do not name the axis are left out. auroc, p_value, q_value and
    stability are null on an axis with a single concept. Latents that are never active on the axis are not listed.
    """
    import polars as pl

    tables = []
    drawn: dict[int, tuple[NDArray[np.bool_], LabelPermutations]] = {}
    for slot, step in enumerate((*moments.steps, None)):
        at_step = entries.at(slot)
        for column, places in enumerate(labels.axes.values()):
            code = labels.codes[images.prompt, column]
            taking = images.counted & images.present[:, slot] & (code >= 0)
            label, prompt = code[taking] - places[0], images.prompt[taking]
            position = np.where(taking, taking.cumsum() - 1, -1)
            # Mostly every step has the same images, and then the same draws serve.
            if column not in drawn or not np.array_equal(drawn[column][0], taking):
                drawn[column] = taking, LabelPermutations(label, prompt, options.seed)
            ranks = StepRanks(at_step, position, moments.size)
            tables.append(_axis_table(moments, places, step, ranks, label, prompt, drawn[column][1], options))
    schema: dict[str, Any] = {"concept": pl.Enum(moments.concepts), "step": pl.Int64, "latent": pl.Int64}
    return (
        pl.concat([pl.DataFrame(columns, schema_overrides=schema) for columns in tables])
        .with_columns(
            pl.lit(name).alias("sae"), pl.lit(options.keep).alias("keep"),
            pl.col("auroc", "p_value", "q_value", "stability").fill_nan(None),
        )
        .sort("concept", "step", "share_difference", "latent", descending=[False, False, True, False])
        .with_columns(pl.col("concept").cast(pl.String))
        .select("sae", pl.exclude("sae"))
    )  # fmt: skip


def _axis_table(
    moments: ConceptMoments,
    places: tuple[int, ...],
    step: int | None,
    ranks: StepRanks,
    label: NDArray[np.int64],
    prompt: NDArray[np.int64],
    permutations: LabelPermutations,
    options: TableOptions,
) -> dict[str, Any]:
    """Columns for the concepts of one axis at one step."""
    names = [moments.concepts[place] for place in places]
    scores: dict[str, NDArray[np.float64]] = {
        by: np.stack([moment_scores(moments, name, step, by).numpy() for name in names]) for by in MOMENT_SCORES
    }
    area = scores["auroc"] = np.empty_like(scores["share_difference"])
    live = np.zeros(moments.size, dtype=bool)
    halves = prompt_halves(prompt, options.halvings, options.seed)
    stable = Stability(halves, label, len(places), moments.size)
    for where, part in ranks:
        area[:, where] = auroc(part, label, len(places))
        live[where.start + part.live] = True
        stable.add(where, part)
    kept = _best(scores, live, options.keep)
    p_value = np.empty_like(area)
    for where, part in ranks:
        p_value[:, where] = permutation_p_values(
            part, label, len(places), permutations, options.permutations, finely=kept[:, where]
        )
    p_value[np.isnan(area)] = np.nan
    q_value = np.full_like(p_value, np.nan)
    tested = ~np.isnan(p_value) & live
    q_value[tested] = q_values(p_value[tested])
    means = np.stack([moments.mean_and_variance([place], step)[1].numpy() for place in places])
    others = np.stack([moments.mean_and_variance(moments.others(name), step)[1].numpy() for name in names])
    rows, latents = kept.nonzero()
    return {
        "concept": [names[row] for row in rows],
        "step": [step] * len(rows),
        "latent": latents,
        "mean": means[kept],
        "mean_others": others[kept],
        "share_difference": scores["share_difference"][kept],
        "auroc": area[kept],
        "cohens_d": scores["cohens_d"][kept],
        "p_value": p_value[kept],
        "q_value": q_value[kept],
        "stability": stable.shares(options.keep)[kept],
        "density": moments.density[moments.slot(step)].numpy()[latents],
    }


def _best(scores: Mapping[str, NDArray[np.float64]], live: NDArray[np.bool_], keep: int) -> NDArray[np.bool_]:
    """Which latents are among the `keep` best of those that are `live` [n], by any score [concepts, n]."""
    latents = np.flatnonzero(live)
    kept = np.zeros_like(next(iter(scores.values())), dtype=bool)
    for score in scores.values():
        for row, of_concept in enumerate(score):
            if not np.isnan(of_concept).any():
                # Stable: of equal scores the lower latent is kept, as `select_latents` would choose it.
                kept[row, latents[np.argsort(-of_concept[live], kind="stable")[:keep]]] = True
    return kept
