"""What the texts show, by the judge, and what steering cost: with intervals over prompts."""

import json
from pathlib import Path
from typing import Annotated

import polars as pl

from steerwright.dag import Dep, Out, Param
from steerwright.scoring.language.aggregate import aggregate as aggregated
from steerwright.scoring.language.aggregate import flat_metrics, mix_table
from steerwright.scoring.language.judges import TextJudge
from steerwright.stats.bootstrap import Bootstrap
from steerwright.vectors.mixing import parse_mix


def language_scores(
    pairs: Annotated[Path, Dep()],
    texts: Annotated[Path, Dep()],
    judges: Annotated[Path, Dep()],  # noqa: ARG001  # read by its name in params; here so that new weights count
    scorer: Annotated[str, Param("/language.scorer")],
    mixes: Annotated[list[str], Param("/language.mixes")],
    resamples: Annotated[int, Param()],
    bootstrap_seed: Annotated[int, Param()],
    scored: Annotated[Path, Out("texts.parquet")],
    aggregate: Annotated[Path, Out("aggregate.parquet")],
    mixed: Annotated[Path, Out("mixes.parquet")],
    metrics: Annotated[Path, Out("metrics.json", kind="metrics", cache=False)],
    rates: Annotated[
        Path,
        Out("rates.csv", kind="plots", template="points", x="ratio", y="rate", title="Concept rate and perplexity"),
    ],
) -> None:
    """Score all texts, with bootstrap intervals over prompts."""
    content = json.loads(pairs.read_text())
    judge = TextJudge.load(scorer, {name: concept["hypothesis"] for name, concept in content.items()})
    table = judge.judged(pl.read_parquet(texts))
    table.write_parquet(scored)
    bootstrap = Bootstrap(resamples=resamples, seed=bootstrap_seed)
    scores = aggregated(table, list(content), bootstrap)
    scores.write_parquet(aggregate)
    mix_table(table, {text: parse_mix(text) for text in mixes}, bootstrap).write_parquet(mixed)
    metrics.write_text(json.dumps(flat_metrics(scores), indent=1) + "\n")
    scores.select(
        "concept", "condition", "decoding", "ratio", "rate",
        pl.col("decoding").alias("panel"), pl.col("condition").alias("series"),
    ).write_csv(rates, float_precision=6)  # fmt: skip
