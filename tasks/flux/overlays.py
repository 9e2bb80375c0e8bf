"""Where the selected latents are active: their token maps laid over their pictures."""

from pathlib import Path
from typing import Annotated, Literal

import polars as pl

from steerwright.dag import Dep, Out, Param
from steerwright.features.token_maps import TokenMaps
from steerwright.report.flux.overlay_files import write_overlays


def overlay_latents(
    images: Annotated[Path, Dep()],
    pictures: Annotated[Path, Dep()],
    maps: Annotated[Path, Dep()],
    selected: Annotated[Path, Dep()],
    percentile: Annotated[float, Param()],
    scope: Annotated[Literal["latent", "map"], Param()],
    smooth: Annotated[bool, Param()],
    ground: Annotated[Literal["grey", "colour"], Param()],
    overlays: Annotated[Path, Out("overlays")],
    table: Annotated[Path, Out("overlays.parquet")],
) -> None:
    """Draw each latent's examples from the stored maps: no picture is made again."""
    files = pl.read_parquet(images)["file"].to_list()
    stored = TokenMaps.open(maps)
    examples = dict(pl.read_parquet(selected).select("latent", "examples").iter_rows())
    write_overlays(
        overlays, examples, stored.map, lambda image: pictures / files[image], percentile, scope, smooth, ground
    ).write_parquet(table)
