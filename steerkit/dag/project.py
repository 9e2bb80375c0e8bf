"""Where the project is, and which files of it the engine reads and writes."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from steerkit.errors import UserError

TEMPORARY = Path("artifacts", ".tmp")
STATE = Path(".dvc", "tmp", "steerkit")


def find_root(start: Path | None = None) -> Path:
    """The nearest folder from ``start`` (default: the working directory) upwards that holds tasks/pipelines.

    Raises:
        UserError: there is none.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "tasks" / "pipelines").is_dir():
            return folder
    raise UserError(f"{here} is not inside a steerkit checkout (no tasks/pipelines here or above); cd into one first")


def enter(root: Path) -> None:
    """Make ``root`` the working directory and importable: stages and parameters name files relative to it."""
    os.chdir(root)
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))


def state_folder(root: Path) -> Path:
    """The engine's own files (locks, signatures): .dvc/tmp/steerkit, never in git.

    Raises:
        UserError: the project has no .dvc folder.
    """
    if not (root / ".dvc").is_dir():
        raise UserError(f"{root} has no .dvc folder; run `dvc init` there (or `dvc init --no-scm` without git)")
    folder = root / STATE
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_atomically(root: Path, path: Path, text: str) -> None:
    """Replace a text file by one rename, so that a reader or a kill sees the old text or the new one, whole."""
    descriptor, temporary = tempfile.mkstemp(dir=state_folder(root), prefix=f"{path.name}.", suffix=f".{os.getpid()}")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files that only the owner can read.
        os.chmod(temporary, path.stat().st_mode & 0o777 if path.exists() else 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
