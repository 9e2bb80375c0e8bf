"""The pictures of every edit: each strength, the operating point on all seeds, and the controls."""

import json
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

from steerkit.dag import Dep, Out, Param, progress
from steerkit.models.attention_blocks import Attention, attention_blocks
from steerkit.models.generate import generate
from steerkit.models.load import load_model
from steerkit.models.schedule import timesteps
from steerkit.models.select import read_model
from steerkit.report.picture_folder import PictureFolder
from steerkit.scoring.edit_plan import EditPlan
from steerkit.steering.apply import steered_batches
from steerkit.steering.attention_edit import attention_edits
from steerkit.vectors.random_direction import random_like
from steerkit.vectors.vectors_file import load_vectors

BATCH = 16


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
    total, done = sum(map(len, planned.values())), 0
    for name, edit in plan.edits.items():
        found = load_vectors(vectors / f"{edit.concept}.safetensors", identity)
        target = load_vectors(vectors / f"{edit.target}.safetensors", identity) if edit.target else None
        act = partial(
            attention_edits, edit.action, found, blocks=blocks, timesteps=schedule, target=target,
            recipe=edit.recipe(tuple(decided[name]["places"])),
        )  # fmt: skip
        random = random_like(found, random_direction_seed)
        for condition, group in groupby(planned[name], key=lambda shot: shot.condition):
            some = list(group)
            folder = PictureFolder(pictures / some[0].folder)
            missing = [shot for shot in some if not folder.has(shot.prompt_id, shot.seed, condition)]
            done += len(some) - len(missing)
            for start in range(0, len(missing), BATCH):
                part = missing[start : start + BATCH]
                shot = part[0]
                changes = [] if shot.steering == "none" else act(
                    shot.strength, along=random if shot.steering == "random" else None
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
