"""`steerkit dag`: the declarations as dvc.yaml, and as a tree."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from steerkit.dag.project import find_root
from steerkit.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path


def dag(
    write: Annotated[bool, typer.Option("--write", help="Write dvc.yaml from the declarations.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Fail if dvc.yaml is older than the declarations.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Show each stage below what it needs (default).")] = False,
) -> None:
    """Write, check or show the graph of stages that tasks/pipelines declares."""
    from steerkit.dag import environment, render

    root = find_root()
    if write:
        changed = render.write(root)
        changed |= environment.write_missing(root)
        sys.stdout.write("dvc.yaml written\n" if changed else "dvc.yaml was up to date\n")
    if check:
        difference = render.difference(root)
        if difference:
            sys.stdout.write(f"{difference}\n")
            raise UserError("dvc.yaml is older than the declarations; run `steerkit dag --write` and commit it")
        if missing := environment.missing_entries(root):
            raise UserError(
                f"{environment.FILE} has no entry for {', '.join(missing)}; run `steerkit dag --write` and commit it"
            )
        sys.stdout.write("dvc.yaml is up to date\n")
    if show or not (write or check):
        _show(root)


def _show(root: Path) -> None:
    """A tree per last stage: what it needs stands below it, what was shown already is only named."""
    from rich.console import Console
    from rich.tree import Tree

    from steerkit.dag import registry
    from steerkit.dag.declarations import StageOutput

    stages = registry.all_stages(root)
    makers = {output.path: stage.name for stage in stages.values() for output in stage.outs.values()}
    needs: dict[str, list[str]] = {}
    for name, stage in stages.items():
        bound = [one for many in stage.deps.values() for one in (many if isinstance(many, list) else [many]) if one]
        # A File may name what another stage writes: for DVC that is an edge like any other.
        found = {one.stage if isinstance(one, StageOutput) else makers.get(one.path, "") for one in bound}
        needs[name] = sorted(found - {""})
    shown: set[str] = set()

    def add(tree: Tree, name: str) -> None:
        stage = stages[name]
        repeated = name in shown and needs[name]
        frozen = " [cyan](frozen)[/]" if stage.frozen else ""
        branch = tree.add(f"[bold]{name}[/]{frozen} [dim]{stage.desc}[/]" + (" [dim](above)[/]" if repeated else ""))
        if repeated:
            return
        shown.add(name)
        for one in needs[name]:
            add(branch, one)

    inner = {one for many in needs.values() for one in many}
    console = Console(highlight=False)
    for name in stages:
        if name not in inner:
            root_tree = Tree("", hide_root=True)
            add(root_tree, name)
            console.print(root_tree)
