"""How well concepts are erased, and what stays: UA, IRA and CRA (UnlearnCanvas, arXiv:2402.11846; SAeUron, 2501.18052).

Every label that a prompt names is one judgement: is it what the picture shows? Under an edit that erases a target, each
judgement counts in exactly one of three rates:

- UA, unlearning accuracy: share of pictures asked for the target that do not show it;
- IRA, in-domain retain accuracy: share right where another value of the target's axis is asked for;
- CRA, cross-domain retain accuracy: share right of the labels of other axes, over all prompts.

A model that errs unsteered has a UA above 0 and an IRA below 1 without any edit, so the unsteered rates of the same
prompts and seeds stand beside. Each target is erased in turn, on the same prompts; unsteered pictures are made once,
and none is counted twice within a rate.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

import polars as pl

from steerwright.scoring.erasure_samples import TOGETHER, UNSTEERED, ErasureTarget
from steerwright.scoring.fid import frechet_distance
from steerwright.stats.bootstrap import Bootstrap, Interval
from steerwright.stats.target_bootstrap import TargetBootstrap

ASKED = "asked_"
PICTURE = ("prompt_id", "seed")
KEYS = ("target", "method", "strength", *PICTURE)
SCHEMA = {
    "target": pl.String, "method": pl.String, "strength": pl.Float64, "operating": pl.Boolean, "metric": pl.String,
    "estimate": pl.Float64, "low": pl.Float64, "high": pl.Float64, "prompts": pl.Int64, "images": pl.Int64,
}  # fmt: skip
CHANGES = ("lpips",)
RATIOS = {"ira_relative": ("ira", "ira_unsteered"), "cra_relative": ("cra", "cra_unsteered")}


@dataclass(frozen=True, slots=True)
class JudgedCondition:
    """A target, a method and a strength; `values`: metric -> table prompt_id, seed, value; `numbers`: those metrics
    that are one number for all pictures together, so that there is nothing to resample."""

    target: ErasureTarget
    method: str
    strength: float
    operating: bool
    values: Mapping[str, pl.DataFrame]
    numbers: Mapping[str, float]


def unlearning(
    images: pl.DataFrame,
    bootstrap: Bootstrap,
    features: pl.Series | None = None,
    timings: pl.DataFrame | None = None,
    changes: Sequence[str] = CHANGES,
) -> pl.DataFrame:
    """The table of rates, one row for each target, method, strength and metric, and the means over targets.

    `images`: columns `KEYS`, `operating`, for each axis the predicted label and `asked_<axis>` (null where the prompt
    does not name it), each of `changes`, `artifact`, `clip_target` (these may be null). `target` is null for unsteered
    pictures. `features`: a list of numbers for each row, for FID against the unsteered pictures. `timings`: columns
    `TIMINGS`. `changes`: the metrics that compare with the unsteered picture (`metrics.changes`).

    Metrics: ua, ira, cra, `cra_<axis>`; each with `_unsteered`, the rate of the same prompts and seeds without an edit;
    ira_relative and cra_relative, their ratio; artifact_rate, over all pictures, and artifact_rate_named, over those
    whose prompt names the target, each with `_unsteered`; of each change, lpips_elsewhere, over pictures whose prompt
    does not name the target and whose unsteered picture does not show it, and lpips_unnamed, over all whose prompt does
    not name it; clip_target, over those that do; fid, over pictures whose prompt does not name it, against the
    unsteered pictures of the same prompts; seconds_per_picture, overhead (times the unsteered seconds).

    Targets `mean over seasons` (one for each axis) and `mean` are means over single targets at their operating points,
    targets counting alike; a relative rate is there a ratio of two means. Rates of one strength of one target are as
    they are. Raises ValueError for what `check_pictures` refuses.
    """
    check_pictures(images)
    draws = TargetBootstrap(bootstrap, images["prompt_id"].unique(maintain_order=True).to_list())
    found = list(conditions(images, features, timings, changes))
    rows: list[dict[str, Any]] = []
    for condition in found:
        rows += _rows(str(condition.target), [condition], draws)
    single = [condition for condition in found if len(condition.target) == 1 and condition.operating]
    axes = list(dict.fromkeys(condition.target.axes[0] for condition in single))
    groups = {f"mean over {axis}s": [c for c in single if c.target.axes[0] == axis] for axis in axes}
    for name, members in (groups | {"mean": single}).items():
        for method in dict.fromkeys(condition.method for condition in members):
            rows += _rows(name, [c for c in members if c.method == method], draws)
    return pl.DataFrame(rows, schema=SCHEMA)


def check_pictures(images: pl.DataFrame) -> None:
    """Raises ValueError for a picture that is there twice (by prompt id or by the prompt's text, and seed), and for one
    without an unsteered picture of its prompt and seed."""
    for keys in (KEYS, tuple("prompt" if key == "prompt_id" else key for key in KEYS)):
        if not set(keys) <= set(images.columns):
            continue
        doubled = images.filter(images.select(keys).is_duplicated())
        if doubled.height:
            row = doubled.row(0, named=True)
            raise ValueError(
                f"{doubled.height} pictures would be counted more than once, the first: "
                + ", ".join(f"{key} {row[key]}" for key in keys) + "."
            )  # fmt: skip
    plain = images.filter(method=UNSTEERED)
    if plain["target"].null_count() < plain.height:
        raise ValueError("Unsteered pictures have no target: the column must be null.")
    alone = images.join(plain, on=list(PICTURE), how="anti")
    if alone.height:
        row = alone.row(0, named=True)
        raise ValueError(
            f"{alone.height} pictures have no unsteered picture of their prompt and seed, the first: "
            + ", ".join(f"{key} {row[key]}" for key in KEYS) + "."
        )  # fmt: skip


def axes_of(images: pl.DataFrame) -> list[str]:
    """The axes that prompts may name a value of."""
    return [column.removeprefix(ASKED) for column in images.columns if column.startswith(ASKED)]


def conditions(
    images: pl.DataFrame,
    features: pl.Series | None = None,
    timings: pl.DataFrame | None = None,
    changes: Sequence[str] = CHANGES,
) -> Iterator[JudgedCondition]:
    """Every condition with its values, target by target, the unsteered pictures first; arguments as of `unlearning`."""
    if features is not None:
        images = images.with_columns(features.alias("features"))
    plain = images.filter(method=UNSTEERED)
    steered = images.filter(pl.col("method") != UNSTEERED)
    plain_seconds = _seconds(timings, {"method": UNSTEERED})
    for name in steered["target"].unique(maintain_order=True).to_list():
        target = ErasureTarget.parse(name)
        numbers = {"seconds_per_picture": plain_seconds} if plain_seconds else {}
        yield JudgedCondition(target, UNSTEERED, 0.0, True, _values(plain, plain, target, changes), numbers)
        groups = steered.filter(target=name).group_by("method", "strength", "operating", maintain_order=True)
        for key, part in groups:
            method, strength, operating = str(key[0]), float(str(key[1])), bool(key[2])
            seconds = _seconds(timings, {"target": name, "method": method, "strength": strength})
            numbers = {"seconds_per_picture": seconds} if seconds else {}
            if seconds and plain_seconds:
                numbers["overhead"] = seconds / plain_seconds
            if features is not None and (distance := _fid(part, plain, target)) is not None:
                numbers["fid"] = distance
            yield JudgedCondition(target, method, strength, operating, _values(part, plain, target, changes), numbers)


def sequences(table: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`table` (of `unlearning`) in two: targets erased together, with the single ones that they begin with; the rest.

    The single targets are in both.
    """
    names = table["target"].unique(maintain_order=True).to_list()
    several = [name for name in names if TOGETHER in name]
    first = {name.split(TOGETHER)[0] for name in several}
    return table.filter(pl.col("target").is_in([*first, *several])), table.filter(~pl.col("target").is_in(several))


def asks_for(target: ErasureTarget) -> pl.Expr:
    """Whether the prompt names a concept of `target`."""
    return reduce(or_, (pl.col(f"{ASKED}{axis}").eq_missing(value) for axis, value in target.concepts))


def shows(target: ErasureTarget, suffix: str = "") -> pl.Expr:
    """Whether the picture shows a concept of `target`, by its labels."""
    return reduce(or_, (pl.col(f"{axis}{suffix}").eq_missing(value) for axis, value in target.concepts))


def _values(
    part: pl.DataFrame, plain: pl.DataFrame, target: ErasureTarget, changes: Sequence[str]
) -> dict[str, pl.DataFrame]:
    """Metric -> table of prompt_id, seed, value; metrics without a value are left out."""
    keys, axes = list(PICTURE), axes_of(part)
    before = plain.select(*keys, *(pl.col(axis).alias(f"{axis}_before") for axis in axes),
                          pl.col("artifact").alias("artifact_before"))  # fmt: skip
    both = part.join(before, on=keys, how="inner", maintain_order="left")
    found: dict[str, list[pl.DataFrame]] = {}
    for axis in axes:
        asked = both.filter(pl.col(f"{ASKED}{axis}").is_not_null())
        erased = pl.col(f"{ASKED}{axis}").is_in(list(target.values(axis)))
        for suffix, column in (("", axis), ("_unsteered", f"{axis}_before")):
            right = (pl.col(column) == pl.col(f"{ASKED}{axis}")).cast(pl.Float64)
            if axis in target.axes:
                found.setdefault(f"ua{suffix}", []).append(
                    asked.filter(erased).select(*keys, (1 - right).alias("value"))
                )
                found.setdefault(f"ira{suffix}", []).append(asked.filter(~erased).select(*keys, right.alias("value")))
            else:
                found.setdefault(f"cra{suffix}", []).append(asked.select(*keys, right.alias("value")))
                found[f"cra_{axis}{suffix}"] = [asked.select(*keys, right.alias("value"))]
    named, unnamed = both.filter(asks_for(target)), both.filter(~asks_for(target))
    elsewhere = unnamed.filter(~shows(target, "_before"))
    measured = {
        "artifact_rate": (both, "artifact"), "artifact_rate_unsteered": (both, "artifact_before"),
        "artifact_rate_named": (named, "artifact"), "artifact_rate_named_unsteered": (named, "artifact_before"),
        "clip_target": (named, "clip_target"),
    }  # fmt: skip
    for change in changes:
        measured |= {f"{change}_elsewhere": (elsewhere, change), f"{change}_unnamed": (unnamed, change)}
    for metric, (table, column) in measured.items():
        found[metric] = [table.drop_nulls(column).select(*keys, pl.col(column).cast(pl.Float64).alias("value"))]
    if part["method"][0] == UNSTEERED:
        beside = {"clip_target", *(f"{change}_{where}" for change in changes for where in ("elsewhere", "unnamed"))}
        found = {metric: some for metric, some in found.items() if not metric.endswith("_unsteered")}
        found = {metric: some for metric, some in found.items() if metric not in beside}
    tables = {metric: pl.concat(some) for metric, some in found.items()}
    return {metric: table for metric, table in tables.items() if table.height}


def _fid(part: pl.DataFrame, plain: pl.DataFrame, target: ErasureTarget) -> float | None:
    """Between pictures whose prompts do not name the target and the unsteered ones of these prompts and seeds."""
    unnamed = part.filter(~asks_for(target))
    if unnamed.height < 2:
        return None
    beside = plain.join(unnamed.select(PICTURE), on=list(PICTURE), how="semi")
    return frechet_distance(unnamed["features"].to_list(), beside["features"].to_list())


def _seconds(timings: pl.DataFrame | None, key: Mapping[str, Any]) -> float | None:
    found = timings.filter(**key)["seconds_per_picture"].to_list() if timings is not None else []
    return float(found[0]) if found else None


def _rows(name: str, members: Sequence[JudgedCondition], draws: TargetBootstrap) -> Iterator[dict[str, Any]]:
    """The rows of one condition, or of the mean over several targets' conditions of one method."""
    strengths = {condition.strength for condition in members}
    head = {"target": name, "method": members[0].method, "operating": all(c.operating for c in members),
            "strength": strengths.pop() if len(strengths) == 1 else None}  # fmt: skip
    metrics = dict.fromkeys(metric for condition in members for metric in condition.values)
    tables = {metric: [c.values[metric] for c in members if metric in c.values] for metric in metrics}
    totals = {
        metric: [draws.totals(table["value"].to_numpy(), table["prompt_id"].to_list()) for table in some]
        for metric, some in tables.items()
    }
    for metric, parts in totals.items():
        yield head | {"metric": metric} | _row(draws.mean(parts), tables[metric], members)
    for metric, (over, under) in RATIOS.items():
        if over in totals and under in totals:
            found = draws.ratio(totals[over], totals[under])
            yield head | {"metric": metric} | _row(found, tables[over], members)
    for metric in dict.fromkeys(metric for condition in members for metric in condition.numbers):
        known = [c for c in members if metric in c.numbers]
        pictures = [_all_pictures(c, f"{CHANGES[0]}_unnamed" if metric == "fid" else "") for c in known]
        yield head | {
            "metric": metric, "estimate": sum(c.numbers[metric] for c in known) / len(known), "low": None, "high": None,
            "prompts": pl.concat(pictures)["prompt_id"].n_unique(), "images": _pictures(pictures, members),
        }  # fmt: skip


def _row(found: Interval, tables: Sequence[pl.DataFrame], members: Sequence[JudgedCondition]) -> dict[str, Any]:
    known = [value if math.isfinite(value) else None for value in (found.estimate, found.low, found.high)]
    return {"estimate": known[0], "low": known[1], "high": known[2], "prompts": found.clusters,
            "images": _pictures(tables, members)}  # fmt: skip


def _all_pictures(condition: JudgedCondition, metric: str) -> pl.DataFrame:
    """The pictures that `metric` is of, else all of them."""
    some = [condition.values[metric]] if metric in condition.values else list(condition.values.values())
    return pl.concat([table.select(PICTURE) for table in some])


def _pictures(tables: Sequence[pl.DataFrame], members: Sequence[JudgedCondition]) -> int:
    """How many different pictures are behind a number: unsteered ones are the same for all targets."""
    if members[0].method == UNSTEERED:
        return pl.concat([table.select(PICTURE) for table in tables]).n_unique()
    return sum(table.select(PICTURE).n_unique() for table in tables)


# What was asked of erasing before the run: one row an answer, with what had been hoped for and whether it came.

STEERED = "steered"
NUMBERS = ("target", "method", "estimate", "low", "high", "prompts", "images")
ANSWER_SCHEMA = {
    "question": pl.String, "measure": pl.String, "target": pl.String, "method": pl.String, "estimate": pl.Float64,
    "low": pl.Float64, "high": pl.Float64, "prompts": pl.Int64, "images": pl.Int64, "bar": pl.String,
    "met": pl.Boolean,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Question:
    """A metric of the table of rates, and the least or the most that it should be."""

    text: str
    metric: str
    limit: float
    most: bool

    @property
    def bar(self) -> str:
        """`at least 95 %`; a distance is no share."""
        shown = f"{self.limit:g}" if self.metric.startswith("lpips") else f"{100 * self.limit:g} %"
        return f"at {'most' if self.most else 'least'} {shown}"

    def met(self, estimate: float | None) -> bool | None:
        """Whether an estimate reaches the bar, rounding aside; None where there is none."""
        if estimate is None:
            return None
        slack = 1e-9
        return estimate <= self.limit + slack if self.most else estimate >= self.limit - slack


QUESTIONS = (
    Question("Is the target gone where it is asked for?", "ua", 0.95, False),
    Question("Do the axis' other values stay?", "ira_relative", 0.95, False),
    Question("Do the other labels stay?", "cra_relative", 0.95, False),
    Question("Are the pictures sound?", "artifact_rate", 0.15, True),
    Question("Are they sound where it is erased?", "artifact_rate_named", 0.15, True),
    Question("Are pictures without the target left alone?", "lpips_elsewhere", 0.05, True),
)


def answers(table: pl.DataFrame) -> pl.DataFrame:
    """The questions asked of every mean over targets in `table` (of `unlearning`), at the operating points.

    The bar is that of the method `steered`; the other methods stand beside it without one. `met` looks at the estimate.
    """
    return pl.DataFrame(list(_answers(table)), schema=ANSWER_SCHEMA)


def flat_metrics(table: pl.DataFrame) -> dict[str, Any]:
    """Nested numbers for metrics.json: each mean over targets, method, metric, and the interval's ends beside."""
    found: dict[str, Any] = {}
    for row in _means(table).iter_rows(named=True):
        numbers = {"": row["estimate"], "_low": row["low"], "_high": row["high"]}
        place = found.setdefault(row["target"].replace(" ", "_"), {}).setdefault(row["method"], {})
        for suffix, value in numbers.items():
            if value is not None or not suffix:
                place[f"{row['metric']}{suffix}"] = None if value is None else round(value, 6)
    return found


def _answers(table: pl.DataFrame) -> Iterator[dict[str, Any]]:
    means = _means(table)
    for target in means["target"].unique(maintain_order=True).to_list():
        for question in QUESTIONS:
            for row in means.filter(target=target, metric=question.metric).to_dicts():
                barred = row["method"] == STEERED
                yield {
                    "question": question.text, "measure": question.metric,
                    **{name: row[name] for name in NUMBERS}, "bar": question.bar if barred else "",
                    "met": question.met(row["estimate"]) if barred else None,
                }  # fmt: skip


def _means(table: pl.DataFrame) -> pl.DataFrame:
    return table.filter(pl.col("target").str.starts_with("mean"), pl.col("operating"))
