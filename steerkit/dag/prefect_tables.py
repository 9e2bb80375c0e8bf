"""Tables of a stage as Prefect shows them: the first rows of each Parquet file, with numbers that can be read."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from steerkit.dag.outcome import OutputRecord

ROWS, COLUMNS = 40, 24
# A row of a larger file is data; the first of a million say nothing.
_LARGEST_BYTES = 5_000_000
_LONGEST = 80


def find_tables(root: Path, outputs: Iterable[OutputRecord]) -> dict[str, Path]:
    """The Parquet files among `outputs`, by their names without the suffix."""
    found: dict[str, Path] = {}
    for output in outputs:
        path = root / output.path
        if path.suffix == ".parquet" and path.is_file() and path.stat().st_size <= _LARGEST_BYTES:
            found[path.stem] = path
    return found


def table_rows(path: Path) -> tuple[list[dict[str, Any]], str]:
    """The first rows of a table, and how many rows and columns it has in all, in words."""
    import polars as pl

    whole = pl.scan_parquet(path)
    count = int(whole.select(pl.len()).collect().item())
    names = whole.collect_schema().names()
    part = whole.select(names[:COLUMNS]).head(ROWS).collect()
    rows = [{name: _shown(value) for name, value in row.items()} for row in part.iter_rows(named=True)]
    said = f"{count} row{'s' * (count != 1)}" if count <= ROWS else f"the first {ROWS} of {count} rows"
    return rows, said if len(names) <= COLUMNS else f"{said}, the first {COLUMNS} of {len(names)} columns"


def _shown(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else str(value)
    if isinstance(value, bool | int):
        return value
    text = ", ".join(str(_shown(one)) for one in value) if isinstance(value, list) else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
