"""Where and how strongly each edit acts: decided on tuning prompts, never on the prompts that are scored."""

import json
from pathlib import Path
from typing import Annotated, Any

import polars as pl

from seasons.label_set import SEASONS_WORLD
from steerwright.dag import Dep, Out, Param, map_shards
from steerwright.experiments.draw import GivenEdits, ModelTools
from steerwright.experiments.operating_point import Tried, operating_point
from steerwright.experiments.tuning import ConceptMeasure, KeptBy, Trials, try_all
from steerwright.images import Sample
from steerwright.models.attention_blocks import Attention, attention_blocks
from steerwright.models.schedule import timesteps
from steerwright.models.select import read_model
from steerwright.prompts.concept_table import evenly
from steerwright.scoring.clip import scorer_here
from steerwright.scoring.samples import EditPlan, reworded_for
from steerwright.steering.apply import check_branches
from steerwright.steering.attention import Candidate, attention_edits
from steerwright.vectors.formats.vectors_file import load_vectors


def search_edits(
    model: Annotated[Path, Dep()],
    prompts: Annotated[Path, Dep()],
    vectors: Annotated[Path, Dep()],
    judges: Annotated[Path, Dep()],  # noqa: ARG001  # read by its name in params; here so that new weights count
    clip: Annotated[str, Param("/scorers.clip")],
    attention: Annotated[list[Attention], Param("/attention.activations.attention")],
    edits: Annotated[dict[str, Any], Param("/attention.edits")],
    count: Annotated[int, Param("prompts")],
    seeds: Annotated[list[int], Param()],
    kept: Annotated[KeptBy, Param()],
    floor: Annotated[float, Param()],
    work: Annotated[Path, Out("tried", resume=True)],
    trials: Annotated[Path, Out("trials.parquet")],
    chosen: Annotated[Path, Out("chosen.json")],
    metrics: Annotated[Path, Out("metrics.json", kind="metrics", cache=False)],
) -> None:
    """Try every place and strength of every edit, and choose the least that does what is wanted."""
    spec, identity = read_model(model)
    tools = ModelTools.here(spec, identity.digest)
    loaded = tools.load()
    blocks = attention_blocks(loaded.pipeline, attention)
    schedule = timesteps(loaded.pipeline, spec.steps)
    plan = EditPlan.read(prompts, edits)
    concepts = plan.concepts
    rows: list[dict[str, Any]] = []
    decided: dict[str, Any] = {}
    for name, edit in plan.edits.items():
        texts = evenly([row["prompt"] for row in plan.suites[edit.suite]["tuning"]], count)
        samples = tuple(
            Sample(text, seed, f"unsteered/{edit.suite}/{number}-{seed}.png")
            for number, text in enumerate(texts)
            for seed in seeds
        )
        concept = concepts[edit.concept]
        own = load_vectors(vectors / f"{edit.concept}.safetensors", identity)
        target = load_vectors(vectors / f"{edit.target}.safetensors", identity) if edit.target else None

        def changes(candidate: Candidate, edit: Any = edit, own: Any = own, target: Any = target) -> GivenEdits:
            made = attention_edits(
                edit.action, own, candidate.strength, blocks=blocks, timesteps=schedule,
                recipe=edit.recipe(candidate.places), target=target,
            )  # fmt: skip
            check_branches(loaded, made)
            return GivenEdits(tuple(made))

        asked = tuple(one.prompt for one in samples)
        measure = ConceptMeasure(
            asked, tuple(reworded_for(edit, concept, concepts, text) for text in asked), edit.action, concept,
            concepts[edit.target] if edit.target else concept, kept, scorer_here(clip), SEASONS_WORLD,
        )  # fmt: skip
        found = try_all(
            Trials(tools, work.absolute(), samples, measure),
            [changes(one) for one in edit.candidates],
            name,
            map_shards,
        )
        tried = [Tried(one, **numbers) for one, numbers in zip(edit.candidates, found, strict=True)]
        best = operating_point(tried, goal=edit.goal, floor=floor)
        rows += [
            {"edit": name, "places": ", ".join(t.candidate.places), "strength": t.candidate.strength,
             "wanted": t.wanted, "kept": t.kept, "chosen": t is best}
            for t in tried
        ]  # fmt: skip
        decided[name] = {
            **edit.model_dump(exclude={"places", "strengths"}),
            "places": best.candidate.places, "strength": best.candidate.strength,
            "wanted": best.wanted, "kept": best.kept, "reached": best.wanted >= edit.goal and best.kept >= floor,
        }  # fmt: skip
    pl.DataFrame(rows).write_parquet(trials)
    chosen.write_text(json.dumps(decided, indent=1) + "\n")
    numbers = {name: {key: one[key] for key in ("strength", "wanted", "kept")} for name, one in decided.items()}
    metrics.write_text(json.dumps(numbers, indent=1) + "\n")
