"""The pictures of erased concepts: every method on the test prompts, beside the unsteered ones of the same seeds."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import polars as pl

from steerwright.dag import Dep, Out, Param, map_shards
from steerwright.errors import UserError
from steerwright.experiments.draw import Frame, draw, in_shards
from steerwright.experiments.latent_pictures import PictureJob, Tools, draw_pictures, where_edits_act
from steerwright.models.select import read_model
from steerwright.prompts.concept_suite import read_concept_prompts
from steerwright.prompts.suite import evenly
from steerwright.scoring.erasure_shots import (
    STEERED,
    UNSTEERED,
    ErasureShot,
    named_rows,
    steered_shots,
    unsteered_shots,
)
from steerwright.scoring.erasure_target import TOGETHER, ErasureTarget
from steerwright.steering.latents.erasure import ErasedConcept

RANDOM = "random"


def latent_images(
    model: Annotated[Path, Dep()],
    prompts: Annotated[Path, Dep()],
    saes: Annotated[Path, Dep()],
    moments: Annotated[Path, Dep()],
    chosen: Annotated[Path, Dep()],
    seeds: Annotated[list[int], Param()],
    methods: Annotated[dict[str, int | None], Param()],
    sequences: Annotated[list[list[str]], Param()],
    random_seed: Annotated[int, Param()],
    timed: Annotated[int, Param()],
    pictures: Annotated[Path, Out("pictures", resume=True)],
    notes: Annotated[Path, Out("notes", resume=True)],
    shots: Annotated[Path, Out("shots.parquet")],
    seconds: Annotated[Path, Out("seconds.json", cache=False)],
) -> None:
    """Draw the unsteered pictures once, then what each method changes for each target and each list of targets."""
    spec, identity = read_model(model)
    tools = Tools.at(spec, identity.digest, saes, moments)
    test = read_concept_prompts(prompts).filter(split="test")
    conditions = _conditions(json.loads(chosen.read_text()), methods, sequences, random_seed)
    plain = unsteered_shots(test, seeds)
    folder = pictures.absolute()
    unsteered = [
        PictureJob(tools=tools, folder=folder, frames=some, watched=conditions,
                   note=notes.absolute() / f"{number}.json")
        for number, some in enumerate(in_shards([_frame(shot) for shot in plain]))
    ]  # fmt: skip
    map_shards(draw_pictures, unsteered, "shards of unsteered pictures")
    acting = where_edits_act(unsteered)
    planned, jobs = list(plain), []
    for name, erased in conditions.items():
        target, _, method = name.rpartition(" / ")
        some = _part(plain, test, target, methods.get(method))
        made = steered_shots(some, target, method, max(one.strength for one in erased), acting[name])
        planned += made
        new = [_frame(shot) for shot, before in zip(made, some, strict=True) if shot.path != before.path]
        jobs += [PictureJob(tools=tools, folder=folder, frames=part, erased=erased) for part in in_shards(new)]
    map_shards(draw_pictures, jobs, "shards of steered pictures")
    took = _times(tools, conditions, plain, test, timed)
    seconds.write_text(json.dumps(took, indent=1) + "\n")
    table = pl.DataFrame([asdict(shot) for shot in planned], schema_overrides={"target": pl.String})
    condition = pl.concat_str(pl.col("target").fill_null(""), pl.lit(" / "), pl.col("method"))
    table.with_columns(
        pl.lit(True).alias("operating"),
        condition.replace_strict(took, default=None, return_dtype=pl.Float64).alias("seconds_per_picture"),
    ).write_parquet(shots)


def _conditions(
    decided: Mapping[str, Mapping[str, Any]],
    methods: Mapping[str, int | None],
    sequences: Sequence[Sequence[str]],
    random_seed: int,
) -> dict[str, tuple[ErasedConcept, ...]]:
    """`target / method` -> what is erased: each target by each method, and lists of targets by ours."""
    found: dict[str, tuple[ErasedConcept, ...]] = {}
    for target in decided:
        for method in methods:
            found[f"{target} / {method}"] = (_erased(decided, target, method, random_seed),)
    for targets in sequences:
        ErasureTarget.parse(TOGETHER.join(targets))
        each = tuple(_erased(decided, target, STEERED, random_seed) for target in targets)
        found[f"{TOGETHER.join(targets)} / {STEERED}"] = each
    return found


def _erased(decided: Mapping[str, Mapping[str, Any]], target: str, method: str, random_seed: int) -> ErasedConcept:
    if target not in decided:
        raise UserError(f"{target!r} was not searched for, so it cannot be erased; there are {', '.join(decided)}.")
    # The control is our own edit of other latents.
    known = decided[target].get(STEERED if method == RANDOM else method)
    if known is None:
        raise UserError(f"There is no method {method!r}; there are {', '.join(decided[target])} and {RANDOM}.")
    return ErasedConcept(
        concept=target, recipe=known["recipe"], strength=known["strength"],
        random=random_seed if method == RANDOM else None,
    )  # fmt: skip


def _part(plain: Sequence[ErasureShot], test: pl.DataFrame, target: str, count: int | None) -> list[ErasureShot]:
    """The pictures that a method is judged on: all, or those of `count` prompts, half of which name the target."""
    if count is None:
        return list(plain)
    ids, names = test["id"].to_list(), named_rows(test, target)
    having = evenly([id_ for id_, name in zip(ids, names, strict=True) if name], count // 2)
    others = evenly([id_ for id_, name in zip(ids, names, strict=True) if not name], count - len(having))
    return [shot for shot in plain if shot.prompt_id in {*having, *others}]


def _frame(shot: ErasureShot) -> Frame:
    return Frame(prompt=shot.prompt, seed=shot.seed, path=shot.path)


def _times(
    tools: Tools,
    conditions: Mapping[str, tuple[ErasedConcept, ...]],
    plain: Sequence[ErasureShot],
    test: pl.DataFrame,
    count: int,
) -> dict[str, float]:
    """Seconds a picture, by condition, in one batch of `count` pictures whose prompts name the target.

    Each method with one target of each axis, right after one another, so that they stand beside each other fairly.
    """
    model, took, seen = tools.load(), dict[str, float](), set[tuple[str, str]]()
    if not count:
        return took
    frames = [_frame(shot) for shot in plain[:count]]
    draw(model, frames[:1], [])
    for name, erased in {f" / {UNSTEERED}": (), **conditions}.items():
        target, _, method = name.rpartition(" / ")
        kind = (ErasureTarget.parse(target).axes[0] if target else "", method)
        if kind in seen or TOGETHER in target:
            continue
        seen.add(kind)
        if target:
            named = dict(zip(test["id"].to_list(), named_rows(test, target), strict=True))
            frames = [_frame(shot) for shot in plain if named[shot.prompt_id]][:count]
        edits = tools.edits(erased)
        start = time.perf_counter()
        draw(model, frames, edits)
        took[name] = (time.perf_counter() - start) / max(1, len(frames))
    return took
