"""What judged pictures add up to: the mean of each column, with its bootstrap interval over prompts."""

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from steerwright.stats.bootstrap import Bootstrap, Interval


def aggregated(pictures: pl.DataFrame, columns: Mapping[str, str], bootstrap: Bootstrap) -> Iterator[dict[str, Any]]:
    """One row for each metric that some picture has: metric, estimate, low, high, prompts, images.

    `columns`: metric -> the column of `pictures` whose mean it is, null where a picture has none. Intervals are over
    `prompt_id`: all pictures of a prompt are drawn together.
    """
    for metric, column in columns.items():
        known = pictures.drop_nulls(column)
        if known.height:
            found = bootstrap.mean(known[column].cast(pl.Float64).to_numpy(), known["prompt_id"].to_list())
            yield {"metric": metric, **as_row(found)}


def as_row(interval: Interval) -> dict[str, float | int]:
    """An interval as columns of a table."""
    return {
        "estimate": interval.estimate, "low": interval.low, "high": interval.high, "prompts": interval.clusters,
        "images": interval.rows,
    }  # fmt: skip


def paired(first: pl.DataFrame, second: pl.DataFrame, column: str) -> pl.DataFrame:
    """Pictures of both tables on the same prompt and seed that have the column: prompt_id, first, second (floats)."""
    keys = ["prompt_id", "seed"]
    one, other = (
        table.drop_nulls(column).select(*keys, pl.col(column).cast(pl.Float64).alias(name))
        for table, name in ((first, "first"), (second, "second"))
    )
    return one.join(other, on=keys, how="inner").sort(keys)
