"""The temporary folder in which a stage writes, and how its outputs get from there to their places.

``artifacts/.tmp/<stage>.<key>/`` belongs to the process with the stage's lock. When the function has returned, the
outputs are first marked finished there and then linked to their places; the folder goes once dvc.lock has them. So a
kill between the end of the work and its record loses nothing: the next run with the same inputs only links again.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from steerwright.dag import context, environment, project
from steerwright.dag.code import code_closure, digest_of_files
from steerwright.dag.context import ProgressSink, RunningStage, as_user_error
from steerwright.dag.declarations import Binding, Stage
from steerwright.dag.dvc import cache_objects, lockfile
from steerwright.dag.params import arguments, load_params
from steerwright.dag.project import TEMPORARY, stage_lock, stage_lock_if_free
from steerwright.errors import UserError

log = logging.getLogger(__name__)

StartedBy = Literal["engine", "dvc"]
FINISHED = ".finished.json"


class StagingFolder:
    """The temporary folder of one stage and one key; use it only while holding the stage's lock."""

    def __init__(self, root: Path, stage: Stage, key: str) -> None:
        self.root, self.stage, self.key = root, stage, key
        self.folder = root / TEMPORARY / f"{stage.name}.{key}"

    def target(self, argument: str) -> Path:
        """Where the function writes this Out."""
        return self.folder / argument / Path(self.stage.outs[argument].path).name

    def prepare(self) -> None:
        """Make the folder; what a killed run left stays only in outputs that can be resumed."""
        if (self.folder / FINISHED).exists():
            # Its files may by now be the cache's own, by hard link: nobody may go on writing into them.
            self.remove()
        for argument, output in self.stage.outs.items():
            target = self.target(argument)
            if not output.marker.resume:
                remove(target)
            target.parent.mkdir(parents=True, exist_ok=True)

    def finish(self, started_by: StartedBy) -> None:
        """Record that every output is here, whole.

        Raises:
            FileNotFoundError: the function returned without writing one of them.
        """
        for argument in self.stage.outs:
            if not self.target(argument).exists():
                raise FileNotFoundError(
                    f"stage {self.stage.name}: {self.stage.function.__name__}() returned without writing `{argument}`"
                )
        text = json.dumps({"started_by": started_by, "files": self._listing()})
        temporary = self.folder / f"{FINISHED}.writing"
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, self.folder / FINISHED)

    def is_finished(self) -> bool:
        """Whether an earlier run with these inputs finished here and was killed before dvc.lock had its result."""
        marker = self.folder / FINISHED
        try:
            record = json.loads(marker.read_text(encoding="utf-8"))
            if record["files"] != self._listing():
                return False
            if record["started_by"] == "engine":
                return True
            # After the command DVC writes dvc.lock; a later dvc.lock means that the result was recorded since, and
            # that the caller wants the stage computed again.
            made = marker.stat().st_mtime_ns
            recorded = lockfile.recorded_at(self.root, made)
            return recorded is None or recorded < made
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def place(self) -> None:
        """Put the finished outputs where dvc.yaml says, replacing what is there; each one appears whole."""
        for argument, output in self.stage.outs.items():
            target, place = self.target(argument), self.root / output.path
            place.parent.mkdir(parents=True, exist_ok=True)
            linked = self.folder / f"{argument}.link"
            remove(linked)
            try:
                if target.is_dir():
                    shutil.copytree(target, linked, copy_function=os.link)
                else:
                    os.link(target, linked)
            except (OSError, shutil.Error):
                # A file system without hard links: the output moves, and a kill before the record costs the stage.
                remove(linked)
                linked = target
            remove(place)
            os.replace(linked, place)

    def remove(self) -> None:
        """Remove the folder."""
        remove(self.folder)

    def _listing(self) -> list[list[object]]:
        listing: list[list[object]] = []
        for argument in sorted(self.stage.outs):
            for path in _files(self.target(argument)):
                stat = path.stat()
                listing.append([str(path.relative_to(self.folder)), stat.st_size, stat.st_mtime_ns])
        return listing


def remove(path: Path) -> None:
    """Remove a file or a whole folder if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def clean(root: Path, unwanted: Callable[[str], bool], keep: Iterable[str] = ()) -> None:
    """Remove temporary folders of the stages that ``unwanted`` names, except the folders named in ``keep``.

    A folder whose stage is being computed, by any process, is left alone.
    """
    kept = set(keep)
    home = root / TEMPORARY
    if not home.is_dir():
        return
    for folder in sorted(home.iterdir()):
        stage = folder.name.rpartition(".")[0]
        if folder.name in kept or not stage or not unwanted(stage):
            continue
        with stage_lock_if_free(root, stage) as free:
            if free:
                log.debug("removing the stale %s", folder)
                shutil.rmtree(folder, ignore_errors=True)


def clean_others(root: Path, stage: str, current: str) -> None:
    """Remove this stage's folders of inputs that are no longer current; the caller holds the stage's lock."""
    home = root / TEMPORARY
    if home.is_dir():
        for folder in sorted(home.glob(f"{stage}.*")):
            if folder.name != current and folder.name.rpartition(".")[0] == stage:
                shutil.rmtree(folder, ignore_errors=True)


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from (file for file in sorted(path.rglob("*")) if file.is_file())
    elif path.exists():
        yield path


# One short key for everything a stage is about to read: a run with the same key may go on where a killed one stopped.
#
# Both commands give the same one. It does not decide whether a stage is up to date: dvc.lock does that.

# A larger file is told apart by size and time of change: reading a store of many gigabytes again would cost minutes.
READ_UP_TO = 1 << 20


def code_digest_of(stage: Stage, root: Path) -> str:
    """sha256 over the stage's code and its environment (library versions, device, threads, sources), in hexadecimal."""
    code = digest_of_files(code_closure(stage.function.__module__, root), root)
    around = json.dumps(environment.read(root).get(stage.name, {}), sort_keys=True)
    return hashlib.sha256(f"{code}\0{around}".encode()).hexdigest()


def resume_key(stage: Stage, params: dict[str, Any], root: Path) -> str:
    """16 hexadecimal digits of the stage's name, code, parameters and files; ``params`` is the whole params.yaml."""
    from steerwright.dag.params import look_up

    total = hashlib.sha256(f"{stage.name}\0{code_digest_of(stage, root)}\0".encode())
    values = {key: look_up(params, key) for key in sorted(set(stage.params.values()))}
    total.update(json.dumps(values, sort_keys=True, default=str).encode())
    for path in stage.dep_paths():
        total.update(f"\0{path}\0".encode())
        _add(total, root / path)
    return total.hexdigest()[:16]


def _add(total: Any, path: Path, above: tuple[tuple[int, int], ...] = ()) -> None:
    if path.is_dir():
        here = path.stat()
        # A link back to a folder that holds it adds nothing, and would be followed for ever.
        if (identity := (here.st_dev, here.st_ino)) in above:
            return
        with os.scandir(path) as entries:
            for entry in sorted(entries, key=lambda one: one.name):
                total.update(f"/{entry.name}\0".encode())
                _add(total, Path(entry.path), (*above, identity))
        return
    try:
        stat = path.stat()
    except FileNotFoundError:
        total.update(b"absent")
        return
    if stat.st_size <= READ_UP_TO:
        total.update(hashlib.sha256(path.read_bytes()).digest())
    else:
        total.update(f"{stat.st_size}:{stat.st_mtime_ns}".encode())


# Compute one declared stage: hand the function its inputs, let it write aside, put the outputs in place.


def execute_stage(
    stage: Stage,
    root: Path,
    started_by: StartedBy,
    *,
    force: bool = False,
    sink: ProgressSink | None = None,
    before_placing: Callable[[], None] = lambda: None,
) -> StagingFolder:
    """Run the stage's function, or take over what a killed run had finished, and place its outputs.

    The staging folder is returned so that the caller can remove it once dvc.lock holds the result.

    Raises:
        UserError: parameters or inputs are wrong, or the operating system refused to write.
    """
    with stage_lock(root, stage.name), as_user_error(stage.name):
        params = load_params(root)
        given = {**arguments(stage, params), **_inputs(stage, root)}
        key = resume_key(stage, params, root)
        place = StagingFolder(root, stage, key)
        clean_others(root, stage.name, place.folder.name)
        if force:
            place.remove()
        if place.is_finished():
            log.info("%s: was finished by a run that was stopped before it was recorded", stage.name)
        else:
            # Forced work is done again, not taken over from the last time.
            previous = _nothing if force else functools.partial(_previous, stage, root)
            _compute(stage, root, place, given, started_by, sink, previous)
        before_placing()
        place.place()
        project.note("placed", stage.name, key)
    return place


def _compute(
    stage: Stage,
    root: Path,
    place: StagingFolder,
    given: dict[str, Any],
    started_by: StartedBy,
    sink: ProgressSink | None,
    previous: Callable[[str], dict[str, Path]],
) -> None:
    place.prepare()
    outs = {argument: place.target(argument) for argument in stage.outs}
    running = RunningStage(
        stage.name,
        sink or context.log_lines(),
        previous,
        functools.partial(code_digest_of, stage, root),
    )
    project.note("started", stage.name, place.key)
    with context.running(running):
        stage.function(**given, **outs)
    place.finish(started_by)
    project.note("finished", stage.name, place.key)


def _nothing(_argument: str) -> dict[str, Path]:
    return {}


def _previous(stage: Stage, root: Path, argument: str) -> dict[str, Path]:
    return cache_objects.previous_files(root, stage.name, stage.command, stage.out(argument).path)


def _inputs(stage: Stage, root: Path) -> dict[str, Any]:
    missing = [path for path in stage.dep_paths() if not (root / path).exists()]
    if missing:
        raise UserError(f"stage {stage.name} reads {', '.join(missing)}, which is not there; run the stages before it")

    def resolve(binding: Binding) -> Any:
        if binding is None:
            return None
        if isinstance(binding, list):
            return [root / one.path for one in binding]
        return root / binding.path

    return {argument: resolve(binding) for argument, binding in stage.deps.items()}
