"""The temporary folder in which a stage writes, and how its outputs get from there to their places.

``artifacts/.tmp/<stage>.<key>/`` belongs to whoever holds the stage's lock. When the function has returned, the
outputs are first marked finished there and then linked to their places; the folder goes once dvc.lock has them. So a
kill between the end of the work and its record loses nothing: the next run with the same inputs only links again.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

from steerkit.dag import lockfile
from steerkit.dag.declarations import Stage
from steerkit.dag.locks import stage_lock_if_free
from steerkit.dag.project import TEMPORARY

log = logging.getLogger(__name__)

Door = Literal["engine", "dvc"]
FINISHED = ".finished.json"


class Workplace:
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

    def finish(self, door: Door) -> None:
        """Record that every output is here, whole.

        Raises:
            FileNotFoundError: the function returned without writing one of them.
        """
        for argument in self.stage.outs:
            if not self.target(argument).exists():
                raise FileNotFoundError(
                    f"stage {self.stage.name}: {self.stage.function.__name__}() returned without writing `{argument}`"
                )
        text = json.dumps({"door": door, "files": self._listing()})
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
            if record["door"] == "engine":
                return True
            # After the command DVC writes dvc.lock; a later dvc.lock means that the result was recorded since, and
            # that whoever runs the stage now wants it computed anew.
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
