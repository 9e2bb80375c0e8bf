"""The texts of a pipeline, checked."""

import json
from pathlib import Path
from typing import Annotated, Any

from seasons.label_set import SEASONS_WORLD
from steerwright.dag import Dep, Out, Param
from steerwright.errors import UserError
from steerwright.prompts.suite import check_disjoint, read_contrast_pairs
from steerwright.prompts.suite import read_prompts as read_suite
from steerwright.scoring.judge_domain import check_judges
from steerwright.scoring.metrics import METRICS
from steerwright.scoring.target import check_pairs, parse_target, write_target


def read_prompts(
    scored: Annotated[Path, Dep()],
    tuning: Annotated[Path, Dep()],
    contrast: Annotated[Path, Dep()],
    concept: Annotated[str | list[str], Param("/winter.vectors.concept")],
    concepts: Annotated[dict[str, Any], Param("/winter.concepts")],
    added_words: Annotated[str | None, Param("/winter.images.added_words")],
    resistance: Annotated[dict[str, Any], Param("/winter.resistance")],
    model: Annotated[str, Param("/model")],
    models: Annotated[dict[str, Any], Param("/models")],
    scorers: Annotated[dict[str, str], Param("/scorers")],
    fidelity_floor: Annotated[float | None, Param("/winter.search.fidelity_floor")],
    prompt_floor: Annotated[float | None, Param("/winter.search.prompt_floor")],
    directional_floor: Annotated[float | None, Param("/winter.search.directional_floor")],
    strategy: Annotated[dict[str, Any], Param("/winter.images.strategy")],
    prompts: Annotated[Path, Out("prompts.json")],
    pairs: Annotated[Path, Out("pairs.json")],
    target: Annotated[Path, Out("target.json")],
) -> None:
    """Read and check the prompts to steer, the prompts to tune on, and the contrast pairs of the concept."""
    asked = {"search": {"fidelity_floor": fidelity_floor}, "images": {"strategy": strategy}}
    check_judges("winter", {"model": model, "models": models, "scorers": scorers, "winter": asked})
    if fidelity_floor is None and prompt_floor is None and directional_floor is None:
        raise UserError(
            "winter.search has no floor, so the strongest edit would always win; give at least one of fidelity_floor, "
            "prompt_floor and directional_floor a number."
        )
    wanted = parse_target(concept, concepts, SEASONS_WORLD, added_words, resistance, taken=METRICS)
    suites = {"scored": read_suite(scored), "tuning": read_suite(tuning)}
    check_disjoint(suites["scored"], suites["tuning"], scored, tuning)
    listed = {name: [{"id": key, "prompt": text} for key, text in suite.items()] for name, suite in suites.items()}
    outside = [one.pairs for one in wanted.concepts.values() if Path(one.pairs).name != one.pairs]
    if outside:
        raise UserError(f"winter.concepts: {outside[0]!r} is no file name; put it into {contrast} and name it.")
    read = {name: read_contrast_pairs(contrast / one.pairs) for name, one in wanted.concepts.items()}
    check_pairs(wanted, read)
    rows: list[dict[str, Any]] = []
    for name, several in read.items():
        # Of one concept the pairs are known by their ID alone, as they are in the file.
        own = {} if len(read) == 1 else {"concept": name}
        rows += [
            {"id": f"{name}-{p.id}" if own else p.id, "positive": p.positive, "negative": p.negative, **own}
            for p in several
        ]
    prompts.write_text(json.dumps(listed, indent=1, ensure_ascii=False) + "\n")
    pairs.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    write_target(wanted, target)
