"""How a run looks at the terminal: a bar per running stage, a table at the end; plain lines where it is no terminal."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from steerkit.dag import context

if TYPE_CHECKING:
    from steerkit.dag.outcome import Outcome

STYLES = {"ran": "green", "restored": "cyan", "unchanged": "dim"}


class Display:
    """Bars on a terminal, log lines elsewhere; safe to call from the threads of a run."""

    def __init__(self, stages: list[str]) -> None:
        self._console = Console(stderr=True)
        self._live = self._console.is_terminal
        self._lines = context.log_lines()
        self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[what]}"),
            TimeElapsedColumn(), console=self._console, disable=not self._live, transient=True,
        )  # fmt: skip
        self._tasks: dict[str, Any] = {}
        self._width = max((len(name) for name in stages), default=0)

    def __enter__(self) -> Display:
        self._bars.start()
        self._redirect_logs()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()
        self._redirect_logs()

    def start(self, stage: str) -> None:
        """A stage is being looked at, or runs."""
        self._tasks[stage] = self._bars.add_task(stage.ljust(self._width), total=None, what="")

    def progress(self, stage: str, done: int, total: int, what: str) -> None:
        """A stage reports units of work."""
        if self._live and stage in self._tasks:
            self._bars.update(self._tasks[stage], completed=done, total=total, what=what)
        else:
            self._lines(stage, done, total, what)

    def end(self, outcome: Outcome) -> None:
        """A stage is up to date."""
        self._bars.remove_task(self._tasks.pop(outcome.name))
        if outcome.verdict != "unchanged":
            why = f" ({outcome.why})" if outcome.why else ""
            self._bars.console.print(
                f"{outcome.name.ljust(self._width)}  {outcome.verdict} in {outcome.seconds:.1f} s{why}",
                highlight=False, markup=False, soft_wrap=True,
            )  # fmt: skip

    def table(self, outcomes: list[Outcome]) -> None:
        """All stages with verdict, seconds and outputs, on standard output."""
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in ("stage", "verdict", "seconds", "outputs"):
            table.add_column(column, justify="right" if column == "seconds" else "left", overflow="fold")
        for outcome in outcomes:
            said = ", ".join(f"{out.path} ({_size(out.size)})" for out in outcome.outputs)
            verdict = f"[{STYLES[outcome.verdict]}]{outcome.verdict}[/]"
            table.add_row(outcome.name, verdict, f"{outcome.seconds:.1f}", said)
        Console(soft_wrap=not sys.stdout.isatty()).print(table)

    @staticmethod
    def _redirect_logs() -> None:
        # The live display replaces sys.stderr; handlers still hold the stream of before.
        for handler in logging.getLogger().handlers:
            if type(handler) is logging.StreamHandler:
                handler.setStream(sys.stderr)


def _size(size: int | None) -> str:
    if size is None:
        return "?"
    amount = float(size)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} GB"
