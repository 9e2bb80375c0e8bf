"""`python -m tasks STAGE`: the door through which `dvc repro` comes in."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from steerkit.dag import project, registry, render
from steerkit.dag.declarations import Stage, StageOutput
from steerkit.dag.materialise import materialise
from steerkit.dag.orphan import ParentWatch
from steerkit.dag.workplace import clean
from steerkit.errors import UserError
from steerkit.loopback import go_direct


def main(argv: list[str]) -> int:
    """Compute one stage and put its outputs in place; returns the exit code. DVC, not this, records the result."""
    go_direct()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        if len(argv) != 1 or argv[0].startswith("-"):
            raise UserError("usage: python -m tasks STAGE (`steerkit dag --show` lists the stages)")
        root = project.find_root()
        # DVC names the stage in the environment of its commands; run by hand we may outlive the terminal.
        watch = ParentWatch() if os.environ.get("DVC_STAGE") else None
        if watch is not None:
            watch.start()
        project.enter(root)
        stage = registry.declared_stage(argv[0], root)
        _refuse_stale_yaml(stage, root)
        upstream = _upstream(stage, registry.all_stages(root))
        clean(root, upstream.__contains__)
        materialise(stage, root, "dvc", before_placing=watch.check if watch else lambda: None)
    except UserError as error:
        sys.stderr.write(f"steerkit: {error}\n")
        return 2
    return 0


def _refuse_stale_yaml(stage: Stage, root: Path) -> None:
    from ruamel.yaml import YAML

    path = root / "dvc.yaml"
    if not path.exists():
        return
    said = (YAML(typ="safe").load(path.read_text(encoding="utf-8")) or {}).get("stages", {}).get(stage.name)
    if said != render.expected_entry(stage, root):
        raise UserError(f"dvc.yaml is older than the declaration of {stage.name}; run `steerkit dag --write` first")


def _upstream(stage: Stage, stages: dict[str, Stage]) -> set[str]:
    """All stages whose outputs this one stands on: DVC has recorded them, so their temporary folders can go."""
    found: set[str] = set()
    pending = [stage]
    while pending:
        for binding in pending.pop().deps.values():
            for one in binding if isinstance(binding, list) else [binding]:
                if isinstance(one, StageOutput) and one.stage not in found and one.stage in stages:
                    found.add(one.stage)
                    pending.append(stages[one.stage])
    return found
