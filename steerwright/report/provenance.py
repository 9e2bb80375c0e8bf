"""Where a report comes from: parameters, hashes of its inputs, versions. Nothing that changes between equal runs."""

import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from steerwright.models.folder_digest import content_digest

LIBRARIES = ("torch", "diffusers", "transformers", "open_clip_torch", "lpips", "nnsight", "polars", "numpy")


@dataclass(frozen=True, slots=True)
class RunProvenance:
    """`facts` are lines for people (model, strategy, command), `params` any nested mapping, the rest name -> value."""

    facts: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


def library_versions(names: Iterable[str] = LIBRARIES) -> dict[str, str]:
    """Versions of Python and of installed distributions; those that are not installed are left out."""
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def file_hashes(paths: Mapping[str, Path]) -> dict[str, str]:
    """sha256 of each file, or of a folder's files and their relative names in order (`content_digest`)."""
    return {name: content_digest(path) for name, path in paths.items()}


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested parameters as dotted keys and short texts."""
    flat: dict[str, str] = {}
    for key, value in params.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{name}.")
        elif isinstance(value, list | tuple):
            flat[name] = "[" + ", ".join(map(str, value)) + "]"
        else:
            flat[name] = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return flat
