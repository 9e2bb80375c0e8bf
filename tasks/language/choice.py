"""At which layer and strength each concept is steered: decided on tuning prompts, never on those that are scored."""

import json
from pathlib import Path
from typing import Annotated

import polars as pl

from steerwright.dag import Dep, Out, Param
from steerwright.scoring.language.judges import TextJudge
from steerwright.scoring.language.operating_range import Limits, chosen_points, sweep_table
from steerwright.stats.bootstrap import Bootstrap
from steerwright.steering.language.edits import TextUnits
from steerwright.vectors.mixing import parse_mix


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
