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
from steerwright.experiments.draw import Condition, ModelTools, draw, draw_samples
from steerwright.models.select import read_model
from steerwright.prompts.concept_table import evenly, read_concept_prompts
from steerwright.scoring.erasure_samples import (
    COLUMNS,
    STEERED,
    TOGETHER,
    UNSTEERED,
    ErasureSample,
    ErasureTarget,
    named_rows,
    steered_samples,
    unsteered_samples,
)
from steerwright.steering.latents.erasure import ConceptChange, LatentChanges

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
    tools = ModelTools.here(spec, identity.digest)
    test = read_concept_prompts(prompts).filter(split="test")
    erasing = _conditions(json.loads(chosen.read_text()), methods, sequences, random_seed)
    conditions = {
        name: Condition(name, LatentChanges(saes.absolute(), moments.absolute(), erased))
        for name, erased in erasing.items()
    }
    plain = unsteered_samples(test, seeds)
    acts = draw(
        tools, [(Condition(UNSTEERED), plain)], pictures, map_shards, watched=list(conditions.values()), notes=notes,
        what="shards of unsteered pictures",
    )  # fmt: skip
    planned, steered = list(plain), list[tuple[Condition, list[ErasureSample]]]()
    for name, erased in erasing.items():
        target, _, method = name.rpartition(" / ")
        some = _part(plain, test, target, methods.get(method))
        made = steered_samples(some, target, method, max(one.strength for one in erased), acts[name])
        planned += made
        new = [one for one, before in zip(made, some, strict=True) if one.path != before.path]
        steered.append((conditions[name], new))
    draw(tools, steered, pictures, map_shards, what="shards of steered pictures")
    took = _times(tools, conditions, plain, test, timed)
    seconds.write_text(json.dumps(took, indent=1) + "\n")
    columns = [name for name in COLUMNS if name != "operating"]
    table = pl.DataFrame([asdict(one) for one in planned], schema_overrides={"target": pl.String}).select(columns)
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
) -> dict[str, tuple[ConceptChange, ...]]:
    """`target / method` -> what is erased: each target by each method, and lists of targets by ours."""
    found: dict[str, tuple[ConceptChange, ...]] = {}
    for target in decided:
        for method in methods:
            found[f"{target} / {method}"] = (_erased(decided, target, method, random_seed),)
    for targets in sequences:
        ErasureTarget.parse(TOGETHER.join(targets))
        each = tuple(_erased(decided, target, STEERED, random_seed) for target in targets)
        found[f"{TOGETHER.join(targets)} / {STEERED}"] = each
    return found


def _erased(decided: Mapping[str, Mapping[str, Any]], target: str, method: str, random_seed: int) -> ConceptChange:
    if target not in decided:
        raise UserError(f"{target!r} was not searched for, so it cannot be erased; there are {', '.join(decided)}.")
    # The control is our own edit of other latents.
    known = decided[target].get(STEERED if method == RANDOM else method)
    if known is None:
        raise UserError(f"There is no method {method!r}; there are {', '.join(decided[target])} and {RANDOM}.")
    return ConceptChange(
        concept=target, recipe=known["recipe"], strength=known["strength"],
        random=random_seed if method == RANDOM else None,
    )  # fmt: skip


def _part(plain: Sequence[ErasureSample], test: pl.DataFrame, target: str, count: int | None) -> list[ErasureSample]:
    """The pictures that a method is judged on: all, or those of `count` prompts, half of which name the target."""
    if count is None:
        return list(plain)
    ids, names = test["id"].to_list(), named_rows(test, target)
    having = evenly([id_ for id_, name in zip(ids, names, strict=True) if name], count // 2)
    others = evenly([id_ for id_, name in zip(ids, names, strict=True) if not name], count - len(having))
    return [shot for shot in plain if shot.prompt_id in {*having, *others}]


def _times(
    tools: ModelTools,
    conditions: Mapping[str, Condition],
    plain: Sequence[ErasureSample],
    test: pl.DataFrame,
    count: int,
) -> dict[str, float]:
    """Seconds a picture, by condition, in one batch of `count` pictures whose prompts name the target.

    Each method with one target of each axis, right after one another, so that they stand beside each other fairly.
    """
    model, took, seen = tools.load(), dict[str, float](), set[tuple[str, str]]()
    if not count:
        return took
    samples = plain[:count]
    draw_samples(model, samples[:1], [])
    for name, condition in {f" / {UNSTEERED}": Condition(UNSTEERED), **conditions}.items():
        target, _, method = name.rpartition(" / ")
        kind = (ErasureTarget.parse(target).axes[0] if target else "", method)
        if kind in seen or TOGETHER in target:
            continue
        seen.add(kind)
        if target:
            named = dict(zip(test["id"].to_list(), named_rows(test, target), strict=True))
            samples = [one for one in plain if named[one.prompt_id]][:count]
        edits = condition.changes.edits(model) if condition.changes else []
        start = time.perf_counter()
        draw_samples(model, samples, edits)
        took[name] = (time.perf_counter() - start) / max(1, len(samples))
    return took
