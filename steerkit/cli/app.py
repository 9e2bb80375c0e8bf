"""The app: which commands there are. A command's module is imported here, so its heavy imports must wait."""

from steerkit.cli.accept_environment import accept_environment
from steerkit.cli.command_line import CommandLine
from steerkit.cli.dag import dag
from steerkit.cli.estimate import estimate
from steerkit.cli.generate import InOrder, generate
from steerkit.cli.heal import heal
from steerkit.cli.lab import lab
from steerkit.cli.run import run
from steerkit.cli.sae import sae
from steerkit.cli.status import status
from steerkit.cli.submission import submission
from steerkit.cli.vectors import vectors

app = CommandLine(
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
app.command()(accept_environment)
app.command()(estimate)
app.command(cls=InOrder)(generate)
app.command()(lab)
app.add_typer(submission)
app.add_typer(vectors)
app.add_typer(sae)
