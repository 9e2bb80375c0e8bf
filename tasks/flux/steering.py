"""The selected latents steered, from minus to plus, by their direction and by their own value."""

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl

from steerwright.dag import Dep, Out, Param, map_shards, progress
from steerwright.experiments.draw import ModelTools, draw
from steerwright.experiments.steered_pictures import SeededPrompt, SteeredSite, Steering, plan_steered
from steerwright.features.chosen_latents import label_of
from steerwright.features.demos import neutral_prompts
from steerwright.models.select import read_model
from steerwright.prompts.concept_table import read_concept_prompts
from steerwright.report.html.labelled_grid import arrange_grid, draw_grid
from steerwright.scoring.picture_judge import PictureJudge, concept_vectors
from steerwright.steering.latents.direction import Mode


def steer_latents(
    model: Annotated[Path, Dep()],
    prompts: Annotated[Path, Dep()],
    saes: Annotated[Path, Dep()],
    facts: Annotated[Path, Dep()],
    selected: Annotated[Path, Dep()],
    labels: Annotated[Path, Dep()],
    embeddings: Annotated[Path, Dep()],
    judges: Annotated[list[Path], Dep()],  # noqa: ARG001  # read by their names in params; here so that new weights count
    scorers: Annotated[dict[str, str], Param("/scorers")],
    steps: Annotated[list[int] | None, Param("/flux.features.steps")],
    strengths: Annotated[dict[Mode, list[float]], Param()],
    asked: Annotated[int, Param("prompts")],
    pictures: Annotated[Path, Out("pictures", resume=True)],
    sheets: Annotated[Path, Out("sheets")],
    table: Annotated[Path, Out("steering.parquet")],
) -> None:
    """Steer prompts that leave unsaid what a latent stands for, at every strength, in every mode."""
    spec, identity = read_model(model)
    said: dict[str, Any] = json.loads(facts.read_text())
    tuning = read_concept_prompts(prompts).filter(split="tuning")
    known, chosen = pl.read_parquet(labels), pl.read_parquet(selected)
    plan: list[tuple[Steering, list[SeededPrompt]]] = []
    for latent in chosen["latent"].to_list():
        own = label_of(known, latent)
        asks = neutral_prompts(tuning, own[0] if own else None, asked)
        for mode, some in strengths.items():
            plan += [(Steering(latent=latent, mode=mode, strength=strength), asks) for strength in sorted({*some, 0.0})]
    site = SteeredSite.read(saes, facts, steps)
    groups, frame = plan_steered(site, plan)
    draw(ModelTools.here(spec, identity.digest), groups, pictures, map_shards)
    vectors = concept_vectors(np.load(embeddings), dict(chosen.select("latent", "examples").iter_rows()))
    judged = PictureJudge(scorers).measured(
        frame, pictures, vectors, lambda done, total: progress(done, total, "pictures judged")
    )
    judged.write_parquet(table)
    sheets.mkdir()
    for latent in chosen["latent"].to_list():
        own, part = label_of(known, latent), judged.filter(latent=latent, mode="add")
        title = f"Latent {latent} of {said['hookpoint']}" + (f": {own[0]} {own[1]}" if own else "")
        if part.height:
            grid = arrange_grid(part, pictures, title, [*strengths.get("add", []), 0.0], own)
            draw_grid(grid).save(sheets / f"{latent}.png", format="PNG")
