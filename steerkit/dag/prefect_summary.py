"""The page of a whole flow run: what became of each stage, why, and where its artifacts are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from steerkit.dag.outcome import Outcome, PlannedStage
from steerkit.dag.prefect_artifacts import artifact_key, artifact_kinds


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
