"""README and docs say what is there: links, paths, commands with their options, and the page of the command line."""

import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from steerwright.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
# As it is typed: in backticks, on a line that is indented or begins with $, or after the folder of the environment; a
# backslash at the end of a line carries it on.
COMMAND = re.compile(r"(?:`|^ {4,}|^\$ |\.venv/bin/)steerwright ([a-z-]+(?: (?:[^`\n#\\]|\\\n)*)?)", re.M)


def _anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        assert not anchor or anchor in _anchors(target), f"{link} has no such heading"


def test_the_readme_fits_on_a_page() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= 6144


def test_every_path_that_the_architecture_names_is_there() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    asked = text[text.index("## Where do I change") : text.index("## What one file adds")]
    answers = re.findall(r"^\| … .+ \| `([\w./]+)` \|$", asked, re.M)
    assert len(answers) == 8
    assert [path for path in answers if not (ROOT / path).is_file()] == []
    layers = re.findall(
        r"`([a-z_]+(?:/[a-z_]+)*/|[a-z_]+\.py)`", text[text.index("| `steerwright/` |") : text.index("## Where")]
    )
    there = {path.name for path in (ROOT / "steerwright").iterdir() if path.is_dir() and path.name[0] != "_"}
    assert {name.rstrip("/") for name in layers} >= there
    assert [name for name in layers if not (ROOT / "steerwright" / name).exists()] == ["steerwright/"]


# What a run writes, or a reader of the page does.
WRITTEN = ("data/flux/SPLIT.txt",)
PATH = re.compile(r"`((?:steerwright|seasons|tasks|flows|tests|params|data|models|docs|benchmarks)/[\w./-]+)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_of_the_repository_that_a_page_names_is_there(page: Path) -> None:
    named = {path for path in PATH.findall(page.read_text()) if not path.startswith(WRITTEN) and "STAGE" not in path}
    named |= set(re.findall(r"`([\w/]+/test_\w+\.py)`", page.read_text()))
    # architecture.md names folders and tests below the library's and the tests' own.
    roots = (ROOT, ROOT / "steerwright", ROOT / "tests/steerwright")
    assert [path for path in sorted(named) if not any((root / path).exists() for root in roots)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_environment_variable_that_a_page_names_is_read(page: Path) -> None:
    code = "".join(path.read_text() for path in (ROOT / "steerwright").rglob("*.py"))
    names = set(re.findall(r"STEERWRIGHT_([A-Z_]+)", page.read_text()))
    assert [name for name in sorted(names) if not re.search(rf"(?:STEERWRIGHT_|setting\(\"){name}\b", code)] == []


def _options(command: Any) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_their_options_exist(page: Path) -> None:
    top: Any = get_command(app)
    for said in COMMAND.findall(page.read_text()):
        command: Any = top
        words = re.findall(r"[^\s|\[\],]+", said.replace("\\", ""))
        while words and hasattr(command, "commands") and words[0] in command.commands:
            command = command.commands[words.pop(0)]
        assert command is not top, f"`steerwright {said}` is no command"
        named = {word.partition("=")[0].rstrip(".,;:)") for word in words if re.match(r"--[a-z]", word)}
        assert named <= _options(command), f"`steerwright {said}`"


CLI_PAGE = ROOT / "docs/cli.md"


def _whole_sentences(group: Any) -> None:
    # Where click lists commands it cuts their help after a few words.
    for command in group.commands.values():
        command.short_help = " ".join(command.help.split("\n\n")[0].split())
        if hasattr(command, "commands"):
            _whole_sentences(command)


def _cli_page() -> str:
    from typer.cli import get_docs_for_click

    command: Any = get_command(app)
    command.commands.pop("heal")  # hidden: the name of `repair` until 0.1
    _whole_sentences(command)
    context = command.context_class(command, info_name="steerwright")
    made = get_docs_for_click(obj=command, ctx=context, name="steerwright").strip()
    return f"<!-- Generated from the command line by `python tests/test_docs.py`. -->\n\n{made}\n"


def test_the_page_of_the_command_line_is_the_command_lines_own() -> None:
    assert CLI_PAGE.read_text() == _cli_page(), "write it again: .venv/bin/python tests/test_docs.py"


if __name__ == "__main__":
    CLI_PAGE.write_text(_cli_page())
