"""How much pictures change when the most coherent latents are steered: what selection may be joined with."""

from pathlib import Path
from typing import Annotated

import polars as pl

from steerwright.dag import Dep, Out, Param, map_shards
from steerwright.experiments.draw import ModelTools, draw
from steerwright.experiments.steered_pictures import SteeredSite, Steering, plan_steered
from steerwright.features.demos import neutral_prompts, responsiveness
from steerwright.models.select import read_model
from steerwright.prompts.concept_table import read_concept_prompts
from steerwright.scoring.picture_judge import PictureJudge

SCHEMA = {"latent": pl.Int64, "lpips_plus": pl.Float64, "lpips_minus": pl.Float64, "score": pl.Float64}


def latent_responses(
    model: Annotated[Path, Dep()],
    prompts: Annotated[Path, Dep()],
    saes: Annotated[Path, Dep()],
    facts: Annotated[Path, Dep()],
    coherence: Annotated[Path, Dep()],
    judges: Annotated[list[Path], Dep()],  # noqa: ARG001  # read by their names in params; here so that new weights count
    scorers: Annotated[dict[str, str], Param("/scorers")],
    steps: Annotated[list[int] | None, Param("/flux.features.steps")],
    candidates: Annotated[int, Param()],
    strength: Annotated[float, Param()],
    asked: Annotated[int, Param("prompts")],
    pictures: Annotated[Path, Out("pictures", resume=True)],
    responses: Annotated[Path, Out("responses.parquet")],
) -> None:
    """Steer the `candidates` most coherent latents to plus and minus; none of them where selection does not ask."""
    pictures.mkdir(parents=True, exist_ok=True)
    if candidates == 0:
        # DVC warns of a folder without files.
        (pictures / "none.txt").write_text("No latent was steered: `candidates` is 0.\n")
        pl.DataFrame(schema=SCHEMA).write_parquet(responses)
        return
    spec, identity = read_model(model)
    ranked = pl.read_parquet(coherence).drop_nulls("z").sort(["z", "latent"], descending=[True, False])
    asks = neutral_prompts(read_concept_prompts(prompts).filter(split="tuning"), None, asked)
    plan = [
        (Steering(latent=latent, mode="add", strength=sign * strength), asks)
        for latent in ranked["latent"].to_list()[:candidates]
        for sign in (1, -1)
    ]
    site = SteeredSite.read(saes, facts, steps)
    groups, frame = plan_steered(site, plan)
    draw(ModelTools.here(spec, identity.digest), groups, pictures, map_shards)
    judged = PictureJudge(scorers).measured(frame, pictures)
    means = judged.group_by("latent", maintain_order=True).agg(
        pl.col("lpips").filter(pl.col("strength") > 0).mean().alias("lpips_plus"),
        pl.col("lpips").filter(pl.col("strength") < 0).mean().alias("lpips_minus"),
    )
    scores = responsiveness(means["lpips_plus"].to_numpy(), means["lpips_minus"].to_numpy())
    means.with_columns(pl.Series("score", scores)).select(*SCHEMA).write_parquet(responses)
