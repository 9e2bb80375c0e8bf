"""The app: which commands there are. A command's module is imported here, so its heavy imports must wait."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steerwright.cli.choices import CommandLine
from steerwright.cli.estimate import estimate
from steerwright.cli.generate import InOrder, generate
from steerwright.cli.run import run
from steerwright.cli.sae import sae
from steerwright.cli.vectors import vectors
from steerwright.dag import up_to_date
from steerwright.dag.project import find_root
from steerwright.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

# `steerwright dag`: the declarations as dvc.yaml, and as a tree.


def dag(
    write: Annotated[bool, typer.Option("--write", help="Write dvc.yaml from the declarations.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Fail if dvc.yaml is older than the declarations.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Show each stage below what it needs (default).")] = False,
) -> None:
    """Write, check or show the graph of stages that tasks/*/pipeline.py declare."""
    from steerwright.dag import environment
    from steerwright.dag.dvc import yaml as dvc_yaml

    root = find_root()
    if write:
        changed = dvc_yaml.write(root)
        changed |= environment.write_missing(root)
        sys.stdout.write("dvc.yaml written\n" if changed else "dvc.yaml was up to date\n")
    if check:
        difference = dvc_yaml.difference(root)
        if difference:
            sys.stdout.write(f"{difference}\n")
            raise UserError("dvc.yaml is older than the declarations; run `steerwright dag --write` and commit it")
        if missing := environment.missing_entries(root):
            raise UserError(
                f"{environment.FILE} has no entry for {', '.join(missing)}; run `steerwright dag --write` and commit it"
            )
        sys.stdout.write("dvc.yaml is up to date\n")
    if show or not (write or check):
        _show(root)


def _show(root: Path) -> None:
    """A tree per last stage: what it needs stands below it, what was shown already is only named."""
    from rich.console import Console
    from rich.tree import Tree

    from steerwright.dag import registry
    from steerwright.dag.declarations import StageOutput

    stages = registry.all_stages(root)
    makers = {output.path: stage.name for stage in stages.values() for output in stage.outs.values()}
    needs: dict[str, list[str]] = {}
    for name, stage in stages.items():
        bound = [one for many in stage.deps.values() for one in (many if isinstance(many, list) else [many]) if one]
        # A File may name what another stage writes: for DVC that is an edge like any other.
        found = {one.stage if isinstance(one, StageOutput) else makers.get(one.path, "") for one in bound}
        needs[name] = sorted(found - {""})
    shown: set[str] = set()

    def add(tree: Tree, name: str) -> None:
        stage = stages[name]
        repeated = name in shown and needs[name]
        frozen = " [cyan](frozen)[/]" if stage.frozen else ""
        branch = tree.add(f"[bold]{name}[/]{frozen} [dim]{stage.desc}[/]" + (" [dim](above)[/]" if repeated else ""))
        if repeated:
            return
        shown.add(name)
        for one in needs[name]:
            add(branch, one)

    inner = {one for many in needs.values() for one in many}
    console = Console(highlight=False)
    for name in stages:
        if name not in inner:
            root_tree = Tree("", hide_root=True)
            add(root_tree, name)
            console.print(root_tree)


# `steerwright repair`: mend what a killed `dvc repro`, a merge or a failing disk left behind.


def repair(
    read_all: Annotated[
        bool, typer.Option("--read-all", help="Read every object of the cache again, for a disk that is in doubt.")
    ] = False,
) -> None:
    """Mend dvc.lock after a kill or a merge, a broken lock file, and damaged objects of the cache.

    `steerwright run` does it by itself, but of the cache it reads only what it uses.
    """
    from steerwright.dag.dvc import repair as mending

    def tell(line: str) -> None:
        sys.stderr.write(f"{line}\n")

    root = find_root()
    said = [*mending.repair(root), *mending.repair_cache(root, again=read_all, tell=tell)]
    for line in said or ["nothing to mend"]:
        sys.stdout.write(f"{line}\n")


# `steerwright lab`: the interactive page.


def lab(
    port: Annotated[
        int, typer.Option(min=1024, max=65535, help="Where the page is served, on this machine only.")
    ] = 7860,
    model: Annotated[
        str | None, typer.Option(metavar="NAME|FOLDER", help="The language model (default: the embedded one).")
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Answer to this host's name too, for a proxy that hands the lab on; may be repeated."
        ),
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
) -> None:
    """Open the steering lab: a page for steering texts and pictures, layer by layer and step by step."""
    import gc
    import signal
    import threading

    # What is made until the models stand stays: looking through it again and again is a tenth of the start.
    gc.disable()

    from steerwright.dag.params import load_params
    from steerwright.dag.project import find_root
    from steerwright.lab.app import close, launch
    from steerwright.lab.fitting import Recipe
    from steerwright.lab.workbench import Workbench
    from steerwright.models.identify import EMBEDDED_LANGUAGE
    from steerwright.models.language.spec import select_language_model

    root = find_root()
    params = load_params(root)
    models = params.get("models", {})
    spec = select_language_model(model or EMBEDDED_LANGUAGE, models)
    workbench = Workbench(root, spec, models, Recipe.of_params(params))
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    page, address = launch(workbench, port, open_browser=browser, hosts=allow_host or ())
    typer.echo(f"The lab is at {address} (only from this machine). Stop it with Ctrl-C.")
    try:
        workbench.load_ahead().join()
        gc.enable()
        ended.wait()
    except KeyboardInterrupt:
        typer.echo("The lab is closed.")
    finally:
        close(workbench, page)


# `steerwright status`: what would run, and why; changes nothing.


def status(flow: Annotated[str, typer.Argument(help="A pipeline, or `everything`.")] = "winter") -> None:
    """Say whether a pipeline is up to date; if not, which stages would run and why."""
    root = find_root()
    if up_to_date.recall(root, flow) is not None:
        sys.stdout.write(up_to_date.in_words(flow, {}))
        return
    from rich.console import Console
    from rich.table import Table

    from steerwright.dag.engine import open_session

    with open_session(root) as session:
        found = session.status([flow])
    if all(stage.why is None for stage in found):
        sys.stdout.write(up_to_date.in_words(flow, {}))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("stage", "state", "why"):
        table.add_column(column, overflow="fold")
    for stage in found:
        state = "up to date" if stage.why is None else "may run" if stage.upstream else "would run"
        table.add_row(stage.name, state, stage.why or "")
    Console(soft_wrap=not sys.stdout.isatty()).print(table)


# `steerwright submission`: pictures to a CSV with base64 PNGs, and back.

submission = CommandLine(
    name="submission", help="Turn pictures into a CSV with base64 PNGs, and back.", no_args_is_help=True
)

IdColumn = Annotated[str | None, typer.Option("--id-column", help="Column of the ids (default: id).")]
ImageColumn = Annotated[str | None, typer.Option("--image-column", help="Column of the pictures (default: image).")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]


@submission.command()
def decode(
    file: Annotated[Path, typer.Argument(help="The submission, a CSV file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures, ID.png.")],
    id_column: IdColumn = None,
    image_column: ImageColumn = None,
    force: Force = False,
) -> None:
    """Write each row's picture to OUTPUT/ID.png, with exactly the bytes that were encoded."""
    from steerwright.report.submission import Columns, decode_submission

    named = id_column is not None or image_column is not None
    columns = Columns(id_column or "id", image_column or "image") if named else None
    written = decode_submission(file, output, columns, overwrite=force)
    typer.echo(f"{len(written)} pictures in {output}")


@submission.command()
def encode(
    folder: Annotated[Path, typer.Argument(help="Folder with pictures, ID.png.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The CSV file to write.")] = Path("submission.csv"),
    id_column: IdColumn = None,
    image_column: ImageColumn = None,
    force: Force = False,
) -> None:
    """Write one CSV row for each PNG of FOLDER."""
    from steerwright.errors import UserError
    from steerwright.report.submission import Columns, encode_submission, pictures_of

    if output.exists() and not force:
        raise UserError(f"{output} exists. Choose another name, or add --force to overwrite.")
    pictures = pictures_of(folder)
    encode_submission(pictures, output, Columns(id_column or "id", image_column or "image"))
    typer.echo(f"{len(pictures)} pictures in {output}")


# `steerwright accept-environment`: results made with other library versions count, without being made again.


def accept_environment(
    flow: Annotated[str, typer.Argument(help="A pipeline, or `everything`.")] = "everything",
) -> None:
    """Take results made with other library versions, on another device or with other threads for up to date."""
    from steerwright.dag.engine import open_session

    with open_session(find_root()) as session:
        found = session.accept_environment([flow])
    accepted: dict[str, list[str]] = {}
    for name, said, refused in found:
        if refused is None:
            accepted.setdefault(said, []).append(name)
        else:
            sys.stdout.write(f"not accepted for {name} ({said}): {refused}\n")
    for said, names in accepted.items():
        sys.stdout.write(f"accepted for {', '.join(names)}: {said}\n")
    if not found:
        sys.stdout.write(f"{flow}: every result was made in this environment, nothing to accept.\n")


app = CommandLine(
    name="steerwright",
    help="Steer generative models by editing their activations, and measure what happened.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run)
app.command()(status)
app.command()(dag)
app.command()(repair)
# Its name until 0.1.
app.command("heal", hidden=True)(repair)
app.command()(accept_environment)
app.command()(estimate)
app.command(cls=InOrder)(generate)
app.command()(lab)
app.add_typer(submission)
app.add_typer(vectors)
app.add_typer(sae)
