"""The texts of the attention pipeline: contrast pairs of every concept, and the prompts that edits are scored on."""

import json
from pathlib import Path
from typing import Annotated, Any

from seasons.label_set import SEASONS_WORLD
from steerwright.dag import Dep, Out, Param
from steerwright.errors import UserError
from steerwright.prompts.concepts import contrast_pairs, parse_concepts
from steerwright.prompts.suite import check_disjoint, read_prompts
from steerwright.scoring.judge_domain import check_judges
from steerwright.steering.attention import parse_edits


def contrast_prompts(
    contexts: Annotated[Path, Dep()],
    winter_scored: Annotated[Path, Dep()],
    winter_tuning: Annotated[Path, Dep()],
    objects_scored: Annotated[Path, Dep()],
    objects_tuning: Annotated[Path, Dep()],
    concepts: Annotated[dict[str, Any], Param()],
    edits: Annotated[dict[str, Any], Param("/attention.edits")],
    model: Annotated[str, Param("/model")],
    models: Annotated[dict[str, Any], Param("/models")],
    scorers: Annotated[dict[str, str], Param("/scorers")],
    fid: Annotated[str, Param("/attention.scores.fid")],
    kept: Annotated[str, Param("/attention.search.kept")],
    prompts: Annotated[Path, Out("prompts.json")],
) -> None:
    """Fill the templates of every concept, and read and check the suites."""
    own = {"scores": {"fid": fid}, "search": {"kept": kept}}
    check_judges("attention", {"model": model, "models": models, "scorers": scorers, "attention": own})
    suites = {}
    for name, scored, tuning in (
        ("winter", winter_scored, winter_tuning),
        ("objects", objects_scored, objects_tuning),
    ):
        texts = {"scored": read_prompts(scored), "tuning": read_prompts(tuning)}
        check_disjoint(texts["scored"], texts["tuning"], scored, tuning)
        suites[name] = {use: [{"id": key, "prompt": text} for key, text in rows.items()] for use, rows in texts.items()}
    found = {}
    known = parse_concepts(concepts, SEASONS_WORLD)
    used = parse_edits(edits, set(known), set(suites), "attention.edits").values()
    wanted = {name for edit in used for name in (edit.concept, edit.target)}
    for name, concept in known.items():
        if name not in wanted:
            continue  # collecting what no edit uses would only take time
        pairs = contrast_pairs(concept, contexts)
        same = [pair.positive for pair in pairs if pair.positive == pair.negative]
        if same:
            raise UserError(f"The concept {name!r} has a pair without a contrast: both sides are {same[0]!r}.")
        found[name] = {
            "concept": concept.model_dump(),
            "pairs": [{"id": pair.id, "positive": pair.positive, "negative": pair.negative} for pair in pairs],
        }
    prompts.write_text(json.dumps({"concepts": found, "suites": suites}, indent=1, ensure_ascii=False) + "\n")
