"""A digest of weights by their tensors, so that the same weights are the same in one file or several.

Only the standard library; a file is read once and then remembered until the file system says that it changed.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from steerkit.models.folder_digest import content_digest

Found = TypeVar("Found")

# Reading a smaller file again costs less than what is written to remember it.
_WORTH_KEEPING = 64 << 20
# A file that changed this long before it was read may change again within one tick of the file system's clock.
_SETTLED = 100_000_000
_remembered: dict[tuple[str, str], Any] = {}


def tensors_digest(files: Iterable[Path]) -> str:
    """SHA-256 over name, dtype, shape and bytes of all tensors in safetensors files, in the order of their names.

    How tensors are spread over files, their order and the files' metadata do not count. A file that is no safetensors
    counts by its content.
    """
    tensors: dict[str, str] = {}
    for file in files:
        tensors |= remember("tensors", file, _tensors, keep=True)
    return hashlib.sha256(json.dumps(tensors, sort_keys=True).encode()).hexdigest()


def remember(kind: str, path: Path, read: Callable[[Path], Found], *, keep: bool = False) -> Found:
    """`read(path)`, done once for as long as neither the file's inode nor its size nor its times change.

    With `keep`, what was read of large files is kept in the user's cache folder too, for the next process. `read` must
    give what JSON can hold.
    """
    before = _signature(path)
    key = (kind, before)
    if key in _remembered:
        found: Found = _remembered[key]
        return found
    kept = _kept(kind, before) if keep and path.stat().st_size >= _WORTH_KEEPING else None
    if kept is not None:
        with suppress(OSError, ValueError):
            found = _remembered[key] = json.loads(kept.read_text(encoding="utf-8"))
            return found
    settled = time.time_ns() - path.stat().st_ctime_ns > _SETTLED
    found = read(path)
    if settled and _signature(path) == before:
        _remembered[key] = found
        if kept is not None:
            _write(kept, json.dumps(found))
    return found


def _signature(path: Path) -> str:
    found = path.stat()
    return f"{found.st_dev}-{found.st_ino}-{found.st_size}-{found.st_mtime_ns}-{found.st_ctime_ns}"


def _kept(kind: str, signature: str) -> Path | None:
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # no home
        return None
    return cache / "steerkit" / kind / f"{signature}.json"


def _write(path: Path, text: str) -> None:
    # A cache that cannot be written costs time only.
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)


def _tensors(path: Path) -> dict[str, str]:
    """`dtype shape sha256` of every tensor by name."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= path.stat().st_size - 8:
            return {f"/{path.name}": content_digest(path)}
        try:
            entries = json.loads(file.read(length))
            parts = [
                (name, f"{entry['dtype']} {entry['shape']}", *(8 + length + int(at) for at in entry["data_offsets"]))
                for name, entry in entries.items()
                if name != "__metadata__"
            ]
        except (ValueError, KeyError, TypeError, AttributeError):
            return {f"/{path.name}": content_digest(path)}
        with (
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
            memoryview(content) as view,
            # hashlib lets other threads run while it reads.
            ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads,
        ):
            digests = list(threads.map(lambda part: _digest(view, part[2], part[3]), parts))
    return {name: f"{kind} {digest}" for (name, kind, *_), digest in zip(parts, digests, strict=True)}


def _digest(view: memoryview, start: int, stop: int) -> str:
    with view[start:stop] as part:
        return hashlib.sha256(part).hexdigest()
