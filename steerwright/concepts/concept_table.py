"""The table of concepts: the best latents of every concept, step by step, with all scores and how sure they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from steerwright.concepts.scores import MOMENT_SCORES, ConceptMoments, moment_scores, share_difference
from steerwright.concepts.token_means import StepEntries
from steerwright.errors import UserError
from steerwright.stats.ranks import LatentRanks, StepRanks, auroc
from steerwright.stats.significance import LabelPermutations, permutation_p_values, q_values

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


# Which concepts each prompt names.


@dataclass(frozen=True, slots=True, eq=False)
class ConceptLabels:
    """Concepts `axis:value` of prompts. `codes` int64 [prompts, axes]: a concept's place in `concepts`, or -1 where the
    prompt names none on that axis. `axes` holds the concepts' places by axis, in the order of the columns of `codes`.
    """

    prompts: tuple[str, ...]
    concepts: tuple[str, ...]
    axes: Mapping[str, tuple[int, ...]]
    codes: NDArray[np.int64]


def concept_labels(prompts: pl.DataFrame, axes: Sequence[str]) -> ConceptLabels:
    """Read the columns `axes` of a table of prompts (id, and one text column per axis, null where it is not named).

    Concepts are in the order of the axes, and of their values in the alphabet. Raises UserError for a column that is
    missing, ids that are not unique, and an axis that no prompt names.
    """
    if not axes or len(set(axes)) != len(axes):
        raise UserError(f"The axes of concepts are {', '.join(axes) or 'missing'}; name at least one, each once.")
    missing = [name for name in ("id", *axes) if name not in prompts.columns]
    if missing:
        raise UserError(f"The prompts have no column {', '.join(missing)}; they have {', '.join(prompts.columns)}.")
    if prompts["id"].n_unique() != len(prompts):
        raise UserError("Several prompts have the same id; every id must be unique.")
    concepts: list[str] = []
    places: dict[str, tuple[int, ...]] = {}
    codes = np.full((len(prompts), len(axes)), -1, dtype=np.int64)
    for column, axis in enumerate(axes):
        values = prompts[axis].drop_nulls().unique().sort().to_list()
        if not values:
            raise UserError(f"No prompt names a value of the axis {axis!r}; leave it out of `axes`.")
        place = {value: len(concepts) + number for number, value in enumerate(values)}
        concepts += [f"{axis}:{value}" for value in values]
        places[axis] = tuple(place.values())
        codes[:, column] = [place.get(value, -1) for value in prompts[axis]]
    return ConceptLabels(tuple(prompts["id"]), tuple(concepts), places, codes)


# How well concepts are carried by single latents, in a few numbers.

SIGNIFICANT = 0.05


def concept_metrics(table: pl.DataFrame, probe: pl.DataFrame) -> dict[str, Any]:
    """By autoencoder, all steps pooled: `best_auroc` of each concept, their mean, and `significant`, the share of
    concepts with a latent whose q-value is at most 0.05 (of the kept ones). These are of the training images, where the
    best latent is chosen; `validation` has the mean AUROC of that latent and of the probe on the others. null where
    nothing is defined."""
    found: dict[str, Any] = {}
    for sae in table["sae"].unique(maintain_order=True):
        best = (
            table.filter(pl.col("sae") == sae, pl.col("step").is_null())
            .group_by("concept", maintain_order=True)
            .agg(pl.col("auroc").max(), (pl.col("q_value").min() <= SIGNIFICANT).alias("significant"))
            .drop_nulls("auroc")
        )
        here = probe.filter(pl.col("sae") == sae)
        found[sae] = {
            "best_auroc": dict(best.select("concept", pl.col("auroc").round(4)).iter_rows()),
            "mean_best_auroc": _rounded(best["auroc"].mean()),
            "significant": _rounded(best["significant"].mean()),
            "validation": {
                "latent_auroc": _rounded(here["latent_auroc"].mean()),
                "probe_auroc": _rounded(here["probe_auroc"].mean()),
            },
        }
    return found


def _rounded(value: Any) -> float | None:
    return None if value is None else round(float(value), 4)


# Would other prompts have selected the same latents?


def prompt_halves(prompt: NDArray[np.int64], pairs: int, seed: int) -> NDArray[np.bool_]:
    """Random halves of the prompts and their complements: [2 * pairs, images], by the images' prompts."""
    numbers, prompt_of = np.unique(prompt, return_inverse=True)
    half = np.arange(len(numbers)) < len(numbers) // 2
    drawn = np.random.default_rng(seed).permuted(np.tile(half, (pairs, 1)), axis=1)
    return np.concatenate([drawn, ~drawn])[:, prompt_of]


class Stability:
    """Share of the `halves` of the prompts in which a latent is among the best by share difference.

    `halves` bool [halves, images], `label` int64 [images], 0 to `values` - 1. Source: stability selection with
    complementary pairs, arXiv:1105.5578.
    """

    def __init__(self, halves: NDArray[np.bool_], label: NDArray[np.int64], values: int, size: int) -> None:
        self._members = torch.from_numpy(np.stack([halves & (label == value) for value in range(values)])).float()
        self._sums = torch.zeros(values, len(halves), size)

    def add(self, where: slice, ranks: LatentRanks) -> None:
        """Take in the token means of the latents `where`."""
        for latents in ranks.live_blocks():
            self._sums[:, :, where.start + torch.from_numpy(latents)] = self._members @ ranks.dense(latents, ranks.mean)

    def shares(self, top: int) -> NDArray[np.float64]:
        """For each label and latent, [values, n]: how often it is among the `top` and its score is positive.

        A half without images of the label, or without any other, is left out; NaN where none is left.
        """
        count = self._members.sum(2, keepdim=True)
        total, images = self._sums.sum(0), count.sum(0)
        share = np.full((len(self._sums), self._sums.shape[2]), np.nan)
        for value, (sums, with_label) in enumerate(zip(self._sums, count, strict=True)):
            usable = ((with_label > 0) & (with_label < images)).squeeze(1)
            if usable.any():
                own = sums[usable] / with_label[usable]
                others = (total[usable] - sums[usable]) / (images - with_label)[usable]
                share[value] = _selected(share_difference(own, others), top).double().mean(0).numpy()
        return share


def _selected(scores: Tensor, top: int) -> Tensor:
    """Which latents are among the `top` of their row and above zero: bool like `scores` [rows, n]."""
    best, places = scores.topk(min(top, scores.shape[1]))
    return torch.zeros_like(scores, dtype=torch.bool).scatter(1, places, best > 0)
