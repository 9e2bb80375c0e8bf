"""Every option, command, key of params.yaml and file that an error message names is one that there is."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.main import get_command

from steerwright.cli.app import app

ROOT = Path(__file__).parents[3]
PARAMS: dict[str, Any] = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
# Of other programs: dvc init --no-scm.
OTHERS = {"--no-scm"}
MAKERS = ("UserError", "UserErrors", "NotEnoughMemory", "unavailable")


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, inner in (getattr(command, "commands", None) or {}).items():
        yield from commands(inner, (*path, name))


COMMANDS = dict(commands(get_command(app)))
OPTIONS = {
    word for one in COMMANDS.values() for option in one.params for word in (*option.opts, *option.secondary_opts)
}


def said(node: ast.AST) -> str:
    """The words of an expression, with a hole for each value that is only known when it runs."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(said(part) for part in parts)
        case ast.FormattedValue():
            return "\N{REPLACEMENT CHARACTER}"
    return " ".join(said(child) for child in ast.iter_child_nodes(node))


def messages() -> Iterator[tuple[str, str]]:
    """Where an error for users is made, and what it says."""
    for package in ("steerwright", "seasons", "tasks", "flows"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MAKERS:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", " ".join(said(one) for one in node.args)


FOUND = list(messages())


def unknown_options(text: str) -> list[str]:
    # A hole after it is the rest of a name: --{option}.
    named = re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*(?!\w*\N{REPLACEMENT CHARACTER})", text)
    return [one for one in named if one not in OPTIONS | OTHERS]


def unknown_keys(text: str) -> list[str]:
    sections = "|".join(PARAMS)
    named = re.findall(rf"(?<![\w./-])(?:{sections})(?:\.[a-z_][\w-]*)+(?![\w/]|\.\w)", text)
    return [one for one in named if not held(PARAMS, one.split(".")) and not one.endswith((".csv", ".html", ".txt"))]


def held(content: Any, path: list[str]) -> bool:
    for part in path:
        if not isinstance(content, dict) or part not in content:
            return False
        content = content[part]
    return True


def unknown_commands(text: str) -> list[str]:
    named = re.findall(r"`steerwright ((?:[a-z-]+ ?)+)", text)
    return [one for one in named if (one.split()[0],) not in COMMANDS]


def unknown_files(text: str) -> list[str]:
    named = re.findall(r"(?<![\w/.-])(?:models|data|docs|params|tasks|benchmarks)/[\w./-]+", text)
    return [one for one in named if not (ROOT / one.rstrip("./")).exists()]


def test_messages_are_found_and_wrong_names_in_them_too() -> None:
    assert len(FOUND) > 400
    assert unknown_options("write --hookpoint or --site") == ["--site"]
    assert unknown_keys("name it in scorers.text, or language.scorer, or winter.search.goal.") == ["scorers.text"]
    assert unknown_commands("run `steerwright mend` or `steerwright sae import FILE`") == ["mend"]
    assert unknown_files("see docs/nowhere.md and docs/lab.md.") == ["docs/nowhere.md"]


@pytest.mark.parametrize("unknown", [unknown_options, unknown_keys, unknown_commands, unknown_files])
def test_what_error_messages_name_is_there(unknown: Any) -> None:
    wrong = {place: found for place, text in FOUND if (found := unknown(text))}
    assert not wrong
