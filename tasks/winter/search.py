"""Which layers, and how strongly: decided on the tuning prompts, never on the prompts that are scored."""

import json
from pathlib import Path
from typing import Annotated, Any

from seasons.label_set import SEASONS_WORLD
from steerwright.dag import Dep, Out, Param, progress
from steerwright.experiments.floors import FLOORS, Floors
from steerwright.experiments.search import (
    Configuration,
    Measured,
    Trial,
    best,
    grid,
    measured_before,
    parse_space,
    search,
    trials_table,
)
from steerwright.models.generate import generate
from steerwright.models.load import load_model
from steerwright.models.select import read_model
from steerwright.prompts.suite import evenly
from steerwright.scoring.clip import ClipScorer
from steerwright.scoring.judges import TuningJudge
from steerwright.scoring.target import read_target
from steerwright.steering.algebra import Edit, EditBranch
from steerwright.steering.apply import check_branches, steered_batches
from steerwright.steering.operators import Units
from steerwright.steering.text_encoder import edit_norm, text_edit
from steerwright.vectors.formats.vectors_file import load_vectors

BATCH = 16


def search_strength(
    model: Annotated[Path, Dep()],
    target: Annotated[Path, Dep()],
    prompts: Annotated[Path, Dep()],
    vectors: Annotated[Path, Dep()],
    judges: Annotated[Path, Dep()],  # noqa: ARG001  # read by its name in params; here so that new weights count
    clip: Annotated[str, Param("/scorers.clip")],
    branch: Annotated[EditBranch, Param()],
    units: Annotated[Units, Param()],
    space: Annotated[dict[str, Any], Param()],
    count: Annotated[int, Param("prompts")],
    seeds: Annotated[list[int], Param()],
    goal: Annotated[float, Param()],
    fidelity_floor: Annotated[float | None, Param()],
    prompt_floor: Annotated[float | None, Param()],
    directional_floor: Annotated[float | None, Param()],
    work: Annotated[Path, Out("trials", resume=True)],
    chosen: Annotated[Path, Out("best.json")],
    metrics: Annotated[Path, Out("metrics.json", kind="metrics", cache=False)],
) -> None:
    """Search layers and strengths: a grid, then TPE near the best of it."""
    from polars import read_parquet

    spec, identity = read_model(model)
    loaded = load_model(spec, identity.digest)
    directions = load_vectors(vectors, identity)
    wanted = read_target(target, SEASONS_WORLD)
    floors = Floors(fidelity_floor, prompt_floor, directional_floor)
    judge = TuningJudge(ClipScorer(clip), wanted)
    texts = evenly([row["prompt"] for row in json.loads(prompts.read_text())["tuning"]], count)
    asked = [text for text in texts for _ in seeds]
    drawn = [seed for _ in texts for seed in seeds]
    unsteered = judge.judge(generate(loaded, asked, drawn, batch_size=BATCH))

    def edits_of(configuration: Configuration) -> list[Edit]:
        return text_edit(directions, configuration.layers, configuration.strengths, branch=branch, units=units)

    def evaluate(configuration: Configuration) -> Measured:
        edits = edits_of(configuration)
        check_branches(loaded, edits)
        steered = generate(loaded, asked, drawn, edits=steered_batches(loaded, edits), batch_size=BATCH)
        judged = judge.judge(steered)
        kept = judge.kept(judged, unsteered, asked, floors.asked)
        means = dict.fromkeys(FLOORS.values()) | {name: one.mean().item() for name, one in kept.items()}
        return Measured(judged.wanted.mean().item(), **means)

    work.mkdir(parents=True, exist_ok=True)
    table = work / "trials.parquet"
    layout = parse_space(space)

    def keep(trials: list[Trial]) -> None:
        partial = table.with_suffix(".partial")
        trials_table(trials).write_parquet(partial)
        partial.replace(table)
        progress(len(trials), len(grid(layout)) + layout.refine_trials, "configurations")

    trials = search(
        layout,
        evaluate,
        fidelity_floor=fidelity_floor,
        prompt_floor=prompt_floor,
        directional_floor=directional_floor,
        goal=goal,
        norm=lambda configuration: edit_norm(edits_of(configuration)),
        known=measured_before(read_parquet(table)) if table.exists() else None,
        on_trial=keep,
    )
    winner = best(trials)
    kept = {name: getattr(winner, name) for name in floors.asked}
    found = {
        "layers": winner.configuration.layers,
        "strengths": winner.configuration.strengths,
        "branch": branch,
        "units": units,
        f"{wanted.key}_probability": winner.target,
        **kept,
        "feasible": winner.feasible,
        f"unsteered_{wanted.key}_probability": unsteered.wanted.mean().item(),
        "trials": len(trials),
    }
    chosen.write_text(json.dumps(found, indent=1) + "\n")
    reported = (f"{wanted.key}_probability", *kept, f"unsteered_{wanted.key}_probability", "trials")
    metrics.write_text(json.dumps({key: found[key] for key in reported}, indent=1) + "\n")
