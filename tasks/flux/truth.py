"""How interpretable the selected latents are: against random ones, by coherence, and by where they point."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import polars as pl

from steerwright.dag import Dep, Out, Param
from steerwright.features.s_matrix import SMatrix
from steerwright.features.scene_maps import scene_maps
from steerwright.features.truth import area_by_score, interpretability, pointing_game, regions
from steerwright.models.load import load_model
from steerwright.models.select import read_model
from steerwright.sae.sae_file import load_sae
from steerwright.world.scene import sample_scenes

# What a label's value is seen on: the object has a shape and a colour; season, place and time are all around it.
REGION = {"object": "object", "colour": "object", "season": "background", "place": "background", "time": "background"}
POINTING = {
    "latent": pl.Int64, "region": pl.String, "scenes": pl.Int64, "pointing": pl.Float64, "base_rate": pl.Float64,
    "energy": pl.Float64, "base_energy": pl.Float64,
}  # fmt: skip


def weigh_truth(
    model: Annotated[Path, Dep()],
    matrix: Annotated[Path, Dep()],
    saes: Annotated[Path, Dep()],
    coherence: Annotated[Path, Dep()],
    labels: Annotated[Path, Dep()],
    selected: Annotated[Path, Dep()],
    bar: Annotated[float, Param()],
    scenes: Annotated[int, Param()],
    seed: Annotated[int, Param()],
    resamples: Annotated[int, Param()],
    pointing: Annotated[Path, Out("pointing.parquet")],
    groups: Annotated[Path, Out("groups.parquet")],
    truth: Annotated[Path, Out("truth.json", kind="metrics", cache=False)],
) -> None:
    """Shares and intervals over latents, and the pointing game of the selected ones on rendered scenes."""
    known, coherent, chosen = pl.read_parquet(labels), pl.read_parquet(coherence), pl.read_parquet(selected)
    latents = chosen["latent"].to_list()
    area_by_score(known, coherent, bar=bar).write_parquet(groups)
    found: dict[str, Any] = {}
    if known.height:
        found = asdict(interpretability(known, coherent, latents, bar=bar, resamples=resamples, seed=seed))
    truth.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    rows: list[dict[str, Any]] = []
    if scenes and known.height:
        spec, identity = read_model(model)
        source = SMatrix.open(matrix).source
        maps, masks = scene_maps(
            load_model(spec, identity.digest), load_sae(saes / source.sae), int(source.step or 0),
            sample_scenes(scenes, seed), latents, seed,
        )  # fmt: skip
        areas, labelled = regions(masks), dict(known.select("latent", "label").iter_rows())
        for place, latent in enumerate(latents):
            region = REGION.get(str(labelled.get(latent)))
            if region is not None:
                game = pointing_game(maps[:, place], areas[region])
                rows.append({
                    "latent": latent, "region": region, "scenes": game.images, "pointing": game.hits,
                    "base_rate": game.base_rate, "energy": game.energy, "base_energy": game.base_energy,
                })  # fmt: skip
    pl.DataFrame(rows, schema=POINTING).fill_nan(None).write_parquet(pointing)
