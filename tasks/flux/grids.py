"""Grids of steered pictures: prompts down, strengths from minus to plus across, what is seen under each."""

import json
from pathlib import Path
from typing import Annotated, Any

import polars as pl

from steerwright.dag import Dep, Out, Param, map_shards, progress
from steerwright.experiments.draw import ModelTools, draw
from steerwright.experiments.steered_pictures import SeededPrompt, SteeredSite, Steering, plan_steered
from steerwright.features.chosen_latents import best_by_change, label_of
from steerwright.features.demos import neutral_prompts
from steerwright.models.select import read_model
from steerwright.prompts.concept_table import read_concept_prompts
from steerwright.report.html.labelled_grid import arrange_grid, draw_grid
from steerwright.scoring.picture_judge import PictureJudge


def demo_grids(
    model: Annotated[Path, Dep()],
    prompts: Annotated[Path, Dep()],
    saes: Annotated[Path, Dep()],
    facts: Annotated[Path, Dep()],
    labels: Annotated[Path, Dep()],
    trials: Annotated[Path, Dep()],
    changes: Annotated[Path, Dep()],
    judges: Annotated[list[Path], Dep()],  # noqa: ARG001  # read by their names in params; here so that new weights count
    scorers: Annotated[dict[str, str], Param("/scorers")],
    steps: Annotated[list[int] | None, Param("/flux.features.steps")],
    latents: Annotated[int, Param("/flux.demos.latents")],
    axes: Annotated[dict[str, int], Param("/flux.demos.axes")],
    strengths: Annotated[list[float], Param()],
    asked: Annotated[int, Param("prompts")],
    shown: Annotated[int, Param()],
    pictures: Annotated[Path, Out("pictures", resume=True)],
    sheets: Annotated[Path, Out("sheets")],
    grids: Annotated[Path, Out("grids.parquet")],
    metrics: Annotated[Path, Out("metrics.json", kind="metrics", cache=False)],
) -> None:
    """Steer the demo pictures, and prompts that leave unsaid what a latent stands for, at every strength."""
    spec, identity = read_model(model)
    said: dict[str, Any] = json.loads(facts.read_text())
    tuning = read_concept_prompts(prompts).filter(split="tuning")
    known, tried = pl.read_parquet(labels), pl.read_parquet(trials)
    across = sorted({*strengths, 0.0})
    plan: list[tuple[Steering, list[SeededPrompt]]] = []
    for latent in best_by_change(pl.read_parquet(changes), latents, axes):
        own = label_of(known, latent)
        best = tried.filter("kept", latent=latent).select(id="prompt_id", prompt="prompt", seed="seed").to_dicts()
        asks = [SeededPrompt(**row) for row in best] + neutral_prompts(tuning, own[0] if own else None, asked, "score")
        plan += [(Steering(latent=latent, mode="add", strength=strength), asks) for strength in across]
    site = SteeredSite.read(saes, facts, steps)
    groups, frame = plan_steered(site, plan)
    draw(ModelTools.here(spec, identity.digest), groups, pictures, map_shards)
    judged = PictureJudge(scorers).measured(
        frame, pictures, None, lambda done, total: progress(done, total, "pictures judged")
    )
    sheets.mkdir()
    numbers: dict[str, float] = {}
    for latent in judged["latent"].unique(maintain_order=True).to_list():
        own, part = label_of(known, latent), judged.filter(latent=latent)
        rows = part.select("prompt_id", "seed").unique(maintain_order=True).head(shown)
        title = f"Latent {latent} of {said['hookpoint']}" + (f": {own[0]} {own[1]}" if own else "")
        shown_part = part.join(rows, on=["prompt_id", "seed"], how="semi", maintain_order="left")
        draw_grid(arrange_grid(shown_part, pictures, title, across, own)).save(sheets / f"{latent}.png", format="PNG")
        if own is not None and own[0] in part.columns:
            shows = {end: (part.filter(strength=end)[own[0]] == own[1]).to_numpy() for end in (across[0], across[-1])}
            change = float(shows[across[-1]].mean() - shows[across[0]].mean())
            numbers[f"{own[0]}:{own[1]} by {latent}"] = round(change, 6)
    judged.write_parquet(grids)
    metrics.write_text(json.dumps(numbers, indent=1) + "\n")
