"""`steerkit heal`: mend what a killed `dvc repro`, a merge or a failing disk left behind."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from steerkit.dag.project import find_root


def heal(
    read_all: Annotated[
        bool, typer.Option("--read-all", help="Read every object of the cache again, for a disk that is in doubt.")
    ] = False,
) -> None:
    """Mend dvc.lock after a kill or a merge, a broken lock file, and damaged objects of the cache.

    `steerkit run` does it by itself, but of the cache it reads only what it uses.
    """
    from steerkit.dag.heal import heal as mend
    from steerkit.dag.heal import heal_cache

    def tell(line: str) -> None:
        sys.stderr.write(f"{line}\n")

    root = find_root()
    said = [*mend(root), *heal_cache(root, again=read_all, tell=tell)]
    for line in said or ["nothing to mend"]:
        sys.stdout.write(f"{line}\n")
