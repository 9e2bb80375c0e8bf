"""How each concept is erased: recipe and strength chosen on tuning prompts, never on the prompts that are scored."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import polars as pl

from seasons.label_set import SEASONS_WORLD
from steerwright.dag import Dep, Out, Param, map_shards
from steerwright.experiments.draw import Condition, ModelTools, draw
from steerwright.experiments.search_latents import LatentAttempt, SearchJob, Tuned, search_target
from steerwright.images import Sample
from steerwright.models.select import read_model
from steerwright.prompts.concept_table import read_concept_prompts
from steerwright.scoring.axis_judge import axis_phrases
from steerwright.scoring.clip import scorer_here
from steerwright.scoring.erasure_samples import STEERED, concepts_of, named_rows, tuning_rows
from steerwright.steering.latents.edits import LatentRecipe
from steerwright.steering.latents.erasure import ConceptChange, LatentChanges, parse_methods


def search_latents(
    model: Annotated[Path, Dep()],
    prompts: Annotated[Path, Dep()],
    saes: Annotated[Path, Dep()],
    moments: Annotated[Path, Dep()],
    judges: Annotated[Path, Dep()],  # noqa: ARG001  # read by its name in params; here so that new weights count
    clip: Annotated[str, Param("/scorers.clip")],
    axes: Annotated[list[str], Param("/latents.concepts.axes")],
    targets: Annotated[list[str], Param()],
    methods: Annotated[dict[str, Any], Param()],
    named: Annotated[int, Param()],
    others: Annotated[int, Param()],
    goal: Annotated[float, Param()],
    floor: Annotated[float, Param()],
    work: Annotated[Path, Out("tried", resume=True)],
    trials: Annotated[Path, Out("trials.parquet")],
    chosen: Annotated[Path, Out("chosen.json")],
    metrics: Annotated[Path, Out("metrics.json", kind="metrics", cache=False)],
) -> None:
    """Try each method's recipes on every target, the least edit first, until one erases it and keeps the rest."""
    spec, identity = read_model(model)
    table = read_concept_prompts(prompts)
    concepts = concepts_of(table, targets, axes)
    candidates = parse_methods(methods, list(dict.fromkeys(concept.partition(":")[0] for concept in concepts)))
    tools = ModelTools.here(spec, identity.digest)
    tuning = table.filter(split="tuning")
    rows = {concept: tuning_rows(tuning, concept, named, others) for concept in concepts}
    used = sorted({row for some in rows.values() for row in some})
    samples = {row: Sample(tuning["prompt"][row], tuning["seed"][row], f"unsteered/{row}.png") for row in used}
    watched: dict[str, Condition] = {}
    for concept in concepts:
        for recipe, _ in candidates.get(STEERED, {}).get(concept.partition(":")[0], []):
            if recipe.gate is not None:
                one = ConceptChange(concept=concept, recipe=recipe, strength=1.0)
                name = _gate(concept, recipe)
                watched.setdefault(name, Condition(name, LatentChanges(saes.absolute(), moments.absolute(), (one,))))
    acts = draw(
        tools, [(Condition("unsteered"), list(samples.values()))], work, map_shards, watched=list(watched.values()),
        notes=work / "notes", what="shards of unsteered pictures",
    )  # fmt: skip
    values = axis_phrases(table, axes, SEASONS_WORLD)
    jobs = [
        SearchJob(
            tools=tools, saes=saes.absolute(), moments=moments.absolute(), target=concept, method=method,
            pictures=work.absolute(), folder=work.absolute() / "trials",
            attempts=tuple(
                LatentAttempt(recipe=recipe, strength=strength,
                        acts=_acts(acts.get(_gate(concept, recipe)), [samples[row] for row in rows[concept]]))
                for recipe, strength in by_axis[concept.partition(":")[0]]
            ),
            samples=tuple(samples[row] for row in rows[concept]),
            named=tuple(named_rows(tuning, concept)[row] for row in rows[concept]),
            axes=values, clip=scorer_here(clip), rule="least" if method == STEERED else "best", goal=goal, floor=floor,
        )
        for method, by_axis in candidates.items()
        for concept in concepts
    ]  # fmt: skip
    found = [Tuned.model_validate(one) for one in map_shards(search_target, jobs, "targets")]
    pl.DataFrame(
        [row for job, tuned in zip(jobs, found, strict=True) for row in _trials(job, tuned)],
        schema={"target": pl.String, "method": pl.String, "number": pl.Int64, "recipe": pl.String,
                "strength": pl.Float64, "wanted": pl.Float64, "kept": pl.Float64, "chosen": pl.Boolean},
    ).write_parquet(trials)  # fmt: skip
    decided: dict[str, dict[str, Any]] = {concept: {} for concept in concepts}
    for job, tuned in zip(jobs, found, strict=True):
        attempt = job.attempts[tuned.chosen]
        wanted, kept = tuned.trials[tuned.chosen] if tuned.trials else (None, None)
        decided[job.target][job.method] = {
            "recipe": attempt.recipe.model_dump(exclude_defaults=True), "strength": attempt.strength,
            "wanted": wanted, "kept": kept, "reached": tuned.reached,
        }  # fmt: skip
    chosen.write_text(json.dumps(decided, indent=1) + "\n")
    numbers = {
        concept: {key: steered[key] for key in ("strength", "wanted", "kept")}
        for concept, by_method in decided.items()
        if (steered := by_method.get(STEERED))
    }
    metrics.write_text(json.dumps(numbers, indent=1) + "\n")


def _gate(concept: str, recipe: LatentRecipe) -> str:
    """A name for the gate by image that `recipe` has for `concept`: recipes that look alike share it."""
    at = recipe.gate_at or recipe.places[0]
    return f"{concept} {at} {recipe.gate_top} {recipe.gate} {recipe.gate_until} {recipe.window} {recipe.branch}"


def _acts(acts: Mapping[str, bool] | None, samples: Sequence[Sample]) -> tuple[int, ...] | None:
    return None if acts is None else tuple(number for number, one in enumerate(samples) if acts[one.path])


def _trials(job: SearchJob, tuned: Tuned) -> Iterator[dict[str, Any]]:
    for number, (wanted, kept) in enumerate(tuned.trials):
        attempt = job.attempts[number]
        yield {
            "target": job.target, "method": job.method, "number": number,
            "recipe": attempt.recipe.model_dump_json(exclude_defaults=True), "strength": attempt.strength,
            "wanted": wanted, "kept": kept, "chosen": number == tuned.chosen,
        }  # fmt: skip
