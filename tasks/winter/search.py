"""Which layers, and how strongly: decided on the tuning prompts, never on the prompts that are scored."""

import json
from pathlib import Path
from typing import Annotated, Any

from seasons.label_set import SEASONS_WORLD
from steerwright.dag import Dep, Out, Param, map_shards, progress
from steerwright.experiments.draw import GivenEdits, ModelTools
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
from steerwright.experiments.tuning import TargetMeasure, TrialJob, Trials, see_unsteered, try_all, try_changes
from steerwright.files import atomic_write
from steerwright.images import Sample
from steerwright.models.select import read_model
from steerwright.prompts.concept_table import evenly
from steerwright.scoring.clip import scorer_here
from steerwright.scoring.target import read_target
from steerwright.steering.algebra import EditBranch
from steerwright.steering.apply import check_branches
from steerwright.steering.operators import Units
from steerwright.steering.text_encoder import edit_norm, text_edit
from steerwright.vectors.formats.vectors_file import load_vectors


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
    tools = ModelTools.here(spec, identity.digest)
    loaded = tools.load()
    directions = load_vectors(vectors, identity)
    wanted = read_target(target, SEASONS_WORLD)
    floors = Floors(fidelity_floor, prompt_floor, directional_floor)
    texts = evenly([row["prompt"] for row in json.loads(prompts.read_text())["tuning"]], count)
    samples = tuple(
        Sample(text, seed, f"unsteered/{number}-{seed}.png") for number, text in enumerate(texts) for seed in seeds
    )
    measure = TargetMeasure(tuple(one.prompt for one in samples), wanted, floors.asked, scorer_here(clip))
    tuning = Trials(tools, work.absolute(), samples, measure)
    layout = parse_space(space)

    def changes(configuration: Configuration) -> GivenEdits:
        edits = text_edit(directions, configuration.layers, configuration.strengths, branch=branch, units=units)
        check_branches(loaded, edits)
        return GivenEdits(tuple(edits))

    def evaluate(configuration: Configuration) -> Measured:
        return _measured(try_changes(TrialJob(tuning, changes(configuration), None)))

    table = work / "trials.parquet"

    def keep(trials: list[Trial]) -> None:
        atomic_write(table, trials_table(trials).write_parquet)
        progress(len(trials), len(first) + layout.refine_trials, "configurations")

    # The configurations of the grid do not depend on each other; what refines it is proposed one by one.
    first = grid(layout)
    measured = map(_measured, try_all(tuning, [changes(one) for one in first], "grid", map_shards))
    known = dict(zip(first, measured, strict=True))
    if table.exists():
        known |= measured_before(read_parquet(table))
    unsteered = see_unsteered(tuning).wanted.mean().item()
    trials = search(
        layout,
        evaluate,
        fidelity_floor=fidelity_floor,
        prompt_floor=prompt_floor,
        directional_floor=directional_floor,
        goal=goal,
        norm=lambda configuration: edit_norm(changes(configuration).given),
        known=known,
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
        f"unsteered_{wanted.key}_probability": unsteered,
        "trials": len(trials),
    }
    chosen.write_text(json.dumps(found, indent=1) + "\n")
    reported = (f"{wanted.key}_probability", *kept, f"unsteered_{wanted.key}_probability", "trials")
    metrics.write_text(json.dumps({key: found[key] for key in reported}, indent=1) + "\n")


def _measured(numbers: dict[str, float]) -> Measured:
    return Measured(numbers["target"], *(numbers.get(name) for name in FLOORS.values()))
