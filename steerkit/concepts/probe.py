"""What a supervised probe on the rows themselves can tell of a concept, beside the best single latent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from steerkit.concepts.concept_labels import ConceptLabels
from steerkit.concepts.ranks import auroc_of
from steerkit.vectors.logistic_probe import logistic_probe

if TYPE_CHECKING:
    import polars as pl


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
