"""What the engine reports about a stage: how it was planned and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

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
