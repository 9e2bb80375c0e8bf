"""The `steerwright` command: the quick answer first, then the app; a user's mistake is one message."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line. A user's mistake is one message and exit code 2, never a traceback."""
    from steerwright.errors import UserError
    from steerwright.former_name import refuse_former_settings
    from steerwright.terminal import write_what_can_be_written

    write_what_can_be_written()
    try:
        refuse_former_settings()
    except UserError as error:
        sys.stderr.write(f"steerwright: {error}\n")
        sys.exit(2)
    # Before typer is imported: that alone takes longer than the whole answer.
    if answer(sys.argv[1:]):
        return
    import logging
    import os

    from steerwright.cli.app import app
    from steerwright.loopback import go_direct

    # For every client of whatever follows, such as one that asks a mirror of the hub on this machine.
    go_direct()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        app()
    except UserError as error:
        sys.stderr.write(f"steerwright: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("steerwright: stopped. Files that are there are whole; run the same command again to go on.\n")
        # Threads may still be inside a long computation that nothing can interrupt.
        sys.stderr.flush()
        os._exit(130)


def answer(arguments: list[str]) -> bool:
    """Say that all is up to date, without loading the command line (some 50 ms), and return True.

    For `run [FLOW]` and `status [FLOW]` without options; False where something has moved.
    """
    if not arguments or arguments[0] not in ("run", "status") or len(arguments) > 2:
        return False
    flow = arguments[1] if len(arguments) == 2 else "winter"
    if flow.startswith("-"):
        return False
    from steerwright.dag import up_to_date
    from steerwright.dag.project import find_root
    from steerwright.errors import UserError

    try:
        told = up_to_date.recall(find_root(), flow)
    except UserError:
        return False
    if told is None:
        return False
    sys.stdout.write(up_to_date.in_words(flow, told if arguments[0] == "run" else {}))
    return True


if __name__ == "__main__":
    main()
