"""What the scored texts say of each concept and condition, with bootstrap intervals over prompts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from steerwright.scoring.language.fluency import distinct, shown
from steerwright.stats.bootstrap import Bootstrap, Interval

if TYPE_CHECKING:
    import polars as pl

UNSTEERED = "unsteered"
# With which texts a condition's are compared: what is removed from, with the texts that were asked for the concept.
BASE = {"removed": "asked"}


def aggregate(scored: pl.DataFrame, concepts: Sequence[str], bootstrap: Bootstrap) -> pl.DataFrame:
    """One row for each concept, condition and decoding.

    Columns: concept, condition, decoding, rate (share of texts that show the concept) with its interval, perplexity,
    ratio with its interval, distinct_1, distinct_2, repeated, kl, texts. Perplexity is exp of the mean over texts of a
    text's mean negative log-likelihood by token; ratio is the same of the paired difference to the unsteered texts of
    the same prompts and seeds (for `removed`: to those that were asked for the concept).
    """
    import polars as pl

    rows: list[dict[str, Any]] = []
    for name in concepts:
        of_concept = scored.filter(
            (pl.col("condition") == UNSTEERED) | ((pl.col("concept") == name) & (pl.col("condition") != "mix"))
        )
        for (condition, decoding), some in of_concept.group_by("condition", "decoding", maintain_order=True):
            base = of_concept.filter(condition=BASE.get(str(condition), UNSTEERED), decoding=decoding)
            rows.append(
                {"concept": name, "condition": condition, "decoding": decoding}
                | _numbers(some, base, (name,), bootstrap)
            )
    return pl.DataFrame(rows)


def mix_table(scored: pl.DataFrame, mixes: Mapping[str, Mapping[str, float]], bootstrap: Bootstrap) -> pl.DataFrame:
    """One row for each mix, part and decoding: mix, part, weight, decoding, rate of the part in the texts of the mix
    with its interval, rate of the part in unsteered texts, both (share of texts that show all parts) with its interval,
    ratio (perplexity over that of the unsteered texts), texts.
    """
    import polars as pl

    rows: list[dict[str, Any]] = []
    for mix, weights in mixes.items():
        steered = scored.filter(condition="mix", concept=mix)
        for (decoding,), some in steered.group_by("decoding", maintain_order=True):
            base = scored.filter(condition=UNSTEERED, decoding=decoding)
            together = bootstrap.mean(shown(some, list(weights)).to_numpy(), some["prompt_id"].to_list())
            ratio = perplexity_ratio(some, base, bootstrap)
            for part, weight in weights.items():
                rate = bootstrap.mean(shown(some, (part,)).to_numpy(), some["prompt_id"].to_list())
                rows.append(
                    {"mix": mix, "part": part, "weight": weight, "decoding": decoding, **_interval("rate", rate),
                     "unsteered": shown(base, (part,)).mean(), **_interval("both", together),
                     "ratio": ratio.estimate, "texts": len(some)}
                )  # fmt: skip
    schema = {"mix": pl.String, "part": pl.String, "weight": pl.Float64, "decoding": pl.String, "rate": pl.Float64}
    return pl.DataFrame(rows) if rows else pl.DataFrame(schema=schema)


def perplexity_ratio(some: pl.DataFrame, base: pl.DataFrame, bootstrap: Bootstrap) -> Interval:
    """Perplexity of `some` over that of `base`, paired by prompt and seed; the interval is over prompts."""
    before = {tuple(key): nll for *key, nll in base.select("prompt_id", "seed", "nll").iter_rows()}
    paired = [before[key] for key in some.select("prompt_id", "seed").iter_rows()]
    found = bootstrap.paired_difference(some["nll"].to_numpy(), paired, some["prompt_id"].to_list())
    return Interval(
        math.exp(found.estimate), math.exp(found.low), math.exp(found.high), found.level, found.clusters, found.rows
    )


def _numbers(some: pl.DataFrame, base: pl.DataFrame, concepts: Sequence[str], bootstrap: Bootstrap) -> dict[str, Any]:
    rate = bootstrap.mean(shown(some, concepts).to_numpy(), some["prompt_id"].to_list())
    texts = some["text"].to_list()
    return {
        **_interval("rate", rate), "perplexity": math.exp(float(np.mean(some["nll"].to_numpy()))),
        **_interval("ratio", perplexity_ratio(some, base, bootstrap)), "distinct_1": distinct(texts, 1),
        "distinct_2": distinct(texts, 2), "repeated": some["repeated"].mean(), "kl": some["kl"].mean(),
        "texts": len(some),
    }  # fmt: skip


def _interval(name: str, found: Interval) -> dict[str, float]:
    return {name: found.estimate, f"{name}_low": found.low, f"{name}_high": found.high}


def flat_metrics(scores: pl.DataFrame) -> dict[str, Any]:
    """For dvc metrics: by decoding and concept the rates of all conditions and the perplexity ratio of the steered."""
    found: dict[str, Any] = {}
    for row in scores.iter_rows(named=True):
        here = found.setdefault(row["decoding"], {}).setdefault(row["concept"], {})
        here[row["condition"]] = row["rate"]
        if row["condition"] == "steered":
            here["perplexity_ratio"] = row["ratio"]
    return found
