"""Files that come whole or not at all: filled beside their place, and renamed there."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from steerwright.errors import UserError


def atomic_write(path: Path, write: Callable[[Path], object]) -> None:
    """Have `write` fill a file beside `path`, and rename it there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        write(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def save_picture(pixels: NDArray[np.uint8], path: Path) -> None:
    """Write pixels [h, w, 3] as PNG."""
    from PIL import Image

    atomic_write(path, lambda partial: Image.fromarray(pixels).save(partial, format="PNG"))


def link_or_copy(source: Path, target: Path) -> None:
    """Link `source` to `target`, or copy it: on another file system, or one without hard links."""

    def link(partial: Path) -> None:
        try:
            os.link(source, partial)
        except OSError:
            shutil.copyfile(source, partial)

    atomic_write(target, link)


@contextmanager
def enough_space(what: str, kept: str) -> Iterator[None]:
    """Turn a full disk into a UserError: there was no space for `what`, and `kept` is not lost ("finished shards")."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(f"No space is left for {what}; free some, then run again: {kept} are kept.") from error


# A folder that appears whole or not at all.


class NewFolder:
    """Filled under a hidden name beside `folder`, then renamed; an error in the `with` block leaves what was there.

    `replaceable(folder)`: whether what is there may be replaced; an empty folder may. UserError where it may not, and
    where the disk does not let it be written.
    """

    def __init__(self, folder: Path, replaceable: Callable[[Path], bool]) -> None:
        # Absolute: "." has no name.
        self._folder = folder = Path(os.path.abspath(folder))
        self._replaceable = replaceable
        self._new = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
        self._old = folder.with_name(f".{folder.name}.{os.getpid()}.old")

    def __enter__(self) -> Path:
        check_new_folder(self._folder, self._replaceable)
        try:
            shutil.rmtree(self._new, ignore_errors=True)
            self._new.mkdir(parents=True)
        except OSError as error:
            raise _unwritable(self._folder, error) from error
        return self._new

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                if self._folder.is_dir():
                    self._folder.rename(self._old)
                self._new.rename(self._folder)
        except OSError as failure:
            raise _unwritable(self._folder, failure) from failure
        finally:
            shutil.rmtree(self._new, ignore_errors=True)
            if self._old.is_symlink():
                self._old.unlink()
            shutil.rmtree(self._old, ignore_errors=True)
        if isinstance(error, (OSError, SafetensorError)):
            raise _unwritable(self._folder, error) from error


def check_new_folder(folder: Path, replaceable: Callable[[Path], bool]) -> None:
    """Raise UserError where `folder` cannot be made: it is a file, or holds what may not be replaced."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; choose another name for the folder.")
    if folder.is_dir() and any(folder.iterdir()) and not replaceable(folder):
        raise UserError(f"{folder} holds other files, which are not overwritten. Choose another name, or empty it.")


def _unwritable(folder: Path, error: Exception) -> UserError:
    return UserError(f"{folder} cannot be written: {getattr(error, 'strerror', None) or error}.")


# What git leaves in place of a large file that it has not fetched.

LFS_START = b"version https://git-lfs.github.com/spec/"
LFS_WORDS = (
    "a Git LFS pointer, which stands for the file: run `git lfs install` and `git lfs pull` in its repository, or "
    "download the file itself"
)


def is_lfs_pointer(path: Path) -> bool:
    """Whether `path` is what git leaves in place of a large file that it has not fetched."""
    try:
        with path.open("rb") as file:
            return file.read(len(LFS_START)) == LFS_START
    except OSError:
        return False


def lfs_pointer_in(folder: Path | None) -> str | None:
    """A sentence about the first file in `folder`, at any depth, that is a Git LFS pointer; None without one."""
    # A pointer has fewer than 200 bytes.
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder is not None else []
    found = next((path for path in files if path.stat().st_size < 1024 and is_lfs_pointer(path)), None)
    return None if found is None else f"{found} is {LFS_WORDS}."
