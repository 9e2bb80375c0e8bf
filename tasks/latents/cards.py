"""Where the latents of the erased concepts are active: maps of a few pictures, for the cards of the report."""

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl
from safetensors.numpy import save

from steerwright.dag import Dep, Out, Param, progress
from steerwright.models.load import load_model
from steerwright.models.select import read_model
from steerwright.prompts.suite import evenly
from steerwright.sae.sae_file import load_sae
from steerwright.scoring.latent_cards import card_latents, latent_maps, top_maps
from steerwright.scoring.latent_shots import read_shots
from steerwright.scoring.unlearning import UNSTEERED


def latent_cards(
    model: Annotated[Path, Dep()],
    shots: Annotated[Path, Dep()],
    saes: Annotated[Path, Dep()],
    concepts: Annotated[Path, Dep()],
    chosen: Annotated[Path, Dep()],
    latents: Annotated[int, Param()],
    top: Annotated[int, Param()],
    prompts: Annotated[int, Param()],
    cards: Annotated[Path, Out("cards.parquet")],
    maps: Annotated[Path, Out("maps.safetensors")],
) -> None:
    """Run some unsteered test pictures again as far as the autoencoders, and keep the maps of the most active ones."""
    spec, identity = read_model(model)
    loaded = load_model(spec, identity.digest)
    selected = card_latents(pl.read_parquet(concepts), json.loads(chosen.read_text()), latents)
    names = selected["sae"].unique(maintain_order=True).to_list()
    wanted = {name: selected.filter(sae=name)["latent"].unique(maintain_order=True).to_list() for name in names}
    shown = evenly(read_shots(shots).filter(method=UNSTEERED).to_dicts(), prompts)
    found = latent_maps(
        loaded, [str(shot["prompt"]) for shot in shown], [int(shot["seed"]) for shot in shown],
        {name: load_sae(saes / name) for name in names}, wanted,
        progress=lambda done, total: progress(done, total, "pictures"),
    )  # fmt: skip
    rows: list[dict[str, Any]] = []
    tensors = {}
    for sae, latent, rank, picture, activation, values in top_maps(found, wanted, top):
        shot = shown[picture]
        rows.append({"sae": sae, "latent": latent, "rank": rank, "prompt_id": shot["prompt_id"],
                     "prompt": shot["prompt"], "seed": shot["seed"], "activation": activation})  # fmt: skip
        tensors[f"{sae}/{latent}/{rank}"] = np.ascontiguousarray(values)
    schema = {"sae": pl.String, "latent": pl.Int64, "rank": pl.Int64, "prompt_id": pl.String, "prompt": pl.String,
              "seed": pl.Int64, "activation": pl.Float64}  # fmt: skip
    best = pl.DataFrame(rows, schema=schema)
    selected.join(best, on=["sae", "latent"], how="left", maintain_order="left").write_parquet(cards)
    steps = {name: list(one.steps) for name, one in found.items()}
    maps.write_bytes(save(tensors, metadata={"steps": json.dumps(steps)}))
