"""The pictures: every prompt and seed unsteered, steered alike, steered adaptively, and both controls."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray

from seasons.label_set import SEASONS_WORLD
from steerwright.activations.prompt_tokens import token_types
from steerwright.activations.text_encoder import text_activations
from steerwright.activations.token_policy import PromptActivations
from steerwright.dag import Dep, Out, Param, map_shards
from steerwright.experiments.closed_loop import ClosedLoop
from steerwright.experiments.draw import BATCH, Condition, GivenEdits, ModelTools, draw, draw_samples
from steerwright.experiments.projection import Calibration, at_once, calibrate, projections
from steerwright.experiments.strategy import Evidence, doses, strategy_with_words
from steerwright.images import Sample, picture_path
from steerwright.models.generate import generate
from steerwright.models.load import LoadedModel
from steerwright.models.select import read_model
from steerwright.scoring.clip import ClipScorer
from steerwright.scoring.judges import Judged, TuningJudge
from steerwright.scoring.target import read_target
from steerwright.steering.algebra import Edit
from steerwright.steering.text_encoder import text_edit
from steerwright.vectors.estimators.random_direction import random_like
from steerwright.vectors.formats.vectors_file import load_vectors
from steerwright.vectors.steering_vectors import SteeringVectors


def adaptive_winter(
    model: Annotated[Path, Dep()],
    target: Annotated[Path, Dep()],
    prompts: Annotated[Path, Dep()],
    pairs: Annotated[Path, Dep()],
    vectors: Annotated[Path, Dep()],
    best: Annotated[Path, Dep()],
    judges: Annotated[Path, Dep()],  # noqa: ARG001  # read by its name in params; here so that new weights count
    clip: Annotated[str, Param("/scorers.clip")],
    words: Annotated[dict[str, Any], Param("/winter.resistance")],
    strategy: Annotated[dict[str, Any], Param()],
    seeds: Annotated[list[int], Param()],
    search_seeds: Annotated[list[int], Param()],
    random_direction_seed: Annotated[int, Param()],
    pictures: Annotated[Path, Out("pictures", resume=True)],
    dose_table: Annotated[Path, Out("doses.json")],
) -> None:
    """Make the pictures of every condition on the same seeds."""
    spec, identity = read_model(model)
    tools = ModelTools.here(spec, identity.digest)
    loaded = tools.load()
    directions = load_vectors(vectors, identity)
    wanted = read_target(target, SEASONS_WORLD)
    chosen = json.loads(best.read_text())
    suites = json.loads(prompts.read_text())
    scored = suites["scored"]
    texts = [row["prompt"] for row in scored]

    def edits(of: SteeringVectors) -> list[Edit]:
        layers, strengths, branch, units = (chosen[key] for key in ("layers", "strengths", "branch", "units"))
        return text_edit(of, layers, strengths, branch=branch, units=units)

    def steered(asked: Sequence[str], multipliers: Sequence[float], drawn: Sequence[int]) -> NDArray[np.uint8]:
        tried = [Sample(*one[:2], "", one[2]) for one in zip(asked, drawn, multipliers, strict=True)]
        return draw_samples(loaded, tried, edits(directions))

    @cache
    def judge() -> TuningJudge:
        return TuningJudge(ClipScorer(clip), wanted)

    @cache
    def plain() -> Judged:
        """The unsteered pictures that the closed loop compares with: prompt by prompt, its search seeds in order."""
        asked = [text for text in texts for _ in search_seeds]
        return judge().judge(generate(loaded, asked, search_seeds * len(texts), batch_size=BATCH))

    def score(images: NDArray[np.uint8], owners: Sequence[int], drawn: Sequence[int]) -> list[list[float]]:
        judged = judge().judge(images)
        rows = [o * len(search_seeds) + search_seeds.index(seed) for o, seed in zip(owners, drawn, strict=True)]
        asked = [texts[owner] for owner in owners]
        kept = judge().kept(judged, plain().rows(rows), asked, floors)
        return [judged.wanted.tolist(), *(kept[name].tolist() for name in floors)]

    def measured() -> tuple[Calibration, torch.Tensor]:
        def along(some: Sequence[str]) -> torch.Tensor:
            return _projections(loaded, directions, chosen["layers"], some)

        sides: dict[str, tuple[list[str], list[str]]] = {}
        for pair in json.loads(pairs.read_text()):
            positive, negative = sides.setdefault(pair.get("concept", ""), ([], []))
            positive.append(pair["positive"])
            negative.append(pair["negative"])
        tuning = along([row["prompt"] for row in suites["tuning"]])
        if len(sides) == 1:
            (only,) = sides.values()
            concept = along(only[0])
        else:
            concept = at_once([(along(positive), along(negative)) for positive, negative in sides.values()])
        return calibrate(tuning, concept), along(texts)

    decided = strategy_with_words(strategy, words)
    floors = decided.floors.asked if isinstance(decided, ClosedLoop) else ()
    evidence = Evidence(projections=measured, seeds=[search_seeds] * len(texts), generate=steered, score=score)
    given, attempts = doses(decided, texts, evidence)

    fixed, random = edits(directions), edits(random_like(directions.at_layers(chosen["layers"]), random_direction_seed))
    changes = {"unsteered": [], "fixed": fixed, "adaptive": fixed, "prompt": [], "random": random}
    plan: list[tuple[Condition, list[Sample]]] = []
    for name, some in changes.items():
        condition = Condition(name, GivenEdits(tuple(some)) if some else None)
        for seed in seeds:
            samples = [
                Sample(
                    f"{row['prompt']} {wanted.added_words}" if name == "prompt" else row["prompt"], seed,
                    picture_path(name, row["id"], seed), dose.multiplier if name == "adaptive" else 1.0,
                )
                for row, dose in zip(scored, given, strict=True)
            ]  # fmt: skip
            plan.append((condition, samples))
    draw(tools, plan, pictures, map_shards)
    table = [
        {"id": row["id"], "prompt": row["prompt"], "multiplier": dose.multiplier, "reason": dose.reason}
        for row, dose in zip(scored, given, strict=True)
    ]
    tried = [
        {
            **{name: getattr(a, name) for name in ("prompt", "round", "multiplier", "margin")},
            **{name: getattr(a.kept, name) for name in floors},
            "id": scored[a.prompt]["id"],
        }
        for a in attempts
    ]
    content = {"strategy": strategy["kind"], "doses": table, "attempts": tried}
    dose_table.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _projections(
    loaded: LoadedModel, directions: SteeringVectors, layers: Sequence[int], texts: Sequence[str]
) -> torch.Tensor:
    """Projections of texts on the directions of the chosen layers, [n, slots]."""
    here = directions.at_layers(list(layers))
    found = text_activations(loaded, texts, here.hookpoints, engine="hooks")
    types = token_types(found.token_ids, loaded.pipeline.tokenizer.eos_token_id)
    return projections(((h, PromptActivations(found[h].float(), types)) for h in here.hookpoints), here)
