"""A stage written by hand in dvc.yaml: its command, run by the shell as DVC runs it."""

from __future__ import annotations

import logging
import os
import subprocess
from pathlib import Path

from steerkit.errors import UserError

log = logging.getLogger("steerkit.shell")


def run_command(stage: str, command: str | list[str], folder: Path, root: Path) -> None:
    """Run the command(s) in ``folder``; each line they print is logged.

    Raises:
        UserError: a command ends with another code than 0.
    """
    environment = {**os.environ, "DVC_ROOT": str(root), "DVC_STAGE": stage}
    for line in command if isinstance(command, list) else command.splitlines():
        log.info("%s: $ %s", stage, line)
        shell = os.environ.get("SHELL") or "/bin/sh"
        with subprocess.Popen(
            [shell, "-c", line],
            cwd=folder,
            env=environment,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            last = ""
            for printed in process.stdout or ():
                last = printed.rstrip() or last
                log.info("%s: %s", stage, printed.rstrip())
        if process.returncode != 0:
            said = f": {last.removeprefix('steerkit: ')}" if last else ""
            raise UserError(f"stage {stage}: `{line}` ended with code {process.returncode}{said}")
