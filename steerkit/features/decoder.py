"""What a dictionary looks like by itself: lengths, neighbours and moments of its decoder directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steerkit.features.direction_map import direction_map
from steerkit.sae.sae import Sae

if TYPE_CHECKING:
    import polars as pl

# Elements of a block of similarities: 64 MiB of float32.
_BLOCK = 2**24


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """The most similar other directions: `latent` int64 and `cosine` float32 [queries, top], the nearest first.

    Where there are fewer than `top` others, the places that are left over hold -1 and 0.
    """

    latent: NDArray[np.int64]
    cosine: NDArray[np.float32]


def decoder_table(
    sae: Sae, alive: NDArray[np.bool_] | None = None, *, neighbours: int = 10, map_exactly: int = 2000
) -> pl.DataFrame:
    """One row per latent: latent, norm (of its decoder direction), encoder_decoder_cosine, mean, std, skewness and
    kurtosis (of the direction's components; kurtosis is 3 for a normal distribution), neighbours and neighbour_cosines
    (lists, the nearest first), x and y (2-D map).

    Neighbours and map are among the latents that are `alive` [n] (default: all); others have empty lists and nulls. For
    the map see direction_map; up to `map_exactly` latents are placed by t-SNE itself.
    """
    import polars as pl

    decoder = sae.decoder.detach().float().cpu()
    size = len(decoder)
    among = np.arange(size) if alive is None else np.flatnonzero(alive)
    near = nearest_directions(decoder, among, neighbours)
    places = direction_map(decoder[torch.from_numpy(among)], exactly=map_exactly)
    x, y = np.full(size, np.nan), np.full(size, np.nan)
    x[among], y[among] = places[:, 0], places[:, 1]
    lists: list[list[int]] = [[] for _ in range(size)]
    cosines: list[list[float]] = [[] for _ in range(size)]
    for latent, others, values in zip(among.tolist(), near.latent, near.cosine, strict=True):
        held = others >= 0
        lists[latent], cosines[latent] = others[held].tolist(), values[held].tolist()
    return pl.DataFrame(
        {
            "latent": np.arange(size),
            "norm": torch.linalg.vector_norm(decoder.double(), dim=1).numpy(),
            "encoder_decoder_cosine": encoder_decoder_cosine(sae).numpy(),
            **moments(decoder),
            "neighbours": pl.Series(lists, dtype=pl.List(pl.Int64)),
            "neighbour_cosines": pl.Series(cosines, dtype=pl.List(pl.Float64)),
            "x": x,
            "y": y,
        }
    ).with_columns(pl.col("encoder_decoder_cosine", "skewness", "kurtosis", "x", "y").fill_nan(None))


def encoder_decoder_cosine(sae: Sae) -> Tensor:
    """Cosine of each latent's encoder row with its decoder direction, float64 [n]; NaN where one is zero."""
    encoder, decoder = sae.encoder.detach().cpu().double(), sae.decoder.detach().cpu().double()
    lengths = torch.linalg.vector_norm(encoder, dim=1) * torch.linalg.vector_norm(decoder, dim=1)
    return (encoder * decoder).sum(1) / lengths


def moments(directions: Tensor) -> dict[str, NDArray[np.float64]]:
    """Mean, std, skewness and kurtosis of the components of each of `directions` [n, d], float64 [n] each.

    Population moments; NaN skewness and kurtosis for a direction whose components are all equal.
    """
    rows = directions.double()
    mean = rows.mean(1, keepdim=True)
    centred = rows - mean
    std = centred.square().mean(1).sqrt()
    standard = centred / torch.where(std > 0, std, torch.nan).unsqueeze(1)
    found = {
        "mean": mean.squeeze(1),
        "std": std,
        "skewness": standard.pow(3).mean(1),
        "kurtosis": standard.pow(4).mean(1),
    }
    return {name: values.numpy() for name, values in found.items()}


def nearest_directions(directions: Tensor, among: NDArray[np.int64], top: int) -> Neighbours:
    """For each of the latents `among` the `top` others of them whose `directions` [n, d] have the largest cosine.

    Blockwise: memory is that of the unit directions and a block. Directions of length 0 are nobody's neighbours.
    """
    numbers = torch.from_numpy(np.asarray(among, dtype=np.int64))
    unit = torch.nn.functional.normalize(directions[numbers].float(), dim=1)
    nowhere = unit.square().sum(1) == 0
    places = min(top, max(0, len(numbers) - 1))
    latent = np.full((len(numbers), top), -1, dtype=np.int64)
    cosine = np.zeros((len(numbers), top), dtype=np.float32)
    at_once = max(1, _BLOCK // max(1, len(numbers)))
    for start in range(0, len(numbers), at_once) if places else ():
        block = unit[start : start + at_once] @ unit.T
        block[:, nowhere] = -torch.inf
        block[nowhere[start : start + at_once]] = -torch.inf
        here = torch.arange(len(block))
        block[here, here + start] = -torch.inf
        values, nearest = block.topk(places, dim=1)
        held = values > -torch.inf
        latent[start : start + len(block), :places] = torch.where(held, numbers[nearest], -1).numpy()
        cosine[start : start + len(block), :places] = torch.where(held, values, 0.0).numpy()
    return Neighbours(latent, cosine)


def similarity_matrix(directions: Tensor, latents: list[int]) -> NDArray[np.float64]:
    """Cosines of the `directions` [n, d] of chosen latents among each other, [chosen, chosen]."""
    unit = torch.nn.functional.normalize(directions[torch.tensor(latents)].double(), dim=1)
    cosines: NDArray[np.float64] = (unit @ unit.T).cpu().numpy()
    return cosines
