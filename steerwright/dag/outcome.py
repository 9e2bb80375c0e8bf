"""What the engine reports about a stage: how it was planned and how it ended."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from steerwright.dag import declarations

Verdict = Literal["unchanged", "restored", "ran"]


@dataclass(frozen=True)
class OutputRecord:
    """One output as dvc.lock records it: path relative to the root, md5 (``.dir`` suffix for folders), bytes, files."""

    path: str
    md5: str | None
    size: int | None
    files: int | None
    kind: str = "data"
    cache: bool = True


@dataclass(frozen=True)
class PlannedStage:
    """One stage of a plan, after all of the stages that it needs; ``upstream`` names only stages of the same plan."""

    name: str
    upstream: list[str]
    tags: tuple[str, ...] = ()
    retries: int = 0
    desc: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a stage ended, why it was not up to date (None if it was), and in how many seconds of wall time."""

    name: str
    verdict: Verdict
    why: str | None
    seconds: float
    outputs: list[OutputRecord] = field(default_factory=list)


# What to show of a flow that is done: the numbers and the page of its report stage.

EVERYTHING, COMPARISON = "everything", "scoreboard"


def of_flow(root: Path, flow: str) -> dict[str, Any]:
    """What the stage <flow>-report made: {"page": path of its HTML page, "metrics": {dotted name: number}}.

    A text file among its outputs is told as it is ("text"), instead of its numbers. All pipelines together end with the
    stage that compares them.
    """
    stage = declarations.declared.get(f"{COMPARISON if flow == EVERYTHING else flow}-report")
    if stage is None:
        return {}
    told: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    for output in stage.outs.values():
        path = root / output.path
        if output.marker.kind == "metrics" and path.suffix == ".json" and path.is_file():
            try:
                metrics.update(_flat(json.loads(path.read_text(encoding="utf-8"))))
            except ValueError:
                continue
        if path.suffix == ".txt" and path.is_file():
            told["text"] = path.read_text(encoding="utf-8")
        pages = [path] if path.suffix == ".html" else _pages(path) if path.is_dir() else []
        if pages and "page" not in told and pages[0].is_file():
            told["page"] = pages[0].relative_to(root).as_posix()
    if metrics and "text" not in told:
        told["metrics"] = metrics
    return told


def _pages(folder: Path) -> list[Path]:
    """The pages in a folder, the one that a reader begins with first."""
    return sorted(folder.glob("*.html"), key=lambda path: (path.name != "index.html", path.name))


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        found: dict[str, Any] = {}
        for key, inner in value.items():
            found.update(_flat(inner, f"{prefix}.{key}" if prefix else str(key)))
        return found
    if isinstance(value, list) and len(value) == 2 and all(isinstance(end, int | float) for end in value):
        return {prefix: f"{value[0]:.3g} to {value[1]:.3g}"}
    return {prefix: value} if isinstance(value, int | float | str) else {}
