"""The pictures: every prompt and seed unsteered, steered alike, steered adaptively, and both controls."""

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray

from seasons.label_set import SEASONS_WORLD
from steerwright.activations.prompt_tokens import token_types
from steerwright.activations.text_encoder import text_activations
from steerwright.dag import Dep, Out, Param, progress
from steerwright.experiments.closed_loop import ClosedLoop
from steerwright.experiments.projection import Calibration, at_once, calibrate, projections
from steerwright.experiments.strategy import Evidence, doses, strategy_with_words
from steerwright.images import PictureFolder
from steerwright.models.generate import generate
from steerwright.models.load import LoadedModel, load_model
from steerwright.models.select import read_model
from steerwright.scoring.clip import ClipScorer
from steerwright.scoring.judges import Judged, TuningJudge
from steerwright.scoring.target import read_target
from steerwright.steering.algebra import Edit
from steerwright.steering.apply import steered_batches
from steerwright.steering.text_encoder import text_edit
from steerwright.vectors.estimators.random_direction import random_like
from steerwright.vectors.fit import PromptActivations
from steerwright.vectors.formats.vectors_file import load_vectors
from steerwright.vectors.steering_vectors import SteeringVectors

BATCH = 16


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
    loaded = load_model(spec, identity.digest)
    directions = load_vectors(vectors, identity)
    wanted = read_target(target, SEASONS_WORLD)
    chosen = json.loads(best.read_text())
    suites = json.loads(prompts.read_text())
    scored = suites["scored"]
    texts = [row["prompt"] for row in scored]

    def edits(of: SteeringVectors, multiplier: float | torch.Tensor = 1.0) -> list[Edit]:
        return text_edit(
            of,
            chosen["layers"],
            chosen["strengths"],
            branch=chosen["branch"],
            units=chosen["units"],
            multiplier=multiplier,
        )

    def steered(asked: Sequence[str], multipliers: Sequence[float], drawn: Sequence[int]) -> NDArray[np.uint8]:
        hooks = steered_batches(loaded, edits(directions, torch.tensor(multipliers, dtype=torch.float32)))
        return generate(loaded, asked, drawn, edits=hooks, batch_size=BATCH)

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

    folder = PictureFolder(pictures)
    random = random_like(directions.at_layers(chosen["layers"]), random_direction_seed)
    multipliers = torch.tensor([dose.multiplier for dose in given], dtype=torch.float32)
    conditions: dict[str, tuple[list[str], Callable[[list[int]], list[Edit]]]] = {
        "unsteered": (texts, lambda _: []),
        "fixed": (texts, lambda _: edits(directions)),
        "adaptive": (texts, lambda rows: edits(directions, multipliers[rows])),
        "prompt": ([f"{text} {wanted.added_words}" for text in texts], lambda _: []),
        "random": (texts, lambda _: edits(random)),
    }
    total = len(conditions) * len(texts) * len(seeds)
    done = 0
    for condition, (asked, change) in conditions.items():
        for seed in seeds:
            missing = [i for i, row in enumerate(scored) if not folder.has(row["id"], seed, condition)]
            done += len(texts) - len(missing)
            for start in range(0, len(missing), BATCH):
                rows = missing[start : start + BATCH]
                hooks = steered_batches(loaded, change(rows))
                images = generate(loaded, [asked[i] for i in rows], [seed] * len(rows), batch_size=BATCH, edits=hooks)
                for i, image in zip(rows, images, strict=True):
                    folder.save(scored[i]["id"], seed, condition, image)
                done += len(rows)
                progress(done, total, "pictures")
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
