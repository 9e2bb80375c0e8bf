"""The pictures of every edit: each strength, the operating point on all seeds, and the controls."""

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Protocol

from steerwright.dag import Dep, Out, Param, progress
from steerwright.images import PictureFolder
from steerwright.models.attention_blocks import Attention, attention_blocks
from steerwright.models.generate import generate, generate_batches, guided
from steerwright.models.load import LoadedModel, load_model
from steerwright.models.schedule import timesteps
from steerwright.models.select import read_model
from steerwright.scoring.samples import UNSTEERED, EditPlan
from steerwright.steering.algebra import Edit
from steerwright.steering.apply import check_branches, steered_batches
from steerwright.steering.attention import attention_edits
from steerwright.steering.gate_survey import is_gated_by_image, survey
from steerwright.vectors.estimators.random_direction import random_like
from steerwright.vectors.formats.vectors_file import load_vectors

BATCH = 16
log = logging.getLogger(__name__)


def steer_images(
    model: Annotated[Path, Dep()],
    prompts: Annotated[Path, Dep()],
    vectors: Annotated[Path, Dep()],
    chosen: Annotated[Path, Dep()],
    attention: Annotated[list[Attention], Param("/attention.activations.attention")],
    edits: Annotated[dict[str, Any], Param("/attention.edits")],
    seeds: Annotated[dict[str, Any], Param()],
    random_direction_seed: Annotated[int, Param()],
    pictures: Annotated[Path, Out("pictures", resume=True)],
) -> None:
    """Make the pictures of every edit and of its controls, on the same seeds."""
    spec, identity = read_model(model)
    loaded = load_model(spec, identity.digest)
    blocks = attention_blocks(loaded.pipeline, attention)
    schedule = timesteps(loaded.pipeline, spec.steps)
    plan = EditPlan.read(prompts, edits)
    decided = json.loads(chosen.read_text())
    planned = {name: plan.shots(name, decided[name]["strength"], seeds) for name in plan.edits}
    if not guided(loaded):
        log.warning("%s runs no unconditional branch: there is no control by a negative prompt", spec.name)
        planned = {name: [shot for shot in some if not shot.negative] for name, some in planned.items()}
    total, done = sum(map(len, planned.values())), 0

    def edits_of(name: str, strength: float, *, randomly: bool = False) -> list[Edit]:
        edit = plan.edits[name]
        found = load_vectors(vectors / f"{edit.concept}.safetensors", identity)
        target = load_vectors(vectors / f"{edit.target}.safetensors", identity) if edit.target else None
        made = attention_edits(
            edit.action, found, strength, blocks=blocks, timesteps=schedule, target=target,
            recipe=edit.recipe(tuple(decided[name]["places"])),
            along=random_like(found, random_direction_seed) if randomly else None,
        )  # fmt: skip
        check_branches(loaded, made)
        return made

    acts: dict[str, set[tuple[int, int]]] = {}
    for name, edit in plan.edits.items():
        suite = PictureFolder(pictures / edit.suite)
        for condition, group in groupby(planned[name], key=lambda shot: shot.condition):
            some = list(group)
            folder = PictureFolder(pictures / some[0].folder)
            if condition == UNSTEERED and name not in acts:
                watched = {other: edits_of(other, 1.0) for other, it in plan.edits.items() if it.suite == edit.suite}
                count = partial(lambda before, now: progress(before + now, total, "pictures"), done)
                acts |= draw_unsteered(loaded, suite, UNSTEERED, some, watched, BATCH, count)
            missing = [shot for shot in some if not folder.has(shot.prompt_id, shot.seed, condition)]
            if some[0].steering != "none":
                # Where no gate of the edit opens it leaves the unsteered picture.
                for shot in missing:
                    if (shot.prompt_id, shot.seed) not in acts[name]:
                        folder.take(shot.prompt_id, shot.seed, condition, suite, UNSTEERED)
                missing = [shot for shot in missing if (shot.prompt_id, shot.seed) in acts[name]]
            done += len(some) - len(missing)
            for start in range(0, len(missing), BATCH):
                part = missing[start : start + BATCH]
                shot = part[0]
                changes = [] if shot.steering == "none" else edits_of(
                    name, shot.strength, randomly=shot.steering == "random"
                )  # fmt: skip
                images = generate(
                    loaded, [shot.asked for shot in part], [shot.seed for shot in part], batch_size=BATCH,
                    negative_prompt=shot.negative, edits=steered_batches(loaded, changes),
                )  # fmt: skip
                for shot, image in zip(part, images, strict=True):
                    folder.save(shot.prompt_id, shot.seed, condition, image)
                done += len(part)
                progress(done, total, "pictures")
    progress(total, total, "pictures")


# Unsteered pictures on disk, and in which of them the gates of each edit open: an edit leaves all others as they are.
#
# Up to the first step at which its gate opens an edit changes nothing, so the picture in which none ever opens is the
# unsteered picture to the bit, and need not be made again.

NOTE = "gates.json"
Key = tuple[int, int]
"""A prompt's id and a seed."""


class Wanted(Protocol):
    """A picture to make."""

    @property
    def prompt_id(self) -> int: ...
    @property
    def prompt(self) -> str: ...
    @property
    def seed(self) -> int: ...


def draw_unsteered(
    model: LoadedModel,
    folder: PictureFolder,
    condition: str,
    wanted: Sequence[Wanted],
    watched: Mapping[str, Sequence[Edit]],
    batch_size: int,
    progress: Callable[[int], None],
) -> dict[str, set[Key]]:
    """Draw the `wanted` pictures as `condition` of `folder`; by name of the `watched` edits those in which they act.

    What was found is in `gates.json` of the folder, which comes last and whole: without it, or where it does not know
    of an edit, all are drawn. Edits without a gate by image act in all. `progress(pictures done)`.
    """
    keys = [(one.prompt_id, one.seed) for one in wanted]
    note = folder.folder / NOTE
    found = json.loads(note.read_text()) if note.is_file() else {}
    drawn = all(folder.has(*key, condition) for key in keys)
    if not drawn or set(found) != set(watched):
        gated = {name: edits for name, edits in watched.items() if is_gated_by_image(edits)}
        done = 0
        with survey(model, gated) if gated else nullcontext() as seen:
            prompts, seeds = [one.prompt for one in wanted], [one.seed for one in wanted]
            for batch, images in generate_batches(model, prompts, seeds, batch_size=batch_size):
                for key, image in zip(keys[batch.start : batch.stop], images, strict=True):
                    folder.save(*key, condition, image)
                done += len(images)
                progress(done)
        found = {}
        for name in watched:
            acts = seen.acts(name).tolist() if seen and name in gated else [True] * len(keys)
            found[name] = [f"{id_}-{seed}" for (id_, seed), holds in zip(keys, acts, strict=True) if holds]
        note.parent.mkdir(parents=True, exist_ok=True)
        partial = note.with_suffix(".partial")
        partial.write_text(json.dumps(found, indent=1) + "\n")
        os.replace(partial, note)
    return {name: {key for key in keys if f"{key[0]}-{key[1]}" in set(found[name])} for name in watched}
