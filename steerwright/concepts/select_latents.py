"""The latents of a concept: the best by a score, so many, in a defined order."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from steerwright.concepts.concept_table import ConceptLabels
from steerwright.concepts.scores import ConceptMoments, moment_scores
from steerwright.errors import UserError
from steerwright.stats.ranks import auroc_of
from steerwright.vectors.estimators.logistic_probe import logistic_probe

if TYPE_CHECKING:
    import polars as pl


Score = Literal["share_difference", "auroc", "cohens_d", "mean_difference"]
SCORES: tuple[Score, ...] = ("share_difference", "auroc", "cohens_d", "mean_difference")

log = logging.getLogger(__name__)


def select_latents(
    source: ConceptMoments | pl.DataFrame,
    concept: str,
    step: int | None,
    by: Score = "share_difference",
    *,
    top: int | None = None,
    percentile: float | None = None,
) -> list[int]:
    """The latents with the highest scores for `concept` at `step` (None: all steps pooled), the best first.

    Exactly one of: `top`, how many; `percentile`, SAeUron's way to say it (arXiv:2501.18052): the latents whose score
    is strictly above that percentile, linearly interpolated, of all n latents' scores. It is an alias of a number,
    which is logged: of 20,480 latents 99.99 are 3 and 99.999 are 1.

    No latent twice; of equal scores the lower index first. `top` latents are returned even where scores are not
    positive. `source`: moments, which hold every latent (for all scores but auroc), or the rows of one autoencoder in
    concepts.parquet, which hold the best of each score and know no percentile.
    Raises UserError for a concept or step that is not there, or more latents than there are.
    """
    if (top is None) == (percentile is None):
        raise ValueError("give either top or percentile")
    if isinstance(source, ConceptMoments):
        if by == "auroc":
            raise UserError("Moments do not hold ranks; select by auroc from concepts.parquet, or by another score.")
        scores = moment_scores(source, concept, step, by)
        if percentile is not None:
            top = percentile_count(scores, percentile)
            log.info("percentile %g at %s selects %d of %d latents for %s", percentile,
                     "all steps" if step is None else f"step {step}", top, source.size, concept)  # fmt: skip
        return _best(scores, top)
    if top is None:
        raise UserError("A percentile is of all latents; concepts.parquet holds the best only: give top instead.")
    return _best_rows(source, concept, step, by, top)


def percentile_count(scores: Tensor, percentile: float) -> int:
    """How many of `scores` [n] are strictly above their `percentile` (0 to 100), linearly interpolated."""
    if not 0 <= percentile <= 100:
        raise UserError(f"The percentile {percentile} is not between 0 and 100.")
    ordered = scores.double().sort().values
    place = percentile / 100 * (len(ordered) - 1)
    below, above = ordered[math.floor(place)], ordered[math.ceil(place)]
    # Not torch.quantile, which makes NaN of two infinite scores.
    threshold = below if below == above else below + (above - below) * (place - math.floor(place))
    return int((ordered > threshold).sum())


def _best(scores: Tensor, top: int | None) -> list[int]:
    assert top is not None
    if not 0 <= top <= len(scores):
        raise UserError(f"There are {len(scores)} latents; {top} cannot be chosen.")
    # Stable: of equal scores the lower index comes first.
    best: list[int] = scores.argsort(descending=True, stable=True)[:top].tolist()
    return best


def _best_rows(table: pl.DataFrame, concept: str, step: int | None, by: Score, top: int) -> list[int]:
    import polars as pl

    if table["sae"].n_unique() > 1:
        names = ", ".join(table["sae"].unique().sort())
        raise ValueError(f"latents of several autoencoders ({names}) have nothing in common; filter by one")
    of_concept = table.filter(pl.col("concept") == concept)
    if of_concept.is_empty():
        known = ", ".join(table["concept"].unique(maintain_order=True)) or "none"
        raise UserError(f"There is no concept {concept!r} in the table; there are {known}.")
    at_step = of_concept.filter(pl.col("step").is_null() if step is None else pl.col("step") == step)
    score = pl.col("mean") - pl.col("mean_others") if by == "mean_difference" else pl.col(by)
    ranked = at_step.select("latent", "keep", score.alias("score")).drop_nulls("score")
    # It holds the best by other scores too; beyond `keep` it would lack some that are better by this one.
    held = min(len(ranked), ranked["keep"][0]) if len(ranked) else 0
    if held < top:
        raise UserError(
            f"The table of concepts keeps the {held} best latents of {concept} by {by} at "
            f"{'all steps pooled' if step is None else f'step {step}'}, not {top}; raise `keep` and map concepts again."
        )
    return ranked.sort(["score", "latent"], descending=[True, False])["latent"][:top].to_list()


# What a supervised probe on the rows themselves can tell of a concept, beside the best single latent.


def probe_aurocs(
    means: Tensor, prompt: NDArray[np.int64], validation: NDArray[np.bool_], labels: ConceptLabels
) -> dict[str, float]:
    """AUROC on validation images of a logistic probe for each concept against the others of its axis.

    `means` [images, d]; `prompt` int64 [images], the prompts' numbers; bool `validation` [prompts]: the others train.
    NaN where training or validation lacks images with or without the concept, or their means coincide.
    """
    found = {}
    held_out = validation[prompt]
    for column, places in enumerate(labels.axes.values()):
        code = labels.codes[prompt, column]
        for place in places:
            train, test = (code >= 0) & ~held_out, (code >= 0) & held_out
            found[labels.concepts[place]] = _probe(means, train, test, code == place)
    return found


def _probe(means: Tensor, train: NDArray[np.bool_], test: NDArray[np.bool_], positive: NDArray[np.bool_]) -> float:
    above, below = means[train & positive], means[train & ~positive]
    if not (len(above) and len(below)):
        return float("nan")
    try:
        direction = logistic_probe(above, below)
    except ValueError:  # the means coincide: there is nothing to tell them apart by
        return float("nan")
    return auroc_of((means[test] @ direction.unit.double()).numpy(), positive[test])


def probe_table(
    name: str, best: pl.DataFrame, of_latents: Mapping[str, float], of_probes: Mapping[str, float]
) -> pl.DataFrame:
    """sae, concept, latent (the best by AUROC on training images, all steps pooled), latent_auroc and probe_auroc.

    Both on validation images, of means over tokens and steps; null where they are not defined. `best` has the columns
    concept and latent; AUROCs are by concept.
    """
    import polars as pl

    rows: list[dict[str, Any]] = [
        {"sae": name, "concept": concept, "latent": latent, "latent_auroc": of_latents[concept],
         "probe_auroc": of_probes[concept]}
        for concept, latent in best.select("concept", "latent").iter_rows()
    ]  # fmt: skip
    schema = {"sae": pl.String, "concept": pl.String, "latent": pl.Int64, "latent_auroc": pl.Float64,
              "probe_auroc": pl.Float64}  # fmt: skip
    return pl.DataFrame(rows, schema=schema).fill_nan(None)
