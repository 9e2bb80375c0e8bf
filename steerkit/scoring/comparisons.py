"""The questions that the winter pipeline is asked, one row an answer."""

from collections.abc import Iterator

import polars as pl

from steerkit.scoring.bootstrap import Bootstrap, Interval
from steerkit.scoring.judgements import CONDITIONS
from steerkit.scoring.target import WINTER, Target

SCHEMA = {
    "question": pl.String, "name": pl.String, "measure": pl.String, "group": pl.String, "condition": pl.String,
    "baseline": pl.String, "estimate": pl.Float64, "low": pl.Float64, "high": pl.Float64,
    "prompts": pl.Int64, "images": pl.Int64, "bar": pl.String, "met": pl.Boolean,
}  # fmt: skip


def compare(images: pl.DataFrame, bootstrap: Bootstrap, target: Target = WINTER) -> pl.DataFrame:
    """Answers with intervals, from judged pictures; conditions that are absent are left out.

    Columns: question, name (a key for metrics), measure, group, condition, baseline, estimate, low, high, prompts,
    images, bar (what was hoped for, in words) and met (null where there was no bar, or no estimate). Names follow
    `target`, here winter; only of seasons are the outdoor pictures counted alone. Questions:

    - a, `winter rate`: share of outdoor pictures whose season is winter. Bars: at least 0.90 for fixed and adaptive, at
      most 0.35 unsteered.
    - b, `<label> right`: share of pictures that show what the prompt names, over the unsteered share; only prompts that
      name the label. Bar: at least 0.90 for object, place and time of fixed and adaptive (all that is kept but colour).
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
            column = f"{label}_right"
            pair = _paired(images.drop_nulls(column), condition, "unsteered", column)
            if pair.height == 0:
                continue
            interval = bootstrap.ratio(pair["first"].to_numpy(), pair["second"].to_numpy(), pair["prompt_id"].to_list())
            bar, met = "", None
            if condition in ("fixed", "adaptive") and label != "colour":
                bar, met = "at least 90 %", interval.estimate >= 0.90
            name = f"b_{label}_right_{condition}"
            yield _row("b", name, f"{label} right", "all", condition, "unsteered", interval, bar, met)


def _adaptive_over_fixed(images: pl.DataFrame, bootstrap: Bootstrap, target: Target) -> Iterator[dict[str, object]]:
    high = images.filter(resistance="high")
    intervals: dict[str, Interval] = {}
    for column in (target.key, "fidelity"):
        pair = _paired(high, "adaptive", "fixed", column)
        if pair.height == 0:
            return
        first, second = pair["first"].to_numpy(), pair["second"].to_numpy()
        intervals[column] = bootstrap.relative_difference(first, second, pair["prompt_id"].to_list())
    pairs = ((f"{target.name} rate", target.key, "fidelity"), ("fidelity", "fidelity", target.key))
    for measure, column, other in pairs:
        interval = intervals[column]
        # What was gained must not be paid for: an undefined other is no price.
        unpaid = not intervals[other].high < 0
        met = interval.estimate >= 0.40 and interval.excludes(0) and unpaid
        name = f"c_{column}_high_adaptive_over_fixed"
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


def _paired(images: pl.DataFrame, first: str, second: str, column: str) -> pl.DataFrame:
    """Pictures of both conditions on the same prompt and seed: prompt_id, first, second (floats)."""
    keys = ["prompt_id", "seed"]
    one, other = (
        images.filter(condition=condition).select(*keys, pl.col(column).cast(pl.Float64).alias(name))
        for condition, name in ((first, "first"), (second, "second"))
    )
    return one.join(other, on=keys, how="inner").sort(keys)


def _row(
    question: str, name: str, measure: str, group: str, condition: str, baseline: str, interval: Interval,
    bar: str, met: bool | None,
) -> dict[str, object]:  # fmt: skip
    undefined = interval.estimate != interval.estimate
    return {
        "question": question, "name": name, "measure": measure, "group": group, "condition": condition,
        "baseline": baseline, "estimate": interval.estimate, "low": interval.low, "high": interval.high,
        "prompts": interval.clusters, "images": interval.rows, "bar": bar,
        "met": None if undefined or met is None else bool(met),
    }  # fmt: skip
