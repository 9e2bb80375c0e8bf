"""The pictures: every edit at every strength on some seeds, the operating point on all seeds, and the controls."""

import json
import logging
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

from steerwright.dag import Dep, Out, Param, map_shards
from steerwright.experiments.draw import Condition, GivenEdits, ModelTools, draw
from steerwright.files import link_or_copy
from steerwright.models.attention_blocks import Attention, attention_blocks
from steerwright.models.generate import guided
from steerwright.models.schedule import timesteps
from steerwright.models.select import read_model
from steerwright.scoring.samples import UNSTEERED, EditPlan, EditSample
from steerwright.steering.apply import check_branches
from steerwright.steering.attention import attention_edits
from steerwright.vectors.estimators.random_direction import random_like
from steerwright.vectors.formats.vectors_file import load_vectors

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
    tools = ModelTools.here(spec, identity.digest)
    loaded = tools.load()
    blocks = attention_blocks(loaded.pipeline, attention)
    schedule = timesteps(loaded.pipeline, spec.steps)
    plan = EditPlan.read(prompts, edits)
    decided = json.loads(chosen.read_text())
    planned = {name: plan.samples(name, decided[name]["strength"], seeds) for name in plan.edits}
    if not guided(loaded):
        log.warning("%s runs no unconditional branch: there is no control by a negative prompt", spec.name)
        planned = {name: [one for one in some if not one.negative_prompt] for name, some in planned.items()}

    def changes(name: str, strength: float, *, randomly: bool = False) -> GivenEdits:
        edit = plan.edits[name]
        found = load_vectors(vectors / f"{edit.concept}.safetensors", identity)
        target = load_vectors(vectors / f"{edit.target}.safetensors", identity) if edit.target else None
        made = attention_edits(
            edit.action, found, strength, blocks=blocks, timesteps=schedule, target=target,
            recipe=edit.recipe(tuple(decided[name]["places"])),
            along=random_like(found, random_direction_seed) if randomly else None,
        )  # fmt: skip
        check_branches(loaded, made)
        return GivenEdits(tuple(made))

    steered: list[tuple[Condition, list[EditSample]]] = []
    for suite in dict.fromkeys(edit.suite for edit in plan.edits.values()):
        names = [name for name, edit in plan.edits.items() if edit.suite == suite]
        # The edits of a suite share its unsteered pictures.
        plain = [one for one in planned[names[0]] if one.condition == UNSTEERED]
        acts = draw(
            tools, [(Condition(UNSTEERED), plain)], pictures, map_shards,
            watched=[Condition(name, changes(name, 1.0)) for name in names], notes=pictures / suite / "gates",
            what="shards of unsteered pictures",
        )  # fmt: skip
        for name in names:
            for condition, group in groupby(planned[name], key=lambda one: one.condition):
                some = list(group)
                first = some[0]
                if first.steering == "none":
                    if condition != UNSTEERED:
                        steered.append((Condition(condition, None, first.negative_prompt), some))
                    continue
                for one in some:
                    if not acts[name][one.unsteered] and not (pictures / one.path).is_file():
                        link_or_copy(pictures / one.unsteered, pictures / one.path)
                acting = [one for one in some if acts[name][one.unsteered]]
                change = changes(name, first.strength, randomly=first.steering == "random")
                steered.append((Condition(condition, change), acting))
    draw(tools, steered, pictures, map_shards, what="shards of steered pictures")
