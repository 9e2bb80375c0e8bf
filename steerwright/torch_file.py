"""Files of torch.save, read without running anything that they ask for.

Such a file is a pickle, and a pickle is a program. torch reads it with weights_only=True: tensors, numbers, text and
containers of these, made by a handful of functions that torch itself names; any other name is refused before it is
looked up.
"""

import io
import pickletools
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from steerwright.errors import UserError
from steerwright.file_kind import begins_as_safetensors

_REFUSED_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
_HARMLESS = ("torch.", "collections.OrderedDict")


def load_torch(path: Path) -> Any:
    """What torch.save put into `path`, on the CPU. UserError that names the offending global of a file that has one."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # A damaged pickle can raise anything; none of it is ours.
        found = _REFUSED_GLOBAL.search(str(error))
        asked = found[1] if found else next(iter(_foreign_globals(path)), None)
        if asked is not None:
            raise UserError(
                f"{path} is a pickle that asks for {asked}, which is more than tensors and plain values. A pickle can "
                "run any code, so it was not read. Ask its author for a state dict or safetensors, or, if you trust "
                "it, load it in its own library and save the state dict alone."
            ) from error
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{path} cannot be read as a file of torch.save: {first[:200]}. Download or copy it again."
        ) from error


def is_torch_file(path: Path) -> bool:
    """Whether `path` begins as files of torch.save (a zip archive) or plain pickles do; reads nine bytes."""
    # The length of a safetensors header, which comes first, may look like either: 640 is 80 02.
    if begins_as_safetensors(path):
        return False
    with path.open("rb") as file:
        start = file.read(2)
    return start in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def is_npz_file(path: Path) -> bool:
    """Whether `path` is an archive of NumPy, which is a zip as those of torch.save are."""
    if not is_torch_file(path) or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith(".npy") for name in archive.namelist())


def _foreign_globals(path: Path) -> list[str]:
    """Names that the pickle in `path` asks for, beyond those of tensors; found by reading its text, not by running it.

    torch gives up on pickles of other protocols than its own before it comes to what they ask for.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
                content = archive.read(name)
        else:
            content = path.read_bytes()
        found, strings = [], [""]
        for operation, argument, _ in pickletools.genops(io.BytesIO(content)):
            if operation.name == "GLOBAL":
                found.append(str(argument).replace(" ", "."))
            elif operation.name == "STACK_GLOBAL":
                found.append(".".join(strings[-2:]))
            elif isinstance(argument, str):
                strings.append(argument)
    except Exception:  # Not a pickle after all, or a damaged one: then it is not for asking that it was refused.
        return []
    return [name for name in found if not name.startswith(_HARMLESS)]
