"""`steerwright run`: bring a flow up to date, through Prefect if its server answers, and show what came of it."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from steerwright.dag import context, up_to_date
from steerwright.dag.project import find_root
from steerwright.dag.shards import runners
from steerwright.errors import UserError

if TYPE_CHECKING:
    from steerwright.dag.outcome import Outcome


UI = "prefect server start"
# Forcing the recipe of the embedded models by name includes its frozen stages.
RECIPE = "world"


def run(
    flow: Annotated[str, typer.Argument(help="A pipeline, or `everything`.")] = "winter",
    only: Annotated[
        str | None, typer.Option(metavar="STAGES", help="Run these stages alone (a,b,c), not what they need.")
    ] = None,
    layers: Annotated[
        str | None, typer.Option(metavar="LAYERS", help="Run these layers (early,late) and what they need.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Run it all again; frozen stages only with --only, or for `world`.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Steer this entry of `models` (written into params.yaml).")
    ] = None,
    params: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the values of this file into params.yaml first.")
    ] = None,
    prefect: Annotated[
        bool | None, typer.Option("--prefect/--no-prefect", help="Default: if a Prefect server answers.")
    ] = None,
    runner: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="threads, processes, dask or ray: where the shards of a stage run."),
    ] = None,
    runner_address: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A running Dask or Ray cluster; default: one of its own here.")
    ] = None,
    runner_workers: Annotated[
        int | None, typer.Option(metavar="N", help="Threads, or processes of the cluster of its own.  [default: 2]")
    ] = None,
) -> None:
    """Run a pipeline: only what is not up to date, and the rest from the cache."""
    root = find_root()
    runners.choose(runner, runner_address, runner_workers)
    if runner is not None:
        from steerwright.dag import registry

        targets = [name.strip() for name in only.split(",") if name.strip()] if only else [flow]
        runners.check_useful(runner, targets, registry.all_stages(root))
    change_params(root, flow, model, params)
    if only is not None and layers is not None:
        raise UserError("--only and --layers both say what is run; leave one of them out")
    for option, names in (("--only", only), ("--layers", layers)):
        if names is not None and not names.replace(",", "").strip():
            raise UserError(f"{option} names nothing; write what is to run, with commas between, or leave it out")
    chosen = _of_layers(root, flow, layers)
    if not force and only is None and chosen is None and prefect is not True:
        told = up_to_date.recall(root, flow)
        if told is not None:
            sys.stdout.write(up_to_date.in_words(flow, told))
            return
    if only is None:
        _check_judges(root, flow)
    logging.getLogger("steerwright").setLevel(logging.INFO)
    if through_prefect(only, prefect):
        _run_in_prefect(root, flow, force, chosen)
        return
    _run_here(root, flow, only, force, chosen)


def _check_judges(root: Path, flow: str) -> None:
    """Refuse a model whose pictures or texts the judges do not know, before anything runs."""
    from steerwright.dag.params import load_params
    from steerwright.scoring.judge_domain import JUDGES, check_judges

    params = load_params(root)
    for pipeline in JUDGES if flow == "everything" else [flow]:
        check_judges(pipeline, params, root)


def _of_layers(root: Path, flow: str, layers: str | None) -> list[str] | None:
    """The stages of the layers that are asked for; None for the whole pipeline."""
    if layers is None:
        return None
    from steerwright.dag import registry
    from steerwright.dag.registry import stages_of_layers

    wanted = [name.strip() for name in layers.split(",") if name.strip()]
    return stages_of_layers(flow, list(registry.all_stages(root)), wanted)


def change_params(root: Path, flow: str, model: str | None, params: Path | None) -> None:
    if model is None and params is None:
        return
    from steerwright.dag import params as params_edit
    from steerwright.dag import registry
    from steerwright.dag.params import FILE, load_params
    from steerwright.dag.project import write_atomically

    before = (root / FILE).read_text(encoding="utf-8") if (root / FILE).is_file() else None
    changed: list[str] = []
    if params is not None:
        free = {key for stage in registry.all_stages(root).values() for key in stage.params.values()}
        changed += params_edit.merge_file(root, params.resolve(), free)
    if model is not None:
        key = params_edit.model_key(load_params(root), flow)
        changed += params_edit.choose_model(root, model, key)
    try:
        _check_judges(root, flow)
    except UserError:
        # A run that is refused leaves everything as it was.
        if before is not None and changed:
            write_atomically(root, root / FILE, before)
        raise
    for line in changed:
        sys.stdout.write(f"params.yaml: {line}\n")


def through_prefect(only: str | None, wanted: bool | None) -> bool:
    if only is not None and wanted:
        raise UserError("a Prefect flow runs a stage with all that it needs; leave out --prefect, or --only")
    if wanted is False or only is not None:
        return False
    from steerwright.dag.prefect.settings import api_url, server_answers
    from steerwright.loopback import refuse_socks_without_support

    if server_answers():
        refuse_socks_without_support()
        return True
    if wanted:
        raise UserError(f"no Prefect server answers at {api_url()}; start one with `{UI}`, or leave --prefect out")
    sys.stderr.write(f"No Prefect server at {api_url()}: running here. For its UI start `{UI}` in another terminal.\n")
    return False


def _run_in_prefect(root: Path, flow: str, force: bool, chosen: list[str] | None) -> None:
    import importlib

    from steerwright.dag import outcome as summary
    from steerwright.dag import project

    project.enter(root)
    try:
        module = importlib.import_module(f"flows.{flow}")
    except ModuleNotFoundError as error:
        if error.name != f"flows.{flow}":
            raise
        raise UserError(f"there is no flow {flow!r} in flows/; `--no-prefect` runs the pipeline here") from error
    state = getattr(module, flow)(targets=chosen, force=force, return_state=True)
    if not state.is_completed():
        reason = state.result(raise_on_failure=False)
        if isinstance(reason, UserError):
            raise reason
        raise UserError(f"the flow run ended as {state.name}: {state.message or 'see its logs in the UI'}")
    sys.stdout.write(f"{flow}: {state.name}. {state.message or ''}\n")
    sys.stdout.write(up_to_date.report_lines(summary.of_flow(root, flow)))


def _run_here(root: Path, flow: str, only: str | None, force: bool, chosen: list[str] | None) -> None:
    from steerwright.dag import outcome as summary
    from steerwright.dag.engine import open_session
    from steerwright.dag.local import run_plan

    with open_session(root) as session:
        targets = [name.strip() for name in only.split(",") if name.strip()] if only else chosen or [flow]
        plan = session.plan(targets, only=only is not None)
        try:
            with Display([stage.name for stage in plan]) as display:
                outcomes = run_plan(
                    session,
                    plan,
                    force=force,
                    thaw=only is not None or flow == RECIPE,
                    on_progress=display.progress,
                    on_start=lambda stage: display.start(stage.name),
                    on_end=display.end,
                )
        except KeyboardInterrupt:
            # The threads of the stages cannot be interrupted, and Python would wait for them.
            sys.stderr.write("steerwright: stopped. Finished work is kept; run the same command again to go on.\n")
            sys.stderr.flush()
            os._exit(130)
    display.table([outcomes[stage.name] for stage in plan])
    if only is None and chosen is None:
        sys.stdout.write(up_to_date.report_lines(summary.of_flow(root, flow)))


# How a run looks at the terminal: a bar per running stage, a table at the end; plain lines where it is no terminal.

STYLES = {"ran": "green", "restored": "cyan", "unchanged": "dim"}


class Display:
    """Bars on a terminal, log lines elsewhere; safe to call from the threads of a run."""

    def __init__(self, stages: list[str]) -> None:
        self._console = Console(stderr=True)
        self._live = self._console.is_terminal
        self._lines = context.log_lines()
        self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[what]}"),
            TimeElapsedColumn(), console=self._console, disable=not self._live, transient=True,
        )  # fmt: skip
        self._tasks: dict[str, Any] = {}
        self._width = max((len(name) for name in stages), default=0)

    def __enter__(self) -> Display:
        self._bars.start()
        self._redirect_logs()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()
        self._redirect_logs()

    def start(self, stage: str) -> None:
        """A stage is being looked at, or runs."""
        self._tasks[stage] = self._bars.add_task(stage.ljust(self._width), total=None, what="")

    def progress(self, stage: str, done: int, total: int, what: str) -> None:
        """A stage reports units of work."""
        if self._live and stage in self._tasks:
            self._bars.update(self._tasks[stage], completed=done, total=total, what=what)
        else:
            self._lines(stage, done, total, what)

    def end(self, outcome: Outcome) -> None:
        """A stage is up to date."""
        self._bars.remove_task(self._tasks.pop(outcome.name))
        if outcome.verdict != "unchanged":
            why = f" ({outcome.why})" if outcome.why else ""
            self._bars.console.print(
                f"{outcome.name.ljust(self._width)}  {outcome.verdict} in {outcome.seconds:.1f} s{why}",
                highlight=False, markup=False, soft_wrap=True,
            )  # fmt: skip

    def table(self, outcomes: list[Outcome]) -> None:
        """All stages with verdict, seconds and outputs, on standard output."""
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in ("stage", "verdict", "seconds", "outputs"):
            table.add_column(column, justify="right" if column == "seconds" else "left", overflow="fold")
        for outcome in outcomes:
            said = ", ".join(f"{out.path} ({_size(out.size)})" for out in outcome.outputs)
            verdict = f"[{STYLES[outcome.verdict]}]{outcome.verdict}[/]"
            table.add_row(outcome.name, verdict, f"{outcome.seconds:.1f}", said)
        Console(soft_wrap=not sys.stdout.isatty()).print(table)

    @staticmethod
    def _redirect_logs() -> None:
        # The live display replaces sys.stderr; handlers still hold the stream of before.
        for handler in logging.getLogger().handlers:
            if type(handler) is logging.StreamHandler:
                handler.setStream(sys.stderr)


def _size(size: int | None) -> str:
    if size is None:
        return "?"
    amount = float(size)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} GB"
