"""Files that come whole or not at all: filled beside their place, and renamed there."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steerkit.errors import UserError


def whole(path: Path, write: Callable[[Path], object]) -> None:
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

    whole(path, lambda partial: Image.fromarray(pixels).save(partial, format="PNG"))


def take_over(source: Path, target: Path) -> None:
    """Link `source` to `target`, or copy it: on another file system, or one without hard links."""

    def link(partial: Path) -> None:
        try:
            os.link(source, partial)
        except OSError:
            shutil.copyfile(source, partial)

    whole(target, link)


@contextmanager
def enough_space(what: str, kept: str) -> Iterator[None]:
    """Turn a full disk into a UserError: there was no space for `what`, and `kept` is not lost ("finished shards")."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(f"No space is left for {what}; free some, then run again: {kept} are kept.") from error
