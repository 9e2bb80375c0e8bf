"""`steerkit accept-environment`: results made with other library versions count, without being made again."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from steerkit.dag.project import find_root


def accept_environment(
    flow: Annotated[str, typer.Argument(help="A pipeline, or `everything`.")] = "everything",
) -> None:
    """Take results made with other library versions, on another device or with other threads for up to date."""
    from steerkit.dag.engine import open_session

    with open_session(find_root()) as session:
        found = session.accept_environment([flow])
    accepted: dict[str, list[str]] = {}
    for name, said, refused in found:
        if refused is None:
            accepted.setdefault(said, []).append(name)
        else:
            sys.stdout.write(f"not accepted for {name} ({said}): {refused}\n")
    for said, names in accepted.items():
        sys.stdout.write(f"accepted for {', '.join(names)}: {said}\n")
    if not found:
        sys.stdout.write(f"{flow}: every result was made in this environment, nothing to accept.\n")
