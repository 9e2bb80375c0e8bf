"""Where and how strongly each edit acts: decided on tuning prompts, never on the prompts that are scored."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
import torch

from seasons.label_set import SEASONS_WORLD
from steerwright.dag import Dep, Out, Param, progress
from steerwright.experiments.operating_point import Tried, operating_point
from steerwright.models.attention_blocks import Attention, attention_blocks
from steerwright.models.generate import generate
from steerwright.models.load import load_model
from steerwright.models.schedule import timesteps
from steerwright.models.select import read_model
from steerwright.prompts.suite import evenly
from steerwright.scoring.clip import ClipScorer
from steerwright.scoring.judges import ConceptJudge, Seen, kept_by, labels_kept
from steerwright.scoring.samples import EditPlan, reworded_for
from steerwright.steering.apply import check_branches, steered_batches
from steerwright.steering.attention import attention_edits
from steerwright.vectors.formats.vectors_file import load_vectors

BATCH = 16


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
    kept: Annotated[Literal["labels", "prompt", "directional"], Param()],
    floor: Annotated[float, Param()],
    work: Annotated[Path, Out("tried", resume=True)],
    trials: Annotated[Path, Out("trials.parquet")],
    chosen: Annotated[Path, Out("chosen.json")],
    metrics: Annotated[Path, Out("metrics.json", kind="metrics", cache=False)],
) -> None:
    """Try every place and strength of every edit, and choose the least that does what is wanted."""
    spec, identity = read_model(model)
    loaded = load_model(spec, identity.digest)
    blocks = attention_blocks(loaded.pipeline, attention)
    schedule = timesteps(loaded.pipeline, spec.steps)
    plan = EditPlan.read(prompts, edits)
    concepts, specs = plan.concepts, plan.edits
    judge = ConceptJudge(ClipScorer(clip), SEASONS_WORLD)
    unsteered: dict[str, Seen] = {}
    work.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    decided: dict[str, Any] = {}
    total, done = sum(len(one.candidates) for one in specs.values()), 0
    for name, edit in specs.items():
        texts = evenly([row["prompt"] for row in plan.suites[edit.suite]["tuning"]], count)
        asked, drawn = [text for text in texts for _ in seeds], [seed for _ in texts for seed in seeds]
        if edit.suite not in unsteered:
            unsteered[edit.suite] = judge.see(generate(loaded, asked, drawn, batch_size=BATCH))
        plain, concept = unsteered[edit.suite], concepts[edit.concept]
        wanted_of = concepts[edit.target] if edit.target else concept
        contains = torch.tensor([concept.kind(text) == "contains" for text in asked])
        # Adding is for all prompts that lack the concept; erasing and replacing can be seen only where there is one.
        meant = ~contains if edit.action == "add" else contains
        meant_words = [reworded_for(edit, concept, concepts, text) for text in asked]
        found = load_vectors(vectors / f"{edit.concept}.safetensors", identity)
        target = load_vectors(vectors / f"{edit.target}.safetensors", identity) if edit.target else None
        tried: list[Tried] = []
        for number, candidate in enumerate(edit.candidates):
            progress(done, total, "candidates")
            done += 1
            kept_file = work / f"{name}-{number}.json"
            if kept_file.exists():
                tried.append(Tried(candidate, **json.loads(kept_file.read_text())))
                continue
            changes = attention_edits(
                edit.action, found, candidate.strength, blocks=blocks, timesteps=schedule,
                recipe=edit.recipe(candidate.places), target=target,
            )  # fmt: skip
            check_branches(loaded, changes)
            images = generate(loaded, asked, drawn, batch_size=BATCH, edits=steered_batches(loaded, changes))
            seen = judge.see(images)
            probability = judge.probability(seen, wanted_of)
            wanted = (1 - probability if edit.action == "erase" else probability)[meant].mean().item()
            if kept == "labels":
                same = labels_kept(seen.labels, plain.labels, wanted_of.label)
                if edit.action != "add":
                    # Where the concept is not, everything is to stay, also what the concept's label says.
                    same = torch.where(contains, same, labels_kept(seen.labels, plain.labels, None))
            else:
                # What is taken out of a prompt is no similarity that is to be kept.
                stays = meant_words if kept == "prompt" and edit.action != "add" else asked
                same = kept_by(kept, judge.clip, seen.embeddings, plain.embeddings, stays, meant_words)
            tried.append(Tried(candidate, wanted, same.mean().item()))
            partial = kept_file.with_suffix(".partial")
            partial.write_text(json.dumps({"wanted": tried[-1].wanted, "kept": tried[-1].kept}))
            partial.replace(kept_file)
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
    progress(total, total, "candidates")
    pl.DataFrame(rows).write_parquet(trials)
    chosen.write_text(json.dumps(decided, indent=1) + "\n")
    numbers = {name: {key: one[key] for key in ("strength", "wanted", "kept")} for name, one in decided.items()}
    metrics.write_text(json.dumps(numbers, indent=1) + "\n")
