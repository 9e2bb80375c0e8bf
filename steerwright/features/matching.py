"""Which latent of one dictionary is which of another: by what they do, never by their number.

Two autoencoders that were trained apart number their latents at random, so that equal numbers mean nothing. Latents are
paired by similarity: of their activations over the same images (Pearson), or of their decoder directions (cosine),
where both dictionaries are of one space. Both are inner products of unit vectors, and one assignment serves both.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steerwright.errors import UserError
from steerwright.features.prompt_shuffles import prompt_codes, prompt_shuffles
from steerwright.features.s_matrix import SMatrix, Statistic, latent_blocks
from steerwright.features.token_maps import TokenMaps

if TYPE_CHECKING:
    import polars as pl

# One-to-one pairs of the most similar vectors of two sets.

EXACTLY = 4096
"""Up to so many vectors the assignment with the largest sum is found; of more, the most similar pairs first."""
# Similarities that are held at once: 64 MiB of float32; and how many of each vector are kept where not all can be.
_BLOCK, _KEPT = 2**24, 32


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """`first` and `second` int64 [pairs]: rows of the two sides, each at most once; `similarity` float64 [pairs]."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    similarity: NDArray[np.float64]


def assign(first: Tensor, second: Tensor, *, exactly: int = EXACTLY) -> Pairs:
    """One-to-one pairs of unit rows [n, r] and [m, r] by inner product; no more pairs than the shorter side has rows.

    With at most `exactly` rows on each side the pairs with the largest sum (linear assignment); else the most similar
    pairs first, among each row's 32 most similar ones, so that some rows may be left without a partner.
    """
    if not len(first) or not len(second):
        none = np.zeros(0, dtype=np.int64)
        return Pairs(none, none, np.zeros(0))
    if max(len(first), len(second)) <= exactly:
        from scipy.optimize import linear_sum_assignment

        similarity = (first.double() @ second.double().T).numpy()
        here, there = linear_sum_assignment(similarity, maximize=True)
        return Pairs(here, there, similarity[here, there])
    here, there, similar = (np.concatenate(part) for part in zip(*_nearest(first, second), strict=True))
    back = [np.concatenate(part) for part in zip(*_nearest(second, first), strict=True)]
    return _greedy(np.append(here, back[1]), np.append(there, back[0]), np.append(similar, back[2]))


def _nearest(first: Tensor, second: Tensor) -> list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Of each row of `first` its most similar rows of `second`, as pairs and their similarity, block by block."""
    found = []
    at_once = max(1, _BLOCK // len(second))
    for start in range(0, len(first), at_once):
        values, places = (first[start : start + at_once] @ second.T).topk(min(_KEPT, len(second)), dim=1)
        rows = np.repeat(np.arange(start, start + len(values)), values.shape[1])
        found.append((rows, places.flatten().numpy(), values.flatten().numpy()))
    return found


def _greedy(here: NDArray[np.int64], there: NDArray[np.int64], similar: NDArray[np.floating]) -> Pairs:
    """The most similar pairs first, each row once; of equal ones the lower numbers."""
    order = np.lexsort((there, here, -similar))
    here, there, similar = here[order], there[order], similar[order]
    taken: list[int] = []
    used_here, used_there = np.zeros(here.max() + 1, dtype=bool), np.zeros(there.max() + 1, dtype=bool)
    left = np.arange(len(here))
    while len(left):
        # Best of its own row on both sides among what is left: no better pair can take either of them.
        first_here = np.zeros(len(left), dtype=bool)
        first_there = np.zeros(len(left), dtype=bool)
        first_here[np.unique(here[left], return_index=True)[1]] = True
        first_there[np.unique(there[left], return_index=True)[1]] = True
        mutual = left[first_here & first_there]
        used_here[here[mutual]] = used_there[there[mutual]] = True
        taken += mutual.tolist()
        left = left[~(used_here[here[left]] | used_there[there[left]])]
    kept = np.sort(np.array(taken, dtype=np.int64))
    return Pairs(here[kept], there[kept], similar[kept].astype(np.float64))


By = Literal["correlation", "cosine"]
THRESHOLDS = (0.5, 0.7, 0.9)


def match_latents(
    a: SMatrix,
    b: SMatrix,
    *,
    by: By = "correlation",
    directions: tuple[Tensor, Tensor] | None = None,
    alive_above: float = 1e-4,
    statistic: Statistic = "max",
    exactly: int = EXACTLY,
) -> pl.DataFrame:
    """Pairs of latents that are alive (active in an image) in `a` and in `b`: latent_a, latent_b, cosine, correlation.

    Each latent is in at most one pair; the most similar pairs come first. `directions`: decoders [n, d] of both, where
    they are of one space; else cosine is null. Both matrices have the same images in the same order (else UserError).
    """
    import polars as pl

    _check_images(a, b)
    numbers = [np.flatnonzero(np.asarray(s.of(statistic)).max(0) > alive_above) for s in (a, b)]
    rows = [unit_activations(s, latents, statistic) for s, latents in zip((a, b), numbers, strict=True)]
    shared = _shared_directions(directions, numbers, by)
    pairs = assign(*(shared if by == "cosine" and shared is not None else rows), exactly=exactly)
    correlation = _products(rows[0], rows[1], pairs)
    cosine = _products(*shared, pairs) if shared is not None else [None] * len(pairs.first)
    frame = pl.DataFrame(
        {
            "latent_a": numbers[0][pairs.first],
            "latent_b": numbers[1][pairs.second],
            "cosine": pl.Series(cosine, dtype=pl.Float64),
            "correlation": correlation,
        }
    )
    return frame.sort(by, "latent_a", descending=[True, False])


def match_summary(
    matches: pl.DataFrame,
    a: SMatrix,
    b: SMatrix,
    prompts: Sequence[Hashable],
    *,
    maps: tuple[TokenMaps, TokenMaps] | None = None,
    alive_above: float = 1e-4,
    statistic: Statistic = "max",
    thresholds: Sequence[float] = THRESHOLDS,
    shuffles: int = 5,
    seed: int = 0,
    exactly: int = EXACTLY,
) -> dict[str, Any]:
    """How much two dictionaries share, as JSON: `a` and `b` (see dictionary_facts), `pairs`, `correlation` (mean of all
    pairs) and `share_above` (threshold -> share of the smaller dictionary's alive latents that are matched above it).

    `chance` holds the same where the images of `b` are shuffled (whole prompts) before latents are matched by
    correlation, means over `shuffles`, or over as many different ones as there are with few prompts; null, and no
    shares, where there are none. `chance_high` is the correlation that 5 % of those pairs exceed, and
    `share_above_chance` the share of pairs that do. `prompts` [images].
    """
    _check_images(a, b)
    numbers = [np.flatnonzero(np.asarray(s.of(statistic)).max(0) > alive_above) for s in (a, b)]
    rows = [unit_activations(s, latents, statistic) for s, latents in zip((a, b), numbers, strict=True)]
    smaller = max(1, min(len(latents) for latents in numbers))
    codes, count = prompt_codes(prompts)
    by_chance: list[NDArray[np.float64]] = []
    for ranks in prompt_shuffles(count, shuffles, seed):
        shuffled = torch.empty_like(rows[1])
        # Images sorted by prompt take the activations of images of prompts in a random order.
        shuffled[:, np.argsort(codes, kind="stable")] = rows[1][:, np.argsort(ranks[codes], kind="stable")]
        by_chance.append(assign(rows[0], shuffled, exactly=exactly).similarity)
    found = matches["correlation"].drop_nulls().to_numpy()
    pooled = np.concatenate(by_chance) if by_chance else np.zeros(0)
    high = float(np.quantile(pooled, 0.95)) if len(pooled) else None
    return {
        "a": dictionary_facts(a, maps[0] if maps else None, alive_above, statistic),
        "b": dictionary_facts(b, maps[1] if maps else None, alive_above, statistic),
        "pairs": len(matches),
        "correlation": float(found.mean()) if len(found) else None,
        "share_above": {f"{bar:g}": float((found >= bar).sum() / smaller) for bar in thresholds},
        "chance": {
            "correlation": float(pooled.mean()) if len(pooled) else None,
            "share_above": {f"{bar:g}": float((pooled >= bar).sum() / smaller / len(by_chance)) for bar in thresholds}
            if by_chance
            else {},
        },
        "chance_high": high,
        "share_above_chance": float((found > high).mean()) if high is not None and len(found) else None,
    }


def dictionary_facts(
    s: SMatrix, maps: TokenMaps | None = None, alive_above: float = 1e-4, statistic: Statistic = "max"
) -> dict[str, Any]:
    """Of one dictionary: sae, hookpoint, step, latents, alive, alive_share, latents_per_image (mean number active in an
    image), density (mean and quantiles, over alive latents, of the share of images), l0 (mean number of latents active
    on a token; null without token maps)."""
    active = np.zeros(s.size)
    for latents, block in latent_blocks(s.of(statistic)):
        active[latents] = (block > alive_above).sum(1).numpy()
    density = active[active > 0] / len(s)
    quantiles = np.quantile(density, [0.05, 0.5, 0.95]).tolist() if len(density) else [None] * 3
    return {
        "sae": s.source.sae,
        "hookpoint": s.source.site.hookpoint,
        "step": s.source.step,
        "latents": s.size,
        "alive": len(density),
        "alive_share": len(density) / s.size,
        "latents_per_image": float(active.sum() / len(s)),
        "density": float(density.mean()) if len(density) else None,
        "density_quantiles": dict(zip(("5", "50", "95"), quantiles, strict=True)),
        "l0": float(maps.active().sum() / (len(maps) * maps.source.tokens)) if maps is not None else None,
    }


def unit_activations(s: SMatrix, latents: NDArray[np.int64], statistic: Statistic = "max") -> Tensor:
    """Activations of `latents` over images, centred and of length 1, float32 [latents, images]: inner products are
    Pearson correlations. Zeros for one that is the same in every image."""
    out = torch.empty(len(latents), len(s))
    start = 0
    for part, block in latent_blocks(s.of(statistic), latents):
        wide = block.double()
        wide -= wide.mean(1, keepdim=True)
        length = torch.linalg.vector_norm(wide, dim=1, keepdim=True)
        # Rounding leaves a constant latent a length of some 1e-16 times its activation.
        constant = length <= 1e-12 * block.abs().amax(1, keepdim=True) * len(s)
        out[start : start + len(part)] = torch.where(constant, 0.0, wide / length).float()
        start += len(part)
    return out


def _products(first: Tensor, second: Tensor, pairs: Pairs) -> NDArray[np.float64]:
    products: NDArray[np.float64] = (first[pairs.first].double() * second[pairs.second].double()).sum(1).numpy()
    return products


def _shared_directions(
    directions: tuple[Tensor, Tensor] | None, numbers: list[NDArray[np.int64]], by: By
) -> tuple[Tensor, Tensor] | None:
    if directions is None:
        if by == "cosine":
            raise UserError(
                "Latents can be matched by cosine only with the decoder directions of both; match by correlation."
            )
        return None
    widths = [directions[side].shape[1] for side in (0, 1)]
    if widths[0] != widths[1]:
        if by == "cosine":
            raise UserError(
                f"Directions of width {widths[0]} and {widths[1]} have no cosine; match latents by correlation."
            )
        return None
    first, second = (
        torch.nn.functional.normalize(directions[side].detach().cpu()[numbers[side]].float(), dim=1) for side in (0, 1)
    )
    return first, second


def _check_images(a: SMatrix, b: SMatrix) -> None:
    if a.source.images != b.source.images:
        raise UserError(
            f"The S matrices of {a.source.sae} ({len(a)} images) and {b.source.sae} ({len(b)}) are not of the same "
            "images, so their activations cannot be compared; compute both on the same ones."
        )
