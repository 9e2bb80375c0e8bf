"""How strongly each latent of an autoencoder is active in each image, and on which of its tokens."""

import json
from pathlib import Path
from typing import Annotated, Literal

import polars as pl

from steerwright.activations.store.reader import open_store
from steerwright.dag import Dep, Out, Param, progress
from steerwright.features.images import image_latents, mean_norm
from steerwright.features.s_matrix import SMatrix
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.load import default_device


def s_matrix(
    images: Annotated[Path, Dep()],
    rows: Annotated[Path, Dep()],
    saes: Annotated[Path, Dep()],
    step: Annotated[int, Param("/flux.images.step")],
    sae: Annotated[str, Param()],
    top_share: Annotated[float, Param()],
    map_dtype: Annotated[Literal["float32", "float16"], Param()],
    allow_mismatch: Annotated[bool, Param()],
    matrix: Annotated[Path, Out("matrix", resume=True)],
    maps: Annotated[Path, Out("maps", resume=True)],
    facts: Annotated[Path, Out("facts.json")],
) -> None:
    """Encode the stored tokens of every image, and pool each latent over them."""
    store = open_store(rows)
    ids = pl.read_parquet(images)["id"].to_list()
    image_latents(
        store, saes / sae, step, ids, matrix, maps, top_share=top_share, dtype=map_dtype,
        allow_mismatch=allow_mismatch, device=default_device(),
        progress=lambda done, total: progress(done, total, "images"),
    )  # fmt: skip
    hookpoint = SMatrix.open(matrix).source.site.hookpoint
    norm = mean_norm(store, Hookpoint.parse(str(hookpoint)))
    found = {"sae": sae, "hookpoint": hookpoint, "step": step, "images": len(ids), "site_norm": norm}
    facts.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
