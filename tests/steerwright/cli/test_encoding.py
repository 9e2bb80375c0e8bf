"""Output in an encoding that lacks some characters: what can be written is, and the rest is replaced."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
PROMPT = "Tell me about the lake ❄ of Zürich."


def run(
    encoding: dict[str, str], *words: str, module: str = "steerwright.cli.main"
) -> subprocess.CompletedProcess[bytes]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "PYTHON"))}
    environment = {**inherited, "PYTHONPATH": str(REPOSITORY), "STEERWRIGHT_DEVICE": "cpu", **encoding}
    command = [sys.executable, "-m", module, *words]
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, check=False, timeout=120)


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ({"PYTHONIOENCODING": "cp1252"}, "Tell me about the lake ? of Zürich.".encode("cp1252")),
        ({"PYTHONIOENCODING": "koi8-r:strict"}, b"Tell me about the lake ? of Z?rich."),
        # Click takes a stream that says ASCII for one that does not know better, and writes UTF-8 to it.
        ({"PYTHONIOENCODING": "ascii:strict"}, b"Tell me about the lake"),
        # Python takes UTF-8 for the locale C, unless it is forbidden to.
        ({"LC_ALL": "C"}, PROMPT.encode()),
    ],
)
def test_a_text_is_printed_with_what_can_be_printed(
    language_folder: Callable[[str], Path], encoding: dict[str, str], expected: bytes
) -> None:
    words = ["generate", "--model", str(language_folder("gpt2")), "--prompt", PROMPT, "--raw", "--tokens", "1"]
    done = run(encoding, *words)
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout


def test_a_prompt_that_the_locale_cannot_read_is_a_message(language_folder: Callable[[str], Path]) -> None:
    words = ["generate", "--model", str(language_folder("gpt2")), "--prompt", PROMPT, "--tokens", "1"]
    done = run({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, *words)
    assert done.returncode == 2 and b"set PYTHONUTF8=1" in done.stderr and b"Traceback" not in done.stderr


def test_a_message_and_a_table_are_printed_too(tmp_path: Path) -> None:
    ascii_only = {"PYTHONIOENCODING": "ascii"}
    done = run(ascii_only, "generate", "--prompt", "x", "-o", str(tmp_path / "Zürich" / "out.png"))
    assert done.returncode == 2
    assert b"there is no folder" in done.stderr and b"Z\\xfcrich" in done.stderr and b"Traceback" not in done.stderr
    # A tree of rich, whose guides are no ASCII.
    done = run(ascii_only, "dag", "--show")
    assert done.returncode == 0 and b"winter-report" in done.stdout


def test_a_stage_that_dvc_runs_says_what_is_wrong() -> None:
    done = run({"PYTHONIOENCODING": "ascii:strict"}, "wintér", module="tasks")
    assert done.returncode == 2 and b"Traceback" not in done.stderr, done.stderr
