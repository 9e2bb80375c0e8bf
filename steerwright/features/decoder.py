"""What a dictionary looks like by itself: lengths, neighbours and moments of its decoder directions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steerwright.sae.sae import Sae

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


# Directions on a plane, so that similar ones lie near each other: principal components, then t-SNE.
#
# Nothing is random: the map starts from the two first principal components, so equal directions give an equal map.
# Sources: van der Maaten and Hinton, JMLR 9, 2008; start and rate as in Kobak and Berens, Nat. Commun. 10, 2019.

PERPLEXITY = 30.0
_EXAGGERATED, _ROUNDS = 150, 500
_BISECTIONS = 40
# Of how many placed directions one that is not placed itself takes the mean place.
_NEAREST = 3


def direction_map(directions: Tensor, *, exactly: int = 2000) -> NDArray[np.float64]:
    """Places [m, 2] of `directions` [m, d], by cosine.

    Up to `exactly` directions all of them are placed by t-SNE (time and memory grow with the square). Of more, as many,
    evenly spread over the list, are; each other one takes the mean place of the three most similar of those, weighted
    by their cosines.
    """
    unit = torch.nn.functional.normalize(directions.detach().cpu().double(), dim=1)
    if len(unit) <= exactly:
        every: NDArray[np.float64] = _place(unit).numpy()
        return every
    chosen = torch.linspace(0, len(unit) - 1, exactly).round().long()
    placed = _place(unit[chosen])
    out = torch.empty(len(unit), 2, dtype=torch.float64)
    for start in range(0, len(unit), 4096):
        cosine, nearest = (unit[start : start + 4096] @ unit[chosen].T).topk(_NEAREST, dim=1)
        weight = cosine.clamp(min=1e-6)
        out[start : start + 4096] = (placed[nearest] * weight.unsqueeze(2)).sum(1) / weight.sum(1, keepdim=True)
    out[chosen] = placed
    places: NDArray[np.float64] = out.numpy()
    return places


def _place(unit: Tensor) -> Tensor:
    count = len(unit)
    if count < 5:
        return _components(unit)
    near = _affinities(unit).float()
    at = _components(unit).float()
    at = at / at[:, 0].std().clamp(min=1e-12) * 1e-4
    rate, gains, move = max(count / 12 / 4, 50.0), torch.ones_like(at), torch.zeros_like(at)
    for number in range(_ROUNDS):
        early = number < _EXAGGERATED
        square = at.square().sum(1)
        # 1 / (1 + distance^2), in place: this loop is all passes over [m, m].
        inverse = torch.addmm(square + 1, at, at.T, alpha=-2).add_(square.unsqueeze(1)).clamp_(min=1).reciprocal_()
        inverse.fill_diagonal_(0)
        force = torch.sub(near * 12.0 if early else near, inverse, alpha=float(1 / inverse.sum())).mul_(inverse)
        gradient = 4 * (force.sum(1, keepdim=True) * at - force @ at)
        # Steps grow where they keep their direction, and shrink where they swing.
        gains = torch.where(gradient * move < 0, gains + 0.2, gains * 0.8).clamp(min=0.01)
        move = (0.5 if early else 0.8) * move - rate * gains * gradient
        at = at + move
    return (at - at.mean(0)).double()


def _affinities(unit: Tensor) -> Tensor:
    """How near each pair is, [m, m], symmetric with sum 1: each direction's neighbourhood has the same perplexity."""
    count = len(unit)
    distance = (2 - 2 * unit @ unit.T).clamp(min=0)
    distance.fill_diagonal_(torch.inf)
    target = math.log(min(PERPLEXITY, (count - 1) / 3))
    low, high = torch.zeros(count, 1).double(), torch.full((count, 1), torch.inf).double()
    sharp = torch.ones(count, 1).double()
    for _ in range(_BISECTIONS):
        share = (-sharp * distance).softmax(1)
        entropy = -torch.special.xlogy(share, share).sum(1, keepdim=True)
        wide = entropy > target
        low, high = torch.where(wide, sharp, low), torch.where(wide, high, sharp)
        sharp = torch.where(high.isinf(), sharp * 2, (low + high) / 2)
    share = (-sharp * distance).softmax(1)
    return ((share + share.T) / (2 * count)).clamp(min=1e-12)


def _components(unit: Tensor) -> Tensor:
    """Scores [m, 2] on the two first principal components; of each component the largest score is positive."""
    out = torch.zeros(len(unit), 2, dtype=torch.float64)
    if len(unit) < 2:
        return out
    centred = unit - unit.mean(0)
    if len(unit) <= unit.shape[1]:
        values, vectors = torch.linalg.eigh(centred @ centred.T)
        scores = vectors[:, -2:].flip(1) * values[-2:].flip(0).clamp(min=0).sqrt()
    else:
        _, vectors = torch.linalg.eigh(centred.T @ centred)
        scores = centred @ vectors[:, -2:].flip(1)
    largest = scores.abs().argmax(0)
    sign = torch.where(scores[largest, torch.arange(scores.shape[1])] < 0, -1.0, 1.0)
    out[:, : scores.shape[1]] = scores * sign
    return out
