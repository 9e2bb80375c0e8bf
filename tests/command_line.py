"""`steerwright` as a user types it, run in the test's own process."""

import contextlib
from pathlib import Path

from typer.testing import CliRunner

from steerwright.cli.app import app
from steerwright.errors import UserError


def steerwright(*arguments: object, fails: bool = False, cwd: Path | None = None) -> str:
    """What `steerwright ARGUMENTS` writes, 200 columns wide; with `fails` the message of its refusal."""
    with contextlib.chdir(cwd or Path.cwd()):
        result = CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "200"})
    if fails:
        assert isinstance(result.exception, UserError), result.output
        return str(result.exception)
    assert result.exit_code == 0, result.exception
    return result.output
