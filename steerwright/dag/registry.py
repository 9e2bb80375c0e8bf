"""All declared stages: what tasks/*/pipeline.py and tasks/*/*_pipeline.py say."""

from __future__ import annotations

import difflib
import importlib
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from steerwright.dag import declarations, project
from steerwright.dag.declarations import Stage
from steerwright.errors import UserError

WIRING = re.compile(r"(\w+_)?pipeline")
_loaded: dict[Path, int] = {}


def all_stages(root: Path | None = None) -> dict[str, Stage]:
    """Every declared stage by name, in the order of declaration; imports the project's pipeline modules once.

    Raises:
        UserError: not in a project, or another package called `tasks` is in the way.
    """
    root = root or project.find_root()
    if root not in _loaded:
        project.enter(root)
        moment = time.time_ns()
        home = Path(importlib.import_module("tasks").__file__ or "").resolve().parent
        if home != (root / "tasks").resolve():
            raise UserError(f"`tasks` was imported from {home}, not from {root}; start a new process in {root}")
        for file in sorted(home.glob("*/*pipeline.py")):
            if WIRING.fullmatch(file.stem):
                importlib.import_module(f"tasks.{file.parent.name}.{file.stem}")
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
    hint = f"did you mean {' or '.join(near)}?" if near else "`steerwright dag --show` lists them"
    return f"there is no stage or pipeline {name!r}; {hint}"


# Pipelines that do the same at several layers: stages `flux-sae-early` and `flux-sae-late` are of the same layers.


def layers_of(flow: str, stages: Iterable[str]) -> list[str]:
    """The layers of a pipeline: last words of names that are alike otherwise, in the order of `stages`."""
    by_start: dict[str, list[str]] = {}
    for name in stages:
        start, _, last = name.rpartition("-")
        if start.startswith(f"{flow}-"):
            by_start.setdefault(start, []).append(last)
    return list(dict.fromkeys(last for words in by_start.values() if len(words) > 1 for last in words))


def stages_of_layers(flow: str, stages: Sequence[str], wanted: Sequence[str]) -> list[str] | None:
    """The stages of these layers; None where they are all of the pipeline's, so that all of it is meant.

    Raises UserError for a layer that the pipeline has not.
    """
    known = layers_of(flow, stages)
    if unknown := [layer for layer in wanted if layer not in known]:
        has = f"its layers are {', '.join(known)}" if known else "it has no layers"
        raise UserError(f"the pipeline {flow} has no layer {' or '.join(map(repr, unknown))}; {has}")
    if set(wanted) == set(known):
        return None
    return [name for name in stages if name.startswith(f"{flow}-") and name.rpartition("-")[2] in wanted]
