"""What steerkit left behind, as this package was called until 0.1: its files are read, its settings are refused."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from steerwright.errors import UserError

NAME, FORMER = "steerwright", "steerkit"


def header_of(metadata: Mapping[str, str] | None) -> str | None:
    """The JSON text of our header among a safetensors file's `metadata`; None where the file is not ours."""
    found = metadata or {}
    return found.get(NAME, found.get(FORMER))


def read_header(metadata: Mapping[str, str] | None) -> dict[str, Any]:
    """Our header in the `metadata` of a safetensors file, its schema named as now; empty where the file is not ours.

    Raises:
        ValueError: it is no JSON.
    """
    found = current(json.loads(header_of(metadata) or "{}"))
    return found if isinstance(found, dict) else {}


def current(content: Any) -> Any:
    """`content` of a JSON header or manifest with the name of its schema as it is now."""
    if not isinstance(content, dict):
        return content
    return {
        key: f"{NAME}{value.removeprefix(FORMER)}" if _names_schema(key, value) else value
        for key, value in content.items()
    }


def _names_schema(key: str, value: Any) -> bool:
    named = key in ("schema_name", "schema", "format")
    return named and isinstance(value, str) and value.startswith(f"{FORMER}.")


def setting(name: str) -> str | None:
    """The environment variable STEERWRIGHT_`name`, or None.

    Raises:
        UserError: the variable is set under its former name.
    """
    refuse_former_settings(name)
    return os.environ.get(f"{NAME.upper()}_{name}")


def refuse_former_settings(*names: str) -> None:
    """Refuse environment variables of the former name: those of `names`, or all. UserError says the new names."""
    prefix = f"{FORMER.upper()}_"
    wanted = {f"{prefix}{name}" for name in names} or {key for key in os.environ if key.startswith(prefix)}
    if found := sorted(wanted & os.environ.keys()):
        now = ", ".join(f"{NAME.upper()}_{key.removeprefix(prefix)}" for key in found)
        raise UserError(f"{', '.join(found)}: steerkit is called steerwright now; set {now} instead.")
