"""The winter pipeline's scores: per prompt, in aggregate with intervals, and the comparisons that answer questions.

Rates are shares of pictures. Intervals are bootstrap intervals over prompts (`steerwright.stats.bootstrap`): they say
how the numbers would move with other prompts of the same kind, on the same model.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from steerwright.scoring.aggregate import aggregated, as_row, paired
from steerwright.scoring.judgements import CONDITIONS, RESISTANCES, judge, similarities
from steerwright.scoring.target import Target, column
from steerwright.stats.bootstrap import Bootstrap, Interval

GROUPS: dict[str, pl.Expr] = {
    "all": pl.lit(True),
    "outdoor": pl.col("setting") == "outdoor",
    "indoor": pl.col("setting") == "indoor",
    **{name: pl.col("resistance") == name for name in RESISTANCES},
}


@dataclass(frozen=True, slots=True)
class WinterScores:
    """Four tables.

    - `images`: one row for each picture, see `judgements.judge`;
    - `per_prompt`: one row for each (prompt_id, condition): the means of `metrics` over its seeds, `images`, `prompt`,
      `resistance`; null for a label that the prompt does not name;
    - `aggregate`: condition, group, metric, estimate, low, high, prompts, images: long, one interval a row. Groups are
      all, outdoor, indoor, and the resistance groups high, medium, low; a metric without any row is left out;
    - `comparisons`: see `comparisons.compare`.
    """

    images: pl.DataFrame
    per_prompt: pl.DataFrame
    aggregate: pl.DataFrame
    comparisons: pl.DataFrame
    target: Target

    def interval(self, metric: str, condition: str, group: str = "all") -> dict[str, float] | None:
        """The row of `aggregate` as a dict, None if there is none."""
        rows = self.aggregate.filter(metric=metric, condition=condition, group=group).to_dicts()
        return rows[0] if rows else None


def metrics(target: Target) -> dict[str, str]:
    """Name in the tables -> column of the judged pictures whose mean it is: `winter_rate` is the mean of `winter`."""
    several = {f"{column(name)}_rate": column(name) for name in target.concepts}
    return {
        f"{target.key}_rate": target.key,
        **several,
        target.changed: target.changed,
        "fidelity": "fidelity",
        **{f"{label}_right": f"{label}_right" for label in target.kept_labels},
        **{f"{label}_kept": f"{label}_kept" for label in target.kept_labels},
        **{name: name for name in similarities(target)},
    }


def score_winter(
    measured: pl.DataFrame, prompts: pl.DataFrame, target: Target, bootstrap: Bootstrap | None = None
) -> WinterScores:
    """All tables from the measured pictures and the prompts; `judgements.judge` says what both must hold.

    Names follow `target`: of autumn the tables have `autumn_rate` and `autumn_similarity`; of winter and night
    `winter_night_rate` (both at once), `winter_rate` and `night_rate`.
    """
    bootstrap = bootstrap or Bootstrap()
    images = judge(measured, prompts, target)
    return WinterScores(
        images,
        _per_prompt(images, target),
        _aggregate(images, bootstrap, target),
        compare(images, bootstrap, target),
        target,
    )


def flat_metrics(scores: WinterScores, perceptual: str = "lpips") -> dict[str, float | None]:
    """`<metric>_<group>_<condition>` with `_low` and `_high`, and every comparison by its name, for metrics.json.

    Only what a person compares between runs: rates and fidelity for all groups, the rest over all pictures. What is not
    finite is None, since JSON has no other word for it. `perceptual` names the perceptual score after its backbone.
    """
    found: dict[str, float | None] = {}
    for row in scores.aggregate.iter_rows(named=True):
        if row["group"] != "all" and row["metric"] not in (f"{scores.target.key}_rate", "fidelity"):
            continue
        metric = perceptual if row["metric"] == "lpips" else row["metric"]
        name = f"{metric}_{row['group']}_{row['condition']}"
        found |= {name: row["estimate"], f"{name}_low": row["low"], f"{name}_high": row["high"]}
    for row in scores.comparisons.iter_rows(named=True):
        found |= {row["name"]: row["estimate"], f"{row['name']}_low": row["low"], f"{row['name']}_high": row["high"]}
    return {
        name: round(value, 6) if value is not None and math.isfinite(value) else None for name, value in found.items()
    }


def write_metrics(scores: WinterScores, path: Path, perceptual: str = "lpips") -> None:
    """metrics.json for `dvc metrics show` and `diff`."""
    path.write_text(json.dumps(flat_metrics(scores, perceptual), indent=1) + "\n")


def write_plots(scores: WinterScores, rates: Path, similarity: Path) -> None:
    """CSV files for `dvc plots`: rates by group and condition, similarities by prompt and condition."""
    key = scores.target.key
    table = scores.aggregate.filter(metric=f"{key}_rate").drop("metric")
    table.with_columns(panel=pl.col("group")).write_csv(rates, float_precision=6)
    scores.per_prompt.select(
        "prompt_id", "condition", "prompt_similarity", pl.col(f"{key}_similarity").alias("concept_similarity"),
        pl.format("{} resistance", "resistance").alias("panel"), pl.col("condition").alias("series"),
    ).write_csv(similarity, float_precision=6)  # fmt: skip


def rate_file(target: Target) -> str:
    """The name, without suffix, of files with the target's rate: `winter-rate`."""
    return f"{target.key}_rate".replace("_", "-")


def _per_prompt(images: pl.DataFrame, target: Target) -> pl.DataFrame:
    return images.group_by("prompt_id", "condition", maintain_order=True).agg(
        pl.col("prompt").first(),
        pl.col("resistance").first(),
        pl.len().alias("images"),
        *(pl.col(one).mean().alias(metric) for metric, one in metrics(target).items()),
    )


def _aggregate(images: pl.DataFrame, bootstrap: Bootstrap, target: Target) -> pl.DataFrame:
    rows = []
    for condition in CONDITIONS:
        for group, chosen in GROUPS.items():
            part = images.filter(pl.col("condition") == condition, chosen)
            found = aggregated(part, metrics(target), bootstrap)
            rows += [{"condition": condition, "group": group, **row} for row in found]
    return pl.DataFrame(rows)


# The questions that the winter pipeline is asked, one row an answer.

SCHEMA = {
    "question": pl.String, "name": pl.String, "measure": pl.String, "group": pl.String, "condition": pl.String,
    "baseline": pl.String, "estimate": pl.Float64, "low": pl.Float64, "high": pl.Float64,
    "prompts": pl.Int64, "images": pl.Int64, "bar": pl.String, "met": pl.Boolean,
}  # fmt: skip


def compare(images: pl.DataFrame, bootstrap: Bootstrap, target: Target) -> pl.DataFrame:
    """Answers with intervals, from judged pictures; conditions that are absent are left out.

    Columns: question, name (a key for metrics), measure, group, condition, baseline, estimate, low, high, prompts,
    images, bar (what was hoped for, in words) and met (null where there was no bar, or no estimate). Names follow
    `target`, here winter; only of seasons are the outdoor pictures counted alone. Questions:

    - a, `winter rate`: share of outdoor pictures whose season is winter. Bars: at least 0.90 for fixed and adaptive, at
      most 0.35 unsteered.
    - b, `<label> right`: share of pictures that show what the prompt names, over the unsteered share; only prompts that
      name the label. Bar: at least 0.90 for object, place and time of fixed and adaptive (`Target.barred_labels`).
    - c, `winter rate` and `fidelity` of adaptive relative to fixed, (adaptive - fixed) / fixed, in the high-resistance
      group. Bar: at least 0.40 and an interval above zero, while the other's interval is not wholly below zero; either
      of the two meets the question.
    - d, `season changed`: share of pictures whose season is not the unsteered one's. Bar: at most 0.10 for random.

    `met` looks at the estimate alone, except in c.
    """
    present = [condition for condition in CONDITIONS if condition in set(images["condition"].to_list())]
    steered = [condition for condition in present if condition != "unsteered"]
    rows = [
        *_target_rate(images, present, bootstrap, target),
        *_labels_right(images, steered, bootstrap, target),
        *(_adaptive_over_fixed(images, bootstrap, target) if {"fixed", "adaptive"} <= set(present) else ()),
        *_changed(images, steered, bootstrap, target),
    ]
    return pl.DataFrame(rows, schema=SCHEMA)


def _target_rate(
    images: pl.DataFrame, conditions: list[str], bootstrap: Bootstrap, target: Target
) -> Iterator[dict[str, object]]:
    group = "outdoor" if target.outdoors else "all"
    for condition in conditions:
        part = images.filter(condition=condition)
        if target.outdoors:
            part = part.filter(setting="outdoor")
        if part.height == 0:
            continue
        interval = bootstrap.mean(part[target.key].to_numpy(), part["prompt_id"].to_list())
        bar, met = "", None
        if condition in ("fixed", "adaptive"):
            bar, met = "at least 90 %", interval.estimate >= 0.90
        elif condition == "unsteered":
            bar, met = "at most 35 %", interval.estimate <= 0.35
        name = f"a_{target.key}_{group}_{condition}"
        yield _row("a", name, f"{target.name} rate", group, condition, "", interval, bar, met)


def _labels_right(
    images: pl.DataFrame, conditions: list[str], bootstrap: Bootstrap, target: Target
) -> Iterator[dict[str, object]]:
    for condition in conditions:
        for label in target.kept_labels:
            measured = f"{label}_right"
            pair = paired(images.filter(condition=condition), images.filter(condition="unsteered"), measured)
            if pair.height == 0:
                continue
            interval = bootstrap.ratio(pair["first"].to_numpy(), pair["second"].to_numpy(), pair["prompt_id"].to_list())
            bar, met = "", None
            if condition in ("fixed", "adaptive") and label in target.barred_labels:
                bar, met = "at least 90 %", interval.estimate >= 0.90
            name = f"b_{label}_right_{condition}"
            yield _row("b", name, f"{label} right", "all", condition, "unsteered", interval, bar, met)


def _adaptive_over_fixed(images: pl.DataFrame, bootstrap: Bootstrap, target: Target) -> Iterator[dict[str, object]]:
    high = images.filter(resistance="high")
    intervals: dict[str, Interval] = {}
    for measured in (target.key, "fidelity"):
        pair = paired(high.filter(condition="adaptive"), high.filter(condition="fixed"), measured)
        if pair.height == 0:
            return
        first, second = pair["first"].to_numpy(), pair["second"].to_numpy()
        intervals[measured] = bootstrap.relative_difference(first, second, pair["prompt_id"].to_list())
    pairs = ((f"{target.name} rate", target.key, "fidelity"), ("fidelity", "fidelity", target.key))
    for measure, measured, other in pairs:
        interval = intervals[measured]
        # What was gained must not be paid for: an undefined other is no price.
        unpaid = not intervals[other].high < 0
        met = interval.estimate >= 0.40 and interval.excludes(0) and unpaid
        name = f"c_{measured}_high_adaptive_over_fixed"
        bar = "at least +40 %, interval above 0, the other no lower"
        yield _row("c", name, measure, "high", "adaptive", "fixed", interval, bar, met)


def _changed(
    images: pl.DataFrame, conditions: list[str], bootstrap: Bootstrap, target: Target
) -> Iterator[dict[str, object]]:
    for condition in conditions:
        part = images.filter(condition=condition)
        interval = bootstrap.mean(part[target.changed].to_numpy(), part["prompt_id"].to_list())
        bar, met = ("at most 10 %", interval.estimate <= 0.10) if condition == "random" else ("", None)
        name = f"d_{target.changed}_{condition}"
        measure = target.changed.replace("_", " ")
        yield _row("d", name, measure, "all", condition, "unsteered", interval, bar, met)


def _row(
    question: str, name: str, measure: str, group: str, condition: str, baseline: str, interval: Interval,
    bar: str, met: bool | None,
) -> dict[str, object]:  # fmt: skip
    undefined = interval.estimate != interval.estimate
    return {
        "question": question, "name": name, "measure": measure, "group": group, "condition": condition,
        "baseline": baseline, **as_row(interval), "bar": bar,
        "met": None if undefined or met is None else bool(met),
    }  # fmt: skip
