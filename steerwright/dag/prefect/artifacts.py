"""What a stage made, as Prefect artifacts: its outputs, metrics, tables, and a page of pictures."""

from __future__ import annotations

import base64
import io
import json
import logging
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steerwright.dag.outcome import Outcome, OutputRecord, PlannedStage
from steerwright.dag.prefect.settings import every

if TYPE_CHECKING:
    from PIL.Image import Image

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


# Pictures of a stage as one markdown page: an image artifact needs an address, a page carries the pixels itself.

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
# A folder of more is data (every generated image, say), not something made to be looked at.
MOST_PICTURES_PER_OUTPUT = 12
# The page is kept in the server's database once per change, so it stays small.
_WIDEST_PIXELS = 1400
_TALLEST_PIXELS = 6000
_MOST_BYTES = 1_500_000


def find_pictures(root: Path, outputs: list[OutputRecord]) -> list[Path]:
    """Files among `outputs` that are pictures: an output itself, or the few that lie directly in an output folder."""
    found: list[Path] = []
    for output in outputs:
        path = root / output.path
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        pictures = [file for file in inside if file.suffix.lower() in PICTURE_SUFFIXES and file.is_file()]
        if len(pictures) <= MOST_PICTURES_PER_OUTPUT:
            found.extend(pictures)
    # The contact sheet is what people come for.
    return sorted(found, key=lambda file: ("contact" not in file.name, found.index(file)))


def picture_page(pictures: list[Path], root: Path) -> str:
    """Markdown that shows each picture under its name, and where the file lies."""
    parts = []
    for picture in pictures:
        heading = title(picture)
        parts.append(f"## {heading}\n\n![{heading}]({data_uri(picture)})\n\n`{picture.relative_to(root)}`")
    return "\n\n".join(parts)


def title(picture: Path) -> str:
    """`Contact sheet` for contact_sheet.png."""
    return picture.stem.replace("_", " ").replace("-", " ").capitalize()


def data_uri(picture: Path) -> str:
    """The picture as a data: address, scaled down and as JPEG only where the file itself is too large for a page."""
    from PIL import Image as images

    content, kind = picture.read_bytes(), "jpeg" if picture.suffix.lower() != ".png" else "png"
    with images.open(picture) as image:
        fits = image.width <= _WIDEST_PIXELS and image.height <= _TALLEST_PIXELS and len(content) <= _MOST_BYTES
        if not fits:
            image.thumbnail((_WIDEST_PIXELS, _TALLEST_PIXELS))
            buffer, kind = io.BytesIO(), "jpeg"
            _on_white(image).save(buffer, "JPEG", quality=88)
            content = buffer.getvalue()
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _on_white(image: Image) -> Image:
    """RGB without transparency, which JPEG does not know."""
    from PIL import Image as images

    if image.mode in ("RGBA", "LA", "P"):
        image = image.convert("RGBA")
        ground = images.new("RGBA", image.size, "white")
        ground.alpha_composite(image)
        image = ground
    return image.convert("RGB")


# The page of a whole flow run: how each stage ended, why, and where its artifacts are.


def counted(outcomes: Sequence[Outcome]) -> str:
    """`2 ran, 1 restored, 4 unchanged`; what did not occur is not said."""
    counts = Counter(outcome.verdict for outcome in outcomes)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in ("ran", "restored", "unchanged") if counts[verdict])


def summary_page(
    root: Path, plan: Sequence[PlannedStage], outcomes: dict[str, Outcome], failures: dict[str, str]
) -> str:
    """A markdown table with links to each stage's artifacts, in the order of the plan.

    Stages behind a failed one are `not started`.
    """
    lines = ["| stage | result | seconds | why | look |", "|---|---|---:|---|---|"]
    for stage in plan:
        outcome = outcomes.get(stage.name)
        if outcome is not None:
            result = "**ran**" if outcome.verdict == "ran" else f"Cached ({outcome.verdict})"
            # Relative, because the server's two interfaces live under different addresses.
            look = " ".join(
                f"[{kind}](../key/{artifact_key(stage.name, kind)})" for kind in artifact_kinds(root, outcome)
            )
            lines.append(f"| {stage.name} | {result} | {outcome.seconds:.1f} | {_cell(outcome.why or '')} | {look} |")
        elif stage.name in failures:
            lines.append(f"| {stage.name} | **failed** | | {_cell(failures[stage.name])} | |")
        else:
            lines.append(f"| {stage.name} | not started | | | |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# Tables of a stage as Prefect shows them: the first rows of each Parquet file, with numbers that can be read.

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
    rows = [{name: _shown_cell(value) for name, value in row.items()} for row in part.iter_rows(named=True)]
    said = f"{count} row{'s' * (count != 1)}" if count <= ROWS else f"the first {ROWS} of {count} rows"
    return rows, said if len(names) <= COLUMNS else f"{said}, the first {COLUMNS} of {len(names)} columns"


def _shown_cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else str(value)
    if isinstance(value, bool | int):
        return value
    text = ", ".join(str(_shown_cell(one)) for one in value) if isinstance(value, list) else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
