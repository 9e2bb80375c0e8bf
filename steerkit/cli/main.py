"""The app: which commands there are. A command's module is imported here, so its heavy imports must wait."""

import logging
import os
import sys

import typer

from steerkit.cli.dag import dag
from steerkit.cli.heal import heal
from steerkit.cli.run import run
from steerkit.cli.status import status
from steerkit.cli.submission import submission
from steerkit.errors import UserError

app = typer.Typer(
    name="steerkit",
    help="Steer generative models by editing their activations, and measure what happened.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run)
app.command()(status)
app.command()(dag)
app.command()(heal)
app.add_typer(submission)


def main() -> None:
    """Run the command line: a user's mistake is one message and exit code 2, never a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        app()
    except UserError as error:
        sys.stderr.write(f"steerkit: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("steerkit: stopped. Finished work is kept; run the same command again to go on.\n")
        # Threads may still be inside a long computation that nothing can interrupt.
        sys.stderr.flush()
        os._exit(130)


if __name__ == "__main__":
    main()
