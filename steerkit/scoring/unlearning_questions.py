"""What was asked of erasing before the run: one row an answer, with what had been hoped for and whether it came."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

STEERED = "steered"
NUMBERS = ("target", "method", "estimate", "low", "high", "prompts", "images")
SCHEMA = {
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
    return pl.DataFrame(list(_answers(table)), schema=SCHEMA)


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
