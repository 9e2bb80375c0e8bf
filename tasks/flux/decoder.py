"""The dictionary by itself: lengths, neighbours and a map of its decoder directions."""

from pathlib import Path
from typing import Annotated, Any

import polars as pl

from steerwright.dag import Dep, Out, Param
from steerwright.features.decoder import decoder_table, similarity_matrix
from steerwright.features.s_matrix import SMatrix
from steerwright.sae.sae_file import load_sae


def describe_decoder(
    matrix: Annotated[Path, Dep()],
    saes: Annotated[Path, Dep()],
    statistics: Annotated[Path, Dep()],
    selected: Annotated[Path, Dep()],
    neighbours: Annotated[int, Param()],
    map_exactly: Annotated[int, Param()],
    decoder: Annotated[Path, Out("decoder.parquet")],
    similarity: Annotated[Path, Out("similarity.parquet")],
) -> None:
    """Every latent's direction, and the cosines of the selected ones among each other."""
    sae = load_sae(saes / SMatrix.open(matrix).source.sae)
    alive = pl.read_parquet(statistics)["alive"].to_numpy()
    decoder_table(sae, alive, neighbours=neighbours, map_exactly=map_exactly).write_parquet(decoder)
    chosen = pl.read_parquet(selected)["latent"].to_list()
    cosines = similarity_matrix(sae.decoder.detach(), chosen)
    rows: list[dict[str, Any]] = [
        {"latent_a": first, "latent_b": second, "cosine": float(cosines[i, j])}
        for i, first in enumerate(chosen)
        for j, second in enumerate(chosen)
    ]
    pl.DataFrame(rows, schema={"latent_a": pl.Int64, "latent_b": pl.Int64, "cosine": pl.Float64}).write_parquet(
        similarity
    )
