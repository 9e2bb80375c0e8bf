"""A flow from the command line: on the running server if there is one, else on one that lives as long as the run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from steerkit.dag.prefect_settings import DEFAULT_API_URL, api_url, server_answers
from steerkit.errors import UserError
from steerkit.loopback import refuse_socks_without_support
from steerkit.terminal import write_what_can_be_written


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
