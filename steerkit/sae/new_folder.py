"""A folder that appears whole or not at all."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from safetensors import SafetensorError

from steerkit.errors import UserError


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
