"""Compute one declared stage: hand the function its inputs, let it write aside, put the outputs in place."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from steerkit.dag import context, journal, recorded
from steerkit.dag.context import ProgressSink, RunningStage
from steerkit.dag.declarations import Binding, Stage
from steerkit.dag.disk_errors import as_user_error
from steerkit.dag.input_key import code_digest_of, input_key
from steerkit.dag.locks import stage_lock
from steerkit.dag.params import arguments, load_params
from steerkit.dag.workplace import Door, Workplace, clean_others
from steerkit.errors import UserError

log = logging.getLogger(__name__)


def materialise(
    stage: Stage,
    root: Path,
    door: Door,
    *,
    force: bool = False,
    sink: ProgressSink | None = None,
    before_placing: Callable[[], None] = lambda: None,
) -> Workplace:
    """Run the stage's function, or take over what a killed run had finished, and place its outputs.

    The workplace is returned so that the caller can remove it once dvc.lock holds the result.

    Raises:
        UserError: parameters or inputs are wrong, or the operating system refused to write.
    """
    with stage_lock(root, stage.name), as_user_error(stage.name):
        params = load_params(root)
        given = {**arguments(stage, params), **_inputs(stage, root)}
        key = input_key(stage, params, root)
        place = Workplace(root, stage, key)
        clean_others(root, stage.name, place.folder.name)
        if force:
            place.remove()
        if place.is_finished():
            log.info("%s: was finished by a run that was stopped before it was recorded", stage.name)
        else:
            # Forced work is done anew, not taken over from the last time.
            previous = _nothing if force else functools.partial(_previous, stage, root)
            _compute(stage, root, place, given, door, sink, previous)
        before_placing()
        place.place()
        journal.note("placed", stage.name, key)
    return place


def _compute(
    stage: Stage,
    root: Path,
    place: Workplace,
    given: dict[str, Any],
    door: Door,
    sink: ProgressSink | None,
    previous: Callable[[str], dict[str, Path]],
) -> None:
    place.prepare()
    outs = {argument: place.target(argument) for argument in stage.outs}
    running = RunningStage(
        stage.name,
        sink or context.log_lines(),
        previous,
        functools.partial(code_digest_of, stage, root),
    )
    journal.note("started", stage.name, place.key)
    with context.running(running):
        stage.function(**given, **outs)
    place.finish(door)
    journal.note("finished", stage.name, place.key)


def _nothing(_argument: str) -> dict[str, Path]:
    return {}


def _previous(stage: Stage, root: Path, argument: str) -> dict[str, Path]:
    return recorded.previous_files(root, stage.name, stage.command, stage.out(argument).path)


def _inputs(stage: Stage, root: Path) -> dict[str, Any]:
    missing = [path for path in stage.dep_paths() if not (root / path).exists()]
    if missing:
        raise UserError(f"stage {stage.name} reads {', '.join(missing)}, which is not there; run the stages before it")

    def resolve(binding: Binding) -> Any:
        if binding is None:
            return None
        if isinstance(binding, list):
            return [root / one.path for one in binding]
        return root / binding.path

    return {argument: resolve(binding) for argument, binding in stage.deps.items()}
