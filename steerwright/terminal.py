"""Writing to a terminal, a pipe or a file in any encoding."""

from __future__ import annotations

import io
import sys


def write_what_can_be_written() -> None:
    """Let standard output and error replace what their encoding lacks, instead of failing after the work is done.

    Programs call this first; the standard library only, so that it costs nothing.
    """
    for stream, instead in ((sys.stdout, "replace"), (sys.stderr, "backslashreplace")):
        # A test, a notebook or Prefect may have put a stream of its own there.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=instead)
