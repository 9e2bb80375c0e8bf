"""Pictures on which it shows best what a latent does."""

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import polars as pl

from steerwright.dag import Dep, Out, Param, map_shards, progress
from steerwright.experiments.draw import ModelTools, draw
from steerwright.experiments.steered_pictures import SeededPrompt, SteeredSite, Steering, plan_steered
from steerwright.features.chosen_latents import chosen_latents, label_changes, label_of
from steerwright.features.demos import demo_candidates, demo_trials, neutral_prompts
from steerwright.features.s_matrix import SMatrix
from steerwright.features.top_images import top_images
from steerwright.models.select import read_model
from steerwright.prompts.concept_table import read_concept_prompts
from steerwright.scoring.picture_judge import PictureJudge, concept_vectors


def search_demos(
    model: Annotated[Path, Dep()],
    prompts: Annotated[Path, Dep()],
    images: Annotated[Path, Dep()],
    matrix: Annotated[Path, Dep()],
    saes: Annotated[Path, Dep()],
    facts: Annotated[Path, Dep()],
    selected: Annotated[Path, Dep()],
    labels: Annotated[Path, Dep()],
    embeddings: Annotated[Path, Dep()],
    judges: Annotated[list[Path], Dep()],  # noqa: ARG001  # read by their names in params; here so that new weights count
    scorers: Annotated[dict[str, str], Param("/scorers")],
    alive_above: Annotated[float, Param("/flux.features.alive_above")],
    statistic: Annotated[Literal["max", "mean", "top"], Param("/flux.features.statistic")],
    most: Annotated[int, Param("/flux.features.most")],
    steps: Annotated[list[int] | None, Param("/flux.features.steps")],
    latents: Annotated[int, Param()],
    axes: Annotated[dict[str, int], Param()],
    percentiles: Annotated[list[float], Param()],
    candidates: Annotated[int, Param()],
    strengths: Annotated[list[float], Param()],
    kept: Annotated[int, Param()],
    neutral: Annotated[int, Param()],
    seed: Annotated[int, Param()],
    pictures: Annotated[Path, Out("pictures", resume=True)],
    trials: Annotated[Path, Out("trials.parquet")],
    changes: Annotated[Path, Out("changes.parquet")],
) -> None:
    """Steer images in which a latent is clearly active to both sides, and prompts that leave unsaid what it is."""
    spec, identity = read_model(model)
    table, scores = pl.read_parquet(images), SMatrix.open(matrix).of(statistic)
    known = pl.read_parquet(labels)
    chosen = chosen_latents(pl.read_parquet(selected), known, latents, axes)
    tuning = read_concept_prompts(prompts).filter(split="tuning")
    rows = table.select("id", "prompt", "seed").to_dicts()
    codes = table["prompt_id"].to_list()
    plan: list[tuple[Steering, list[SeededPrompt]]] = []
    for latent in chosen:
        band = demo_candidates(
            np.asarray(scores[:, latent]), latent, low=percentiles[0], high=percentiles[1], count=candidates,
            alive_above=alive_above, prompts=codes, seed=seed,
        )  # fmt: skip
        asks = [SeededPrompt(**rows[image]) for image in band.table["image"].to_list()]
        own = label_of(known, latent)
        unsaid = neutral_prompts(tuning, own[0] if own else None, neutral, "choose")
        plan += [
            (Steering(latent=latent, mode="add", strength=sign * strength), asks)
            for strength in strengths
            for sign in (1, -1)
        ]
        plan += [(Steering(latent=latent, mode="add", strength=sign * strengths[-1]), unsaid) for sign in (1, -1)]
    site = SteeredSite.read(saes, facts, steps)
    groups, frame = plan_steered(site, plan)
    draw(ModelTools.here(spec, identity.digest), groups, pictures, map_shards)
    judged = PictureJudge(scorers).measured(
        frame, pictures, concept_vectors(np.load(embeddings), _best(scores, chosen, most, alive_above)),
        lambda done, total: progress(done, total, "pictures judged"),
    )  # fmt: skip
    of_images = pl.col("prompt_id").is_in(table["id"].implode())
    demo_trials(judged.filter(of_images), kept).write_parquet(trials)
    label_changes(judged.filter(~of_images), known, chosen).write_parquet(changes)


def _best(scores: Any, latents: list[int], most: int, alive_above: float) -> dict[int, list[int]]:
    """The images in which each latent is most active."""
    import torch

    block = torch.from_numpy(np.ascontiguousarray(scores[:, latents].T))
    found = top_images(block, most, alive_above).image
    return {latent: [image for image in row.tolist() if image >= 0] for latent, row in zip(latents, found, strict=True)}
