"""All declared stages: what the modules below tasks/pipelines say."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import time
from pathlib import Path

from steerkit.dag import declarations, project
from steerkit.dag.declarations import Stage
from steerkit.errors import UserError

_loaded: dict[Path, int] = {}


def all_stages(root: Path | None = None) -> dict[str, Stage]:
    """Every declared stage by name, in the order of declaration; imports tasks.pipelines of the project once.

    Raises:
        UserError: not in a project, or another package called `tasks` is in the way.
    """
    root = root or project.find_root()
    if root not in _loaded:
        project.enter(root)
        moment = time.time_ns()
        package = importlib.import_module("tasks.pipelines")
        home = Path(package.__file__ or "").resolve().parent
        if home != (root / "tasks" / "pipelines").resolve():
            raise UserError(f"`tasks` was imported from {home.parent}, not from {root}; start a new process in {root}")
        names = getattr(package, "PIPELINES", None)
        if names is None:
            names = sorted(module.name for module in pkgutil.iter_modules([str(home)]))
        for name in names:
            importlib.import_module(f"tasks.pipelines.{name}")
        _loaded[root] = moment
    return dict(declarations.declared)


def loaded_at(root: Path) -> int:
    """When the declarations were imported, in nanoseconds of time.time_ns(); later edits are not in this process."""
    all_stages(root)
    return _loaded[root]


def declared_stage(name: str, root: Path | None = None) -> Stage:
    """The stage of this name.

    Raises:
        UserError: no such stage; near matches are offered.
    """
    stages = all_stages(root)
    if name not in stages:
        raise UserError(unknown_stage(name, list(stages)))
    return stages[name]


def unknown_stage(name: str, known: list[str]) -> str:
    """The message for a stage that does not exist."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "`steerkit dag --show` lists them"
    return f"there is no stage or pipeline {name!r}; {hint}"
