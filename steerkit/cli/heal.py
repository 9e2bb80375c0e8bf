"""`steerkit heal`: mend what a killed `dvc repro` left behind."""

from __future__ import annotations

import sys

from steerkit.dag.project import find_root


def heal() -> None:
    """Mend a torn dvc.lock, a broken lock file, half-written cache entries. `steerkit run` does it by itself."""
    from steerkit.dag.heal import heal as mend

    said = mend(find_root())
    for line in said or ["nothing to mend"]:
        sys.stdout.write(f"{line}\n")
