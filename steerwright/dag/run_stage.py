"""`python -m tasks STAGE`: what `dvc repro` runs for each stage."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

from steerwright.dag import environment, project, registry
from steerwright.dag.declarations import Stage, StageOutput
from steerwright.dag.dvc import cache_objects, lockfile
from steerwright.dag.dvc import yaml as dvc_yaml
from steerwright.dag.dvc.cache_objects import Damage
from steerwright.dag.dvc.repair import check_cache
from steerwright.dag.stage_folder import clean, execute_stage
from steerwright.errors import UserError
from steerwright.loopback import go_direct
from steerwright.terminal import write_what_can_be_written

log = logging.getLogger(__name__)


def main(argv: list[str]) -> int:
    """Compute one stage and put its outputs in place; returns the exit code. DVC, not this, records the result."""
    write_what_can_be_written()
    go_direct()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        if len(argv) != 1 or argv[0].startswith("-"):
            raise UserError("usage: python -m tasks STAGE (`steerwright dag --show` lists the stages)")
        root = project.find_root()
        # DVC names the stage in the environment of its commands; run by hand we may outlive the terminal.
        watch = ParentWatch() if os.environ.get("DVC_STAGE") else None
        if watch is not None:
            watch.start()
        project.enter(root)
        # Also for `dvc repro --single-item`, which leaves the stage `environment` out.
        environment.refresh(root)
        # The stage `environment` runs before all others: what DVC would believe of a damaged cache is mended first.
        damages = check_cache(root)
        for line in cache_objects.in_words(damages):
            log.warning("%s", line)
        if argv[0] == environment.STAGE:
            lockfile.note_before_environment(root)
            return 0
        stage = registry.declared_stage(argv[0], root)
        _refuse_stale_yaml(stage, root)
        stages = registry.all_stages(root)
        upstream = _upstream(stage, stages)
        _refuse_damaged_inputs(stage, root, [stages[name] for name in upstream], damages)
        clean(root, upstream.__contains__)
        execute_stage(stage, root, "dvc", before_placing=watch.check if watch else lambda: None)
        environment.fill_in(root, stage.name)
    except UserError as error:
        sys.stderr.write(f"steerwright: {error}\n")
        return 2
    return 0


def _refuse_stale_yaml(stage: Stage, root: Path) -> None:
    from ruamel.yaml import YAML

    path = root / "dvc.yaml"
    if not path.exists():
        return
    said = (YAML(typ="safe").load(path.read_text(encoding="utf-8")) or {}).get("stages", {}).get(stage.name)
    if said != dvc_yaml.expected_entry(stage, root):
        raise UserError(f"dvc.yaml is older than the declaration of {stage.name}; run `steerwright dag --write` first")


def _refuse_damaged_inputs(stage: Stage, root: Path, upstream: list[Stage], damages: list[Damage]) -> None:
    """DVC believes what is in its cache: what this stage stands on may come from a damaged object."""
    lost = [place for one in damages if one.lost for place in one.places if (root / place).exists()]
    stands_on = {*stage.dep_paths(), *(output.path for one in upstream for output in one.outs.values())}
    bad = sorted(path for path in stands_on if any(one == path or one.startswith(f"{path}/") for one in lost))
    if bad:
        raise UserError(
            f"{', '.join(bad)} came from a damaged object of the cache; run `dvc repro` again, which makes it again"
        )


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


# A stage that DVC started must not outlive it: its late outputs would replace those of the next run.

SECONDS_BETWEEN_LOOKS = 0.5
# How far up to look: `dvc repro` runs a shell, and the shell runs us.
GENERATIONS = 2
PR_SET_PDEATHSIG = 1


class ParentWatch:
    """Knows who started this process, and ends the process when they are gone."""

    def __init__(self) -> None:
        self.ancestors = _ancestors()

    def start(self) -> None:
        """Ask the kernel to end this process with its parent, and look at the grandparent twice a second."""
        if sys.platform == "linux":
            import ctypes

            ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        threading.Thread(target=self._watch, name="steerwright-parent-watch", daemon=True).start()
        self.check()

    def check(self) -> None:
        """End the process now if its parent is gone; called before outputs are put in their places."""
        if _ancestors() != self.ancestors:
            os._exit(1)

    def _watch(self) -> None:
        while True:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            self.check()


def _ancestors() -> list[int]:
    found = [os.getppid()]
    while len(found) < GENERATIONS and found[-1] > 1:
        parent = _parent_of(found[-1])
        if parent is None:
            break
        found.append(parent)
    return found


def _parent_of(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name, in parentheses, may itself hold spaces and parentheses.
    return int(text.rpartition(")")[2].split()[1])
