"""What a stage made, as Prefect artifacts: its outputs, metrics, tables, and a page of pictures."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from steerkit.dag.outcome import Outcome, OutputRecord
from steerkit.dag.prefect_pages import every
from steerkit.dag.prefect_pictures import find_pictures, picture_page, title
from steerkit.dag.prefect_tables import find_tables, table_rows

logger = logging.getLogger(__name__)

Row = dict[str, Any]
_MOST_METRICS = 500
_LARGEST_METRICS_BYTES = 2_000_000


def artifact_key(stage: str, kind: str) -> str:
    """The key under which the server keeps all versions: `winter-report`, `pictures` -> `winter-report-pictures`."""
    return re.sub(r"[^a-z0-9-]+", "-", f"{stage}-{kind}".lower())


def output_rows(outputs: Iterable[OutputRecord]) -> list[Row]:
    """Rows of the table of outputs: path relative to the project, content hash, bytes, number of files."""
    return [
        {
            "path": out.path,
            "hash": out.md5 or "",
            "bytes": out.size if out.size is not None else "",
            "files": out.files or 1,
        }
        for out in outputs
    ]


def artifact_kinds(root: Path, outcome: Outcome) -> list[str]:
    """Which artifacts a stage has, most telling first: of `pictures`, `metrics`, `table-NAME`, `outputs`."""
    has = {
        "pictures": bool(find_pictures(root, outcome.outputs)),
        "metrics": bool(metric_rows(root, outcome.outputs)),
        **{f"table-{table}": True for table in find_tables(root, outcome.outputs)},
        "outputs": bool(outcome.outputs),
    }
    return [kind for kind, present in has.items() if present]


def metric_rows(root: Path, outputs: Iterable[OutputRecord]) -> list[Row]:
    """Rows (metric, value) of all numbers and words in the JSON metrics among `outputs`; nested keys are dotted.

    Where a metric has an interval beside it (`rate_low`, `rate_high`), the three make one row with `low` and `high`.
    """
    rows: list[Row] = []
    for output in outputs:
        path = root / output.path
        if output.kind != "metrics" or path.suffix != ".json" or not path.is_file():
            continue
        if path.stat().st_size > _LARGEST_METRICS_BYTES:
            continue
        try:
            rows.extend(_flat(json.loads(path.read_text(encoding="utf-8"))))
        except ValueError:
            logger.warning("%s is not JSON: not shown among the metrics.", output.path)
    rows = _with_intervals(rows)
    left = len(rows) - _MOST_METRICS
    if left > 0:
        rows = [*rows[:_MOST_METRICS], dict.fromkeys(rows[0], "") | {"metric": f"and {left} more in the file"}]
    return rows


def latest_outputs(stages: Iterable[str]) -> dict[str, list[Row]]:
    """The table of outputs that the server last got of each stage; stages that it never saw are missing."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactCollectionFilter, ArtifactCollectionFilterKey

    keys = {artifact_key(stage, "outputs"): stage for stage in stages}
    with get_client(sync_client=True) as client:
        ours = ArtifactCollectionFilter(key=ArtifactCollectionFilterKey(any_=list(keys)))
        found = list(every(client.read_latest_artifacts, artifact_filter=ours))
    tables = {}
    for artifact in found:
        data = artifact.data
        try:
            tables[keys[artifact.key or ""]] = json.loads(data) if isinstance(data, str) else data
        except ValueError:
            continue
    return tables


def publish(root: Path, outcome: Outcome, known: list[Row] | None) -> None:
    """Send the artifacts of a stage from inside its task run; nothing when the server has these very hashes already.

    Work that `dvc repro` did is so shown once too. A failure to send is logged and never fails the stage.
    """
    from prefect.artifacts import create_markdown_artifact, create_table_artifact

    rows = output_rows(outcome.outputs)
    if not rows or (rows == known and outcome.verdict != "ran"):
        return
    name = outcome.name
    try:
        if metrics := metric_rows(root, outcome.outputs):
            create_table_artifact(
                metrics, key=artifact_key(name, "metrics"), description=", ".join(row["metric"] for row in metrics[:3])
            )
        if pictures := find_pictures(root, outcome.outputs):
            create_markdown_artifact(
                picture_page(pictures, root),
                key=artifact_key(name, "pictures"),
                description=", ".join(title(picture) for picture in pictures),
            )
        for table, path in find_tables(root, outcome.outputs).items():
            first, said = table_rows(path)
            if first:
                create_table_artifact(first, key=artifact_key(name, f"table-{table}"), description=f"{table}: {said}")
        # Last, because its presence says that the others were sent.
        size, files = sum(out.size or 0 for out in outcome.outputs), sum(row["files"] for row in rows)
        create_table_artifact(
            rows, key=artifact_key(name, "outputs"), description=f"{files} file{'s' * (files != 1)}, {_bytes(size)}"
        )
    except Exception as error:
        logger.warning("Artifacts of %s were not recorded in Prefect: %s", name, error)


def _flat(value: Any, prefix: str = "") -> list[Row]:
    if isinstance(value, dict):
        return [row for key, inner in value.items() for row in _flat(inner, f"{prefix}.{key}" if prefix else str(key))]
    if isinstance(value, list):
        if len(value) == 2 and all(isinstance(end, int | float) for end in value):
            return [{"metric": prefix, "value": f"{_shown(value[0])} to {_shown(value[1])}"}]
        return [row for index, inner in enumerate(value) for row in _flat(inner, f"{prefix}[{index}]")]
    return [{"metric": prefix, "value": _shown(value)}]


def _with_intervals(rows: list[Row]) -> list[Row]:
    values = {row["metric"]: row["value"] for row in rows}
    with_interval = {name for name in values if f"{name}_low" in values and f"{name}_high" in values}
    if not with_interval:
        return rows
    ends = {f"{name}_{end}" for name in with_interval for end in ("low", "high")}
    return [
        {
            "metric": name,
            "value": value,
            "low": values[f"{name}_low"] if name in with_interval else "",
            "high": values[f"{name}_high"] if name in with_interval else "",
        }
        for name, value in values.items()
        if name not in ends
    ]


def _shown(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    # JSON has no word for infinity and not-a-number.
    return float(f"{value:.4g}") if math.isfinite(value) else str(value)


def _bytes(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
