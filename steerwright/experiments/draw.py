"""Conditions and samples: what is done to the model, which pictures are asked for, and how they are drawn.

A picture in which the gates of an edit never hold is the unsteered picture: up to the first step at which one holds
nothing has changed. So while unsteered pictures are drawn, it is noted where the gates of the steered conditions hold;
only those pictures are drawn again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from steerwright.files import atomic_write, save_picture
from steerwright.images import Sample
from steerwright.models.families import execution_device
from steerwright.models.generate import generate
from steerwright.models.hookpoints import resolve, tensor_in, tensor_out
from steerwright.models.load import LoadedModel, load_once, same_threads
from steerwright.models.running import PipelineState, track
from steerwright.models.spec import ModelSpec
from steerwright.steering.algebra import Edit, on_device
from steerwright.steering.apply import ImageGates, check_branches, steered_batches
from steerwright.steering.gates import ImageGate

BATCH = 16


class Changes(Protocol):
    """What a condition does to the model's activations, small and picklable: it goes to every process that draws."""

    def edits(self, model: LoadedModel) -> Sequence[Edit]:
        """The edits on `model`."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class GivenEdits:
    """Changes that are known already."""

    given: tuple[Edit, ...]

    def edits(self, model: LoadedModel) -> Sequence[Edit]:  # noqa: ARG002
        return self.given


@dataclass(frozen=True, slots=True)
class Condition:
    """What is done to a model; a condition by words alone has samples with other prompts, and nothing here."""

    name: str
    changes: Changes | None = None
    negative_prompt: str = ""


@dataclass(frozen=True, slots=True)
class ModelTools:
    """The model that pictures are drawn with, for jobs that any process can do.

    `threads`: torch computes with as many, because another number rounds otherwise.
    """

    spec: ModelSpec
    digest: str
    threads: int

    @classmethod
    def here(cls, spec: ModelSpec, digest: str) -> ModelTools:
        """For jobs that may run in another folder, or on a machine that sees the same files."""
        source = Path(spec.source)
        if source.exists():
            spec = spec.model_copy(update={"source": str(source.absolute())})
        return cls(spec, digest, torch.get_num_threads())

    def load(self) -> LoadedModel:
        """The model, loaded once in each thread."""
        return load_once(self.spec, self.digest)


@dataclass(frozen=True, slots=True)
class DrawJob:
    """A shard: `samples` drawn under `condition` into `folder`.

    `note`: the file that says in which of the samples the gates of each of the `watched` conditions held, for shards
    without changes of their own.
    """

    tools: ModelTools
    folder: Path
    condition: Condition
    samples: tuple[Sample, ...]
    watched: tuple[Condition, ...] = ()
    note: Path | None = None


MapShards = Callable[[Callable[[DrawJob], str], Sequence[DrawJob], str], Any]
"""How shards are spread: `steerwright.dag.map_shards`, on whatever runner the stage has."""
Acts = dict[str, dict[str, bool]]
"""Condition -> path of an unsteered picture -> whether the condition's edits act in it."""


def draw(
    tools: ModelTools,
    plan: Iterable[tuple[Condition, Sequence[Sample]]],
    folder: Path,
    map_shards: MapShards,
    watched: Sequence[Condition] = (),
    notes: Path | None = None,
    what: str = "shards of pictures",
) -> Acts:
    """Draw the samples of `plan` into `folder`, in shards; those that are there are kept.

    With a folder of `notes`, returns in which of the pictures the edits of the `watched` conditions act: those without
    a gate by image act in all. A shard is drawn whole, so that a picture's batch, and so its last bit, does not depend
    on where a run was stopped. UserError as of `check_branches`.
    """
    jobs = [
        DrawJob(tools, folder.absolute(), condition, tuple(samples[start : start + BATCH]), tuple(watched))
        for condition, samples in plan
        for start in range(0, len(samples), BATCH)
    ]
    if notes is not None:
        jobs = [replace(job, note=notes.absolute() / f"{number}.json") for number, job in enumerate(jobs)]
    map_shards(draw_shard, jobs, what)
    acts: Acts = {}
    for job in jobs:
        if job.note is not None:
            for name, held in json.loads(job.note.read_text()).items():
                paths = [sample.path for sample in job.samples]
                acts.setdefault(name, {}).update(zip(paths, held, strict=True))
    return acts


def draw_shard(job: DrawJob) -> Literal["kept", "drawn"]:
    """Draw the samples of `job`, and write its note, unless they are there. Files come whole or not at all."""
    if all((job.folder / sample.path).is_file() for sample in job.samples) and _is_noted(job):
        return "kept"
    model = job.tools.load()
    changes = job.condition.changes
    edits = [] if changes is None else changes.edits(model)
    watched = {one.name: one.changes.edits(model) for one in job.watched if one.changes is not None}
    gated = {name: some for name, some in watched.items() if is_gated_by_image(some)}
    with survey(model, gated) if gated else nullcontext() as found, same_threads(job.tools.threads):
        images = draw_samples(model, job.samples, edits, job.condition.negative_prompt)
    for sample, image in zip(job.samples, images, strict=True):
        save_picture(image, job.folder / sample.path)
    if job.note is not None:
        acts = {
            name: found.acts(name).tolist() if found and name in gated else [True] * len(images) for name in watched
        }
        atomic_write(job.note, lambda path: path.write_text(json.dumps(acts)))
    return "drawn"


def _is_noted(job: DrawJob) -> bool:
    """Whether the note, if there is to be one, knows of every watched condition."""
    if job.note is None:
        return True
    return job.note.is_file() and {one.name for one in job.watched} <= set(json.loads(job.note.read_text()))


def draw_samples(
    model: LoadedModel, samples: Sequence[Sample], edits: Sequence[Edit], negative_prompt: str = ""
) -> NDArray[np.uint8]:
    """Pixels [n, h, w, 3] of `samples` with `edits`, each from its own seed. UserError as of `check_branches`."""
    check_branches(model, edits, negatives=(negative_prompt,))
    multipliers = torch.tensor([sample.multiplier for sample in samples])
    if (multipliers != 1).any():
        edits = [replace(edit, strength=edit.strength * multipliers) for edit in edits]
    return generate(
        model, [sample.prompt for sample in samples], [sample.seed for sample in samples], batch_size=BATCH,
        negative_prompt=negative_prompt, edits=steered_batches(model, edits) if edits else None,
    )  # fmt: skip


# In which pictures an edit would act at all, found while they are made without it.


class GateSurvey:
    """For each name the pictures whose gates held at any step; calls of the pipeline count on, in order."""

    def __init__(self, names: Sequence[str]) -> None:
        self._parts: dict[str, list[Tensor]] = {name: [] for name in names}

    def acts(self, name: str) -> Tensor:
        """Bool [pictures]: where the edits of `name` would have acted at some step.

        Up to there the picture is the unsteered one, so where this is false the whole picture is.
        """
        return torch.cat(self._parts[name]) if self._parts[name] else torch.zeros(0, dtype=torch.bool)

    def _note(self, name: str, call: int, held: Tensor) -> None:
        parts = self._parts[name]
        if len(parts) < call:
            parts.append(held)
        else:
            parts[-1] = parts[-1] | held


def is_gated_by_image(edits: Sequence[Edit]) -> bool:
    """Whether every edit acts only in images that hold a concept, so that a survey can tell where."""
    return all(isinstance(edit.gate, ImageGate) for edit in edits)


@contextmanager
def survey(model: Any, edits: Mapping[str, Sequence[Edit]]) -> Iterator[GateSurvey]:
    """Watch the gates by image of `edits` (by name) while unsteered pictures are made inside the block.

    Raises ValueError for edits that act in all images.
    """
    pipeline = getattr(model, "pipeline", model)
    found = GateSurvey(list(edits))
    moved: dict[tuple[int, torch.device], Any] = {}
    by_module: dict[tuple[nn.Module, bool], list[tuple[str, Edit]]] = {}
    for name, some in edits.items():
        if not is_gated_by_image(some):
            raise ValueError(f"the edits of {name!r} act in every image")
        for edit in some:
            where = (resolve(pipeline, edit.hookpoint), edit.hookpoint.where == "in")
            device = execution_device(pipeline, where[0])
            by_module.setdefault(where, []).append((name, on_device(edit, device, moved)))
    with ExitStack() as stack:
        running = stack.enter_context(track(pipeline))
        image_gates = ImageGates(running)
        # First, as `steer` does it: gates are asked when the block that would be edited runs.
        image_gates.watch(stack, pipeline, [edit for users in by_module.values() for _, edit in users])
        for (module, before), users in by_module.items():
            note = _noting(users, running, image_gates, found)
            if before:
                stack.callback(module.register_forward_pre_hook(_before(note), with_kwargs=True).remove)
            else:
                stack.callback(module.register_forward_hook(_after(note)).remove)
        yield found


def _noting(
    users: Sequence[tuple[str, Edit]], running: PipelineState, image_gates: ImageGates, found: GateSurvey
) -> Callable[[Tensor], None]:
    def note(acts: Tensor) -> None:
        step = running.step
        if step is None:
            return
        halves = running.split(len(acts))
        for name, edit in users:
            if edit.steps is not None and not edit.steps[0] <= step.index <= edit.steps[1]:
                continue
            held = image_gates.of(edit.gate, len(acts))
            assert held is not None, "gated by image, as checked"
            rows = [held[part] for branch, part in halves if edit.sign(branch)]
            if rows:
                found._note(name, running.calls, torch.stack(rows).any(0).cpu())

    return note


def _before(note: Callable[[Tensor], None]) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:  # noqa: ARG001
        note(tensor_in(args, kwargs))

    return hook


def _after(note: Callable[[Tensor], None]) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001
        note(tensor_out(output))

    return hook
