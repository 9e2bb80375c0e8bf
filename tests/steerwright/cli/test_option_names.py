"""An option that a message names is one that there is."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import typer

from steerwright.cli.app import app

ROOT = Path(__file__).parents[3]
# Of git, dvc and Python.
FOREIGN = {"--no-scm", "--help"}


def options(command: object) -> set[str]:
    found = {name for one in getattr(command, "params", ()) for name in (*one.opts, *one.secondary_opts)}
    return found.union(*(options(inner) for inner in getattr(command, "commands", {}).values()))


def messages(tree: ast.AST) -> Iterator[str]:
    """All text inside of the calls that make a message for a user."""
    for call in ast.walk(tree):
        name = getattr(call.func, "id", getattr(call.func, "attr", "")) if isinstance(call, ast.Call) else ""
        if name.endswith(("UserError", "UserErrors", "NotEnoughMemory", "echo", "Warning")):
            yield from (
                node.value for node in ast.walk(call) if isinstance(node, ast.Constant) and isinstance(node.value, str)
            )


def test_every_option_that_a_message_names_exists() -> None:
    known, seen = options(typer.main.get_command(app)) | FOREIGN, set()
    for path in sorted(ROOT.glob("steerwright/**/*.py")) + sorted(ROOT.glob("tasks/*.py")):
        for text in messages(ast.parse(path.read_text(encoding="utf-8"))):
            for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", text):
                seen.add(option)
                assert option in known, f"{path.relative_to(ROOT)} tells of {option}: {text}"
    assert {"--hookpoint", "--force", "--model"} <= seen
