"""At which layer and strength each concept is steered: decided on tuning prompts, never on those that are scored."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import polars as pl

from steerwright.dag import Dep, Out, Param
from steerwright.scoring.language.aggregate import perplexity_ratio
from steerwright.scoring.language.fluency import distinct, shown
from steerwright.scoring.language.judges import TextJudge
from steerwright.stats.bootstrap import Bootstrap
from steerwright.steering.language.edits import TextUnits
from steerwright.vectors.mixing import parse_mix

if TYPE_CHECKING:
    import polars as pl


def language_choice(
    pairs: Annotated[Path, Dep()],
    texts: Annotated[Path, Dep()],
    judges: Annotated[Path, Dep()],  # noqa: ARG001  # read by its name in params; here so that new weights count
    scorer: Annotated[str, Param("/language.scorer")],
    mixes: Annotated[list[str], Param("/language.mixes")],
    units: Annotated[TextUnits, Param("/language.steering.units")],
    perplexity_ratio: Annotated[float, Param()],
    mix_perplexity_ratio: Annotated[float, Param()],
    distinct: Annotated[float, Param()],
    resamples: Annotated[int, Param("/language.scores.resamples")],
    bootstrap_seed: Annotated[int, Param("/language.scores.bootstrap_seed")],
    sweep: Annotated[Path, Out("sweep.parquet")],
    mix_sweep: Annotated[Path, Out("mix_sweep.parquet")],
    chosen: Annotated[Path, Out("chosen.json")],
    chosen_mixes: Annotated[Path, Out("chosen_mixes.json")],
    metrics: Annotated[Path, Out("metrics.json", kind="metrics", cache=False)],
) -> None:
    """Score the sweep, and choose for each concept and mix the point that shows it most while texts stay fluent."""
    content = json.loads(pairs.read_text())
    judge = TextJudge.load(scorer, {name: concept["hypothesis"] for name, concept in content.items()})
    table = judge.judged(pl.read_parquet(texts))
    bootstrap = Bootstrap(resamples=resamples, seed=bootstrap_seed)
    unsteered = table.filter(condition="unsteered")
    numbers: dict[str, dict[str, float]] = {}
    for condition, parts, limit, points, file in (
        ("steered", {name: [name] for name in content}, perplexity_ratio, sweep, chosen),
        ("mix", {text: list(parse_mix(text)) for text in mixes}, mix_perplexity_ratio, mix_sweep, chosen_mixes),
    ):
        limits = Limits(limit, distinct)
        swept = sweep_table(table.filter(condition=condition), unsteered, parts, limits, bootstrap)
        swept.write_parquet(points)
        best = chosen_points(swept, units)
        file.write_text(json.dumps(best, indent=1) + "\n")
        numbers |= {
            name: {key: one[key] for key in ("layer", "strength", "rate", "ratio")} for name, one in best.items()
        }
    metrics.write_text(json.dumps(numbers, indent=1) + "\n")


# At which layer and how strongly a concept is steered, and how strongly it safely can be: from a sweep.
#
# Decided on tuning prompts, never on those that are scored.


@dataclass(frozen=True, slots=True)
class Limits:
    """What steering may cost: perplexity over unsteered perplexity, and the share of the unsteered distinct-2 kept."""

    perplexity_ratio: float
    distinct: float


def sweep_table(
    swept: pl.DataFrame,
    unsteered: pl.DataFrame,
    parts: Mapping[str, Sequence[str]],
    limits: Limits,
    bootstrap: Bootstrap,
) -> pl.DataFrame:
    """One row for each layer and strength of each name in `parts`, with the chosen point of each marked.

    `swept`, `unsteered`: scored texts of the same prompts and seeds; `parts`: by concept or mix, the concepts that its
    texts are to show, all of them. Columns: concept, layer, strength, rate (share of texts that show them, with its
    interval), perplexity, ratio (to that of the unsteered texts of the same prompts and seeds, with its interval),
    distinct_1, distinct_2, repeated, kl, texts, safe (within `limits`), chosen.
    """
    import polars as pl

    # Distinct-2 falls with the number of texts, and a strength that was not tried on all prompts would look varied.
    varied = distinct(unsteered["text"].to_list(), 2)
    rows: list[dict[str, Any]] = []
    for (name, layer, strength), some in swept.group_by("concept", "layer", "strength", maintain_order=True):
        prompts, texts = some["prompt_id"].to_list(), some["text"].to_list()
        rate = bootstrap.mean(shown(some, parts[str(name)]).to_numpy(), prompts)
        ratio = perplexity_ratio(some, unsteered, bootstrap)
        two = distinct(texts, 2)
        rows.append(
            {
                "concept": name, "layer": layer, "strength": strength, "rate": rate.estimate, "rate_low": rate.low,
                "rate_high": rate.high, "perplexity": math.exp(float(np.mean(some["nll"].to_numpy()))),
                "ratio": ratio.estimate, "ratio_low": ratio.low, "ratio_high": ratio.high,
                "distinct_1": distinct(texts, 1), "distinct_2": two, "repeated": some["repeated"].mean(),
                "kl": some["kl"].mean(), "texts": len(some),
                # A single word repeats nothing: texts without pairs of words count as varied.
                "safe": ratio.estimate <= limits.perplexity_ratio and not two < limits.distinct * varied,
                "chosen": False,
            }
        )  # fmt: skip
    order = {name: place for place, name in enumerate(parts)}
    rows.sort(key=lambda row: (order[row["concept"]], row["layer"], row["strength"]))
    for name in parts:
        if own := [row for row in rows if row["concept"] == name]:
            _best(own)["chosen"] = True
    return pl.DataFrame(rows, schema=_schema())


def chosen_points(table: pl.DataFrame, units: str) -> dict[str, dict[str, Any]]:
    """By concept: layer, strength, units, safe (the range of strength at that layer), rate, ratio, within.

    The range reaches from 0 to the largest strength up to which every one that was tried is safe; `within` is false
    where no point at all was within the limits.
    """
    found: dict[str, dict[str, Any]] = {}
    for row in table.filter("chosen").iter_rows(named=True):
        here = table.filter(concept=row["concept"], layer=row["layer"]).sort("strength")
        largest = 0.0
        for strength, safe in here.select("strength", "safe").iter_rows():
            if not safe:
                break
            largest = strength
        found[row["concept"]] = {
            "layer": row["layer"], "strength": row["strength"], "units": units, "safe": [0.0, largest],
            "rate": row["rate"], "ratio": row["ratio"], "within": row["safe"],
        }  # fmt: skip
    return found


def _best(points: list[dict[str, Any]]) -> dict[str, Any]:
    """The point of the highest rate within the limits; of equal ones that of the lowest perplexity.

    Where no point is within them, the one of the lowest perplexity.
    """
    safe = [point for point in points if point["safe"]]
    if not safe:
        return min(points, key=lambda point: point["ratio"])
    return min(safe, key=lambda point: (-point["rate"], point["ratio"]))


def _schema() -> dict[str, Any]:
    import polars as pl

    numbers = ("strength", "rate", "rate_low", "rate_high", "perplexity", "ratio", "ratio_low", "ratio_high",
               "distinct_1", "distinct_2", "repeated", "kl")  # fmt: skip
    return {
        "concept": pl.String, "layer": pl.Int64, **dict.fromkeys(numbers, pl.Float64), "texts": pl.Int64,
        "safe": pl.Boolean, "chosen": pl.Boolean,
    }  # fmt: skip
