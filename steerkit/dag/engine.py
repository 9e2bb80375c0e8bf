"""One session on the project: what is planned, what is up to date, and the transaction that runs one stage."""

from __future__ import annotations

from pathlib import Path

from steerkit.dag.context import ProgressSink
from steerkit.dag.outcome import Outcome, OutputRecord, PlannedStage

__all__ = ["Outcome", "OutputRecord", "PlannedStage", "Session", "open_session"]


def open_session(root: Path | None = None) -> Session:
    """Load the project once; the session serves a whole flow, from any of its threads."""
    raise NotImplementedError


class Session:
    """One load of the project's graph; run() may be called from several threads at once."""

    root: Path

    def plan(self, targets: list[str] | None, only: bool = False) -> list[PlannedStage]:
        """Stages in an order that respects the graph; ``targets`` are names of stages or of whole pipelines."""
        raise NotImplementedError

    def run(
        self, name: str, force: bool = False, *, thaw: bool = False, on_progress: ProgressSink | None = None
    ) -> Outcome:
        """Check the stage; restore it from the run-cache or compute it if it is not up to date; commit; record."""
        raise NotImplementedError

    def close(self) -> None:
        """Give the repository's locks and databases back."""
        raise NotImplementedError

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
