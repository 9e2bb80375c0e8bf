"""Where Prefect lives for this checkout, and whether its server answers. Imports nothing of Prefect."""

from __future__ import annotations

import argparse
import json
import os
import sys
import urllib.error
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from steerwright.errors import UserError
from steerwright.loopback import go_direct, opener_for, refuse_socks_without_support
from steerwright.terminal import write_what_can_be_written

DEFAULT_API_URL = "http://127.0.0.1:4200/api"


def configure(root: Path) -> None:
    """Keep Prefect's files inside the project and its telemetry off; values already in the environment stay.

    Must run before Prefect is first imported in the process. Prefect's command line, which starts without us,
    reads the same values from prefect.toml. Prefect's clients then reach a server on this machine past any proxy.
    """
    os.environ.setdefault("PREFECT_HOME", str(root / ".prefect"))
    os.environ.setdefault("PREFECT_API_URL", DEFAULT_API_URL)
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    # Libraries log from threads of their own, which belong to no run.
    os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")
    go_direct(api_url())


def records_folder(root: Path) -> Path:
    """Where flow runs note their process; a relative PREFECT_HOME (prefect.toml) counts from `root`."""
    return root / os.environ.get("PREFECT_HOME", ".prefect") / "steerwright-runs"


def api_url() -> str:
    """The address of the API that flows report to."""
    return os.environ.get("PREFECT_API_URL") or DEFAULT_API_URL


def server_answers(timeout_seconds: float = 1.0) -> bool:
    """Whether a Prefect server answers at `api_url()`; False on anything but its own health reply."""
    url = f"{api_url()}/health"
    try:
        with opener_for(url).open(url, timeout=timeout_seconds) as reply:
            return json.load(reply) is True
    except (OSError, ValueError, urllib.error.URLError):
        return False


# A flow from the command line: on the running server if there is one, else on one that lives as long as the run.


def flow_from_command_line(flow: Any, arguments: Sequence[str] | None = None) -> int:
    """Run `flow` with the stages and flags of the command line; returns the exit code: 0, 1 failed, 2 cannot start."""
    write_what_can_be_written()
    parser = argparse.ArgumentParser(prog=f"python -m flows.{flow.name}", description=flow.description)
    parser.add_argument("targets", nargs="*", metavar="STAGE", help="run these and what they need (default: all)")
    parser.add_argument("--force", action="store_true", help="run the stages even where they are up to date")
    options = parser.parse_args(arguments)
    try:
        refuse_socks_without_support()
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    answers = server_answers()
    if not answers and api_url() != DEFAULT_API_URL:
        sys.stderr.write(
            f"No Prefect server answers at {api_url()} (PREFECT_API_URL). Start it, or unset PREFECT_API_URL.\n"
        )
        return 2
    if not answers:
        sys.stderr.write(
            "No Prefect server is running, so this run brings its own (about ten seconds more). "
            "For the UI: prefect server start\n"
        )
    with _server(running=answers):
        state = flow(targets=options.targets or None, force=options.force, return_state=True)
    sys.stderr.write(f"{flow.name}: {state.name}. {state.message or ''}\n")
    return 0 if state.is_completed() else 1


@contextmanager
def _server(*, running: bool) -> Iterator[None]:
    """The settings under which the flow finds its server; a temporary one writes to the same database."""
    if running:
        yield
        return
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_SERVER_ALLOW_EPHEMERAL_MODE,
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
        temporary_settings,
    )

    updates = {
        PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: True,
        # The server makes its database first; on a busy machine Prefect's own 20 seconds are too short for that.
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 180,
    }
    with temporary_settings(updates=updates, restore_defaults={PREFECT_API_URL}):
        yield


# Reads of Prefect's client that go on where the server's page ends (after 200 rows, or fewer as it is set).


def every(read: Callable[..., list[Any]], **filters: Any) -> Iterator[Any]:
    """All rows that `read` of a Prefect client gives for `filters`, in as many requests as there are pages and one.

    No `limit` is asked for: a server refuses one that is larger than its own. The server's order is by id, so that rows
    which come meanwhile may show one twice, but hide none.
    """
    found = 0
    while page := read(**filters, offset=found):
        yield from page
        found += len(page)
