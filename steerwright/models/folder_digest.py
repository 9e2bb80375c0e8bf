"""Digests of a file or a folder: by content, and by what the file system says of it, which takes no reading.

Only the standard library: the check that nothing is to do imports this.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from steerwright.errors import UserError


def files_below(folder: Path) -> Iterator[tuple[str, Path]]:
    """Relative posix name and path of every regular file at or below `folder`, sorted by name.

    Links to files and folders are followed, as loading a model from the folder follows them. A link back to
    a folder that holds it adds nothing new and is left out; so are hidden files and folders. Raises UserError for a
    folder that is missing and for a link that leads nowhere.
    """
    found: list[tuple[str, Path]] = []
    _walk(folder, "", (), found)
    yield from sorted(found)


def stat_signature(path: Path) -> str:
    """SHA-256 over relative name, inode, times of change and size of the files of `files_below`.

    Equal signatures mean that no file was written since, also where its time was set back afterwards (the time at which
    the inode changed cannot be). Of a file: its own. Raises UserError as `files_below`.
    """
    total = hashlib.sha256()
    for name, file in _files(path):
        found = file.stat()
        stamps = (found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)
        total.update(f"{name}\0{stamps}\n".encode())
    return total.hexdigest()


def content_digest(path: Path) -> str:
    """SHA-256 of a file's content, or over the relative names and contents of the files of `files_below`.

    Raises UserError as `files_below`.
    """
    return _file_digest(path) if path.is_file() else digest_of(files_below(path))


def digest_of(files: Iterable[tuple[str, Path]]) -> str:
    """The content digest of a folder that holds these files, by name, and no others."""
    total = hashlib.sha256()
    for name, file in files:
        total.update(f"{name}\0{_file_digest(file)}\n".encode())
    return total.hexdigest()


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    return iter([("", path)]) if path.is_file() else files_below(path)


def _walk(folder: Path, prefix: str, above: tuple[tuple[int, int], ...], found: list[tuple[str, Path]]) -> None:
    try:
        here = folder.stat()
        entries = list(os.scandir(folder))
    except OSError as error:
        raise UserError(f"{folder} cannot be read as a folder ({error.strerror}).") from error
    # Device and inode name a folder whatever links lead to it.
    if (identity := (here.st_dev, here.st_ino)) in above:
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        path, name = folder / entry.name, prefix + entry.name
        try:
            mode = entry.stat().st_mode
        except OSError as error:
            target = f" -> {os.readlink(path)}" if path.is_symlink() else ""
            raise UserError(f"{path}{target} leads nowhere ({error.strerror}); mend the link or remove it.") from error
        if stat.S_ISDIR(mode):
            _walk(path, name + "/", (*above, identity), found)
        elif stat.S_ISREG(mode):
            found.append((name, path))


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
