"""Where the selected latents are active: their token maps laid over their pictures."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image

from steerwright.dag import Dep, Out, Param
from steerwright.features.token_maps import TokenMaps
from steerwright.files import save_picture
from steerwright.report.html.overlays import Ground, heat_limit, overlay


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


# The overlays of selected latents on disk: from pictures and token maps that exist, nothing is generated again.

Maps = NDArray[np.floating[Any]]
Scope = Literal["latent", "map"]
SCHEMA = {
    "latent": pl.Int64, "image": pl.Int64, "file": pl.String, "map_max": pl.Float64, "map_mean": pl.Float64,
    "vmax": pl.Float64, "tokens_above": pl.Int64,
}  # fmt: skip


def write_overlays(
    folder: Path, examples: Mapping[int, Sequence[int]], token_map: Callable[[int, int], Maps],
    picture: Callable[[int], Path], percentile: float = 99.0, scope: Scope = "latent", smooth: bool = False,
    ground: Ground = "grey",
) -> pl.DataFrame:  # fmt: skip
    """Write LATENT-IMAGE.png into `folder` (made if it is not there) for every latent and its images.

    `token_map(image, latent)` gives float [h, w], `picture(image)` the path of a picture of any size. Heat is full at
    the percentile of the positive values over all images of the latent, or of each map by itself (`scope`). Returns
    one row an overlay: latent, image, file (name in `folder`), map_max, map_mean (over all tokens), vmax (the limit),
    tokens_above (how many tokens lie above it and were clipped).
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for latent, images in examples.items():
        maps = {image: np.asarray(token_map(image, latent), np.float64) for image in images}
        shared = heat_limit(maps.values(), percentile)
        for image, values in maps.items():
            limit = shared if scope == "latent" else heat_limit([values], percentile)
            with Image.open(picture(image)) as opened:
                pixels = np.asarray(opened.convert("RGB"))
            name = f"{latent}-{image}.png"
            save_picture(overlay(pixels, values, limit, smooth, ground), folder / name)
            rows.append({
                "latent": latent, "image": image, "file": name, "map_max": float(values.max()),
                "map_mean": float(values.mean()), "vmax": limit, "tokens_above": int((values > limit).sum()),
            })  # fmt: skip
    return pl.DataFrame(rows, schema=SCHEMA)
