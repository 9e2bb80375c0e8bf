"""`steerkit status`: what would run, and why; changes nothing."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from steerkit.dag import up_to_date
from steerkit.dag.project import find_root


def status(flow: Annotated[str, typer.Argument(help="A pipeline, or `everything`.")] = "winter") -> None:
    """Say whether a pipeline is up to date; if not, which stages would run and why."""
    root = find_root()
    if up_to_date.recall(root, flow) is not None:
        sys.stdout.write(up_to_date.in_words(flow, {}))
        return
    from rich.console import Console
    from rich.table import Table

    from steerkit.dag.engine import open_session

    with open_session(root) as session:
        found = session.status([flow])
    if all(stage.why is None for stage in found):
        sys.stdout.write(up_to_date.in_words(flow, {}))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("stage", "state", "why"):
        table.add_column(column, overflow="fold")
    for stage in found:
        state = "up to date" if stage.why is None else "may run" if stage.upstream else "would run"
        table.add_row(stage.name, state, stage.why or "")
    Console(soft_wrap=not sys.stdout.isatty()).print(table)
