"""One session on the project: what is planned, what is up to date, and the transaction that runs one stage."""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steerwright.dag import environment, params, project, registry, up_to_date
from steerwright.dag import outcome as summary
from steerwright.dag.code import code_closure
from steerwright.dag.context import ProgressSink, as_user_error
from steerwright.dag.declarations import Stage
from steerwright.dag.dvc import yaml as dvc_yaml
from steerwright.dag.dvc.project import DvcProject
from steerwright.dag.dvc.repair import repair
from steerwright.dag.outcome import Outcome, OutputRecord, PlannedStage, Verdict
from steerwright.dag.project import stage_lock_if_free
from steerwright.dag.stage_folder import StagingFolder, clean, clean_others, execute_stage
from steerwright.errors import UserError

__all__ = ["Outcome", "OutputRecord", "PlannedStage", "Session", "StageStatus", "open_session"]

log = logging.getLogger(__name__)

EVERYTHING = "everything"


@dataclass(frozen=True)
class StageStatus:
    """Whether a stage would run, and why; ``upstream``: only because stages before it would."""

    name: str
    why: str | None
    upstream: bool = False


@dataclass(frozen=True)
class _Flow:
    stages: set[str]
    inputs: set[str]
    outputs: set[str]
    inputs_before: str


def open_session(root: Path | None = None) -> Session:
    """Load the project once; the session serves a whole flow, from any of its threads.

    Mends what a kill left behind, brings dvc.yaml up to date with the declarations, and checks params.yaml.

    Raises:
        UserError: not in a project, or its declarations, dvc.yaml or params.yaml are wrong.
    """
    root = root or project.find_root()
    project.enter(root)
    project.state_folder(root)
    for line in repair(root):
        log.warning("%s", line)
    stages = registry.all_stages(root)
    if _declarations_changed(root):
        # This process holds the old declarations; a new one reads the new.
        subprocess.run([sys.executable, "-m", "steerwright.cli.main", "dag", "--write"], cwd=root, check=True)
    elif dvc_yaml.write(root):
        log.warning("dvc.yaml was older than the declarations in tasks/*/pipeline.py; wrote it again")
    params.check(stages.values(), params.load_params(root), dvc_yaml.keys_of_others(root))
    environment.refresh(root)
    return Session(root, stages)


class Session:
    """One load of the project's graph; run() may be called from several threads at once."""

    def __init__(self, root: Path, stages: dict[str, Stage]) -> None:
        self.root = root
        self.stages = stages
        self._idle: list[DvcProject] = []
        self._lock = threading.Lock()
        self._graph: Any = None
        self._by_name: dict[str, Any] = {}
        self._flows: dict[str, _Flow] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._environment_recorded = False
        clean(root, lambda stage: stage not in stages)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the repository's databases back; note each flow that was brought up to date from end to end."""
        for name, flow in self._flows.items():
            # An input that was edited meanwhile may have been read before or after: the next run has to look.
            done = flow.stages <= self._outcomes.keys()
            if done and flow.inputs_before == up_to_date.signature(self.root, flow.inputs):
                outside = environment.outside(self.root, flow.stages)
                up_to_date.note(self.root, name, flow.inputs | flow.outputs, summary.of_flow(self.root, name), outside)
        self._flows.clear()
        with self._lock:
            while self._idle:
                self._idle.pop().close()

    def plan(self, targets: list[str] | None = None, only: bool = False) -> list[PlannedStage]:
        """Stages in an order that respects DVC's own graph; all of them without ``targets``.

        ``targets`` are names of stages or of whole pipelines (`winter`: every stage winter-*); what they need comes
        too unless ``only``.

        Raises:
            UserError: a target that does not exist.
        """
        from dvc.repo.reproduce import plan_repro

        if targets == [EVERYTHING]:
            targets = None
        graph = self._load_graph()
        chosen = [self._by_name[name] for name in self.resolve(targets)] if targets else list(graph)
        order = plan_repro(graph, chosen if targets else None)
        # What the environment is was written down when the session began.
        order = [stage for stage in order if stage.addressing != environment.STAGE or (targets and stage in chosen)]
        if only:
            order = [stage for stage in order if stage in chosen]
        elif not targets or len(targets) == 1:
            self._watch(targets[0] if targets else EVERYTHING, order)
        names = {stage.addressing for stage in order}
        planned = []
        for stage in order:
            upstream = sorted(one.addressing for one in graph.successors(stage) if one.addressing in names)
            declared = self.stages.get(stage.addressing)
            tags, retries = (declared.tags, declared.retries) if declared else ((), 0)
            planned.append(PlannedStage(stage.addressing, upstream, tags, retries, stage.desc or ""))
        return planned

    def resolve(self, targets: list[str]) -> list[str]:
        """Names of stages for names of stages or pipelines.

        Raises:
            UserError: a target that does not exist; near matches are offered.
        """
        self._load_graph()
        found: dict[str, None] = {}
        for target in targets:
            members = [name for name in self._by_name if name.partition("-")[0] == target]
            if target in self._by_name:
                found[target] = None
            elif members:
                found.update(dict.fromkeys(members))
            else:
                pipelines = {name.partition("-")[0] for name in self._by_name}
                raise UserError(registry.unknown_stage(target, [*self._by_name, *sorted(pipelines)]))
        return list(found)

    def status(self, targets: list[str] | None = None) -> list[StageStatus]:
        """For each planned stage whether it would run and why; changes nothing."""
        found: dict[str, StageStatus] = {}
        planned_stages = self.plan(targets)
        with self._project() as dvc:
            for planned in planned_stages:
                stage = dvc.load(planned.name)
                why = dvc.why_not_current(stage)
                if why is None:
                    self._outcomes[planned.name] = Outcome(planned.name, "unchanged", None, 0.0, dvc.records(stage))
                before = [name for name in planned.upstream if found[name].why is not None]
                if why is None and before:
                    why = f"after {', '.join(before)}"
                    found[planned.name] = StageStatus(planned.name, why, upstream=True)
                else:
                    found[planned.name] = StageStatus(planned.name, why)
        return list(found.values())

    def accept_environment(self, targets: list[str] | None = None) -> list[tuple[str, str, str | None]]:
        """Let results made with other library versions, on another device or with other threads count as up to date.

        Returns for each stage whose environment differs its name, what differs, and why it was not accepted, or None.
        """
        found: list[tuple[str, str, str | None]] = []
        for planned in self.plan(targets):
            with self._project() as dvc:
                said, refused = dvc.accept_environment(dvc.load(planned.name))
            if said:
                found.append((planned.name, said, refused))
        return found

    def run(
        self, name: str, force: bool = False, *, thaw: bool = False, on_progress: ProgressSink | None = None
    ) -> Outcome:
        """Check the stage; restore it from the run-cache or compute it if it is not up to date; commit; record.

        ``force`` computes it in any case, a frozen stage only with ``thaw`` besides; a frozen stage is otherwise
        recorded as it is. Waits while another process is at the same files.

        Raises:
            UserError: what the user can mend, a full disk included. Whatever else the stage raises passes through.
        """
        started = time.monotonic()
        with as_user_error(name), self._project() as dvc:
            self._record_environment(dvc)
            stage = dvc.load(name)
            runs = bool(stage.cmd) and (not stage.frozen or (force and thaw))
            forced = force and runs
            why = "forced" if forced else dvc.why_not_current(stage)
            verdict: Verdict = "unchanged"
            if why is not None:
                with dvc.paths_locked(stage):
                    # Somebody may have run it while we waited.
                    stage = dvc.load(name)
                    why = "forced" if forced else dvc.why_not_current(stage)
                    if why is not None:
                        verdict = self._bring_up_to_date(dvc, stage, forced, runs, on_progress)
            if verdict == "unchanged":
                self._tidy(name)
            outcome = Outcome(name, verdict, why, time.monotonic() - started, dvc.records(stage))
        self._outcomes[name] = outcome
        return outcome

    def _record_environment(self, dvc: DvcProject) -> None:
        """Once for each session: dvc.lock knows artifacts/environment.json as `dvc repro` would have left it."""
        with self._lock:
            if self._environment_recorded:
                return
            self._environment_recorded = True
        self._load_graph()
        if environment.STAGE in self._by_name:
            stage = dvc.load(environment.STAGE)
            if stage.changed_stage() or any(out.status() for out in stage.outs):
                dvc.commit(stage)

    def _bring_up_to_date(
        self, dvc: DvcProject, stage: Any, force: bool, runs: bool, on_progress: ProgressSink | None
    ) -> Verdict:
        if not runs:
            self._verify_frozen(stage)
            stage.save_deps(allow_missing=True)
            dvc.commit(stage)
            return "restored"
        self._refuse_missing_inputs(stage)
        if not force and dvc.restore(stage):
            dvc.commit(stage)
            self._tidy(stage.addressing)
            return "restored"
        # Taken before the stage runs, so that what is recorded is what it can have read.
        stage.save_deps()
        place = self._compute(stage, force, on_progress)
        if environment.fill_in(self.root, stage.addressing):
            dvc.save_environment(stage)
        dvc.commit(stage, forced=force)
        if place is not None:
            project.note("recorded", place.stage.name, place.key)
            place.remove()
        return "ran"

    def _compute(self, stage: Any, force: bool, on_progress: ProgressSink | None) -> StagingFolder | None:
        declared = self.stages.get(stage.addressing)
        if declared is None or stage.cmd != declared.command:
            for out in stage.outs:
                if not out.persist:
                    out.remove()
            run_command(stage.addressing, stage.cmd, Path(stage.wdir), self.root)
            return None
        if self._code_changed(declared):
            log.warning("%s: its code was edited since this process started; running it in a new one", declared.name)
            run_command(declared.name, f"{shlex.quote(sys.executable)} -m tasks {declared.name}", self.root, self.root)
            return None
        return execute_stage(declared, self.root, "engine", force=force, sink=on_progress)

    def _refuse_missing_inputs(self, stage: Any) -> None:
        missing = [str(dep) for dep in stage.deps if not dep.exists]
        if missing:
            raise UserError(
                f"stage {stage.addressing} reads {', '.join(missing)}, which is not there; run the stages before it, "
                "or bring the file back"
            )

    def _verify_frozen(self, stage: Any) -> None:
        missing = [str(out) for out in stage.outs if not out.exists]
        if missing:
            raise UserError(
                f"stage {stage.addressing} is frozen and its {', '.join(missing)} is missing; bring it back with "
                f"`git checkout` or `dvc checkout`, or make it again: steerwright run --only {stage.addressing} --force"
            )

    def _code_changed(self, declared: Stage) -> bool:
        loaded = registry.loaded_at(self.root)
        files = code_closure(declared.function.__module__, self.root)
        return any((self.root / file).stat().st_mtime_ns > loaded for file in files)

    def _tidy(self, name: str) -> None:
        if (self.root / project.TEMPORARY).is_dir():
            with stage_lock_if_free(self.root, name) as free:
                if free:
                    clean_others(self.root, name, "")

    def _watch(self, flow: str, stages: list[Any]) -> None:
        outputs = {self._relative(out.fs_path) for stage in stages for out in stage.outs}
        inputs = {self._relative(dep.fs_path) for stage in stages for dep in stage.deps} - outputs
        inputs |= {"dvc.yaml", "params.yaml"}
        before = up_to_date.signature(self.root, inputs)
        self._flows[flow] = _Flow({stage.addressing for stage in stages}, inputs, outputs, before)

    def _relative(self, path: str) -> str:
        return os.path.relpath(path, self.root)

    def _load_graph(self) -> Any:
        with self._lock:
            if self._graph is None:
                dvc = self._idle.pop() if self._idle else DvcProject(self.root)
                self._graph = dvc.graph()
                self._by_name = {stage.addressing: stage for stage in self._graph}
                self._idle.append(dvc)
            return self._graph

    @contextmanager
    def _project(self) -> Iterator[DvcProject]:
        # DVC's repository objects are not safe to share between threads; idle ones are used again.
        with self._lock:
            dvc = self._idle.pop() if self._idle else None
        dvc = dvc or DvcProject(self.root)
        try:
            yield dvc
        finally:
            with self._lock:
                self._idle.append(dvc)


def _declarations_changed(root: Path) -> bool:
    loaded = registry.loaded_at(root)
    with_code = (root / "tasks").rglob("*.py")
    return any(os.stat(file).st_mtime_ns > loaded for file in with_code)


# A stage written by hand in dvc.yaml: its command, run by the shell as DVC runs it.

shell_log = logging.getLogger("steerwright.shell")


def run_command(stage: str, command: str | list[str], folder: Path, root: Path) -> None:
    """Run the command(s) in ``folder``; each line they print is logged.

    Raises:
        UserError: a command ends with another code than 0.
    """
    environment = {**os.environ, "DVC_ROOT": str(root), "DVC_STAGE": stage}
    for line in command if isinstance(command, list) else command.splitlines():
        shell_log.info("%s: $ %s", stage, line)
        shell = os.environ.get("SHELL") or "/bin/sh"
        with subprocess.Popen(
            [shell, "-c", line],
            cwd=folder,
            env=environment,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            last = ""
            for printed in process.stdout or ():
                last = printed.rstrip() or last
                shell_log.info("%s: %s", stage, printed.rstrip())
        if process.returncode != 0:
            said = f": {last.removeprefix('steerwright: ')}" if last else ""
            raise UserError(f"stage {stage}: `{line}` ended with code {process.returncode}{said}")
