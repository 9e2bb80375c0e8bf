"""Which label each latent stands for: the one whose images it picks out best, by area under the ROC curve."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from steerwright.errors import UserError
from steerwright.features.prompt_shuffles import prompt_codes, prompt_shuffles
from steerwright.features.s_matrix import latent_blocks
from steerwright.stats.ranks import Entries, LatentRanks, area_interval, auroc, latent_ranks

ASKED = "asked_"

if TYPE_CHECKING:
    import polars as pl

# Elements of a block: ranking takes some 60 bytes for each that is not zero.
_BLOCK = 2**22


@dataclass(frozen=True, slots=True, eq=False)
class _Axis:
    """A label that some images have. `values` are those that at least `least` images show and `least` do not, `code`
    int64 [taking] the place of each image's value among all of `known`, `taking` the images that have the label."""

    label: str
    known: tuple[str, ...]
    kept: NDArray[np.int64]
    code: NDArray[np.int64]
    taking: NDArray[np.int64]


def label_matches(
    values: NDArray[np.float32],
    labels: Mapping[str, Sequence[str | None]] | pl.DataFrame,
    prompts: Sequence[Hashable] | None = None,
    *,
    least: int = 8,
    shuffles: int = 20,
    level: float = 0.95,
    seed: int = 0,
) -> pl.DataFrame:
    """The best-matching label value of every latent of `values` [images, n] (one pooled activation).

    `labels`: by label (season, object, ...) the value that each image shows; images without one (null) take no part in
    that label. The area is the probability that an image that shows the value has a higher activation than one that
    does not; ties count half. Values that fewer than `least` images show, or do not show, are left out.

    One row per latent: latent, label, value, auroc, low, high (`level` score interval of Hanley and McNeil's variance,
    see area_interval; with `prompts` [images] cases are counted as prompts, because images of one prompt are no
    independent witnesses), second_label, second_value, second_auroc (the next best value), positives (images that show
    it), chance, shuffled. The best of many values is high by chance too: `chance` is the best area of any value that
    any of `shuffles` shufflings of images (prompts together) gives the latent, so an area above it has p = 1 / (1 +
    shuffles), null where so few prompts have fewer different ones; `shuffled` is that of the first shuffling alone.
    Latents that are never active have nulls. Raises UserError where no value has enough images.
    """
    columns = {str(name): list(column) for name, column in _items(labels)}
    if any(len(column) != len(values) for column in columns.values()):
        raise ValueError(f"labels of other images than the {len(values)} of the matrix")
    codes, _ = prompt_codes(prompts if prompts is not None else range(len(values)))
    axes = [axis for name, column in columns.items() if (axis := _axis(name, column, least)) is not None]
    if not axes:
        raise UserError(
            f"No value of {', '.join(columns) or 'any label'} is shown by {least} images and missing in {least}; "
            "generate more images, or lower `least`."
        )
    names = [(axis.label, axis.known[place]) for axis in axes for place in axis.kept]
    orders = _shufflings(axes, codes, shuffles, seed)
    size = values.shape[1]
    areas, alive = np.full((len(names), size), np.nan), np.zeros(size, dtype=bool)
    chance, first = np.full(size, np.nan), np.full(size, np.nan)
    for latents, block in latent_blocks(values, elements=_BLOCK):
        alive[latents] = (block != 0).any(1).numpy()
        found, by_chance = _areas(block, axes, orders)
        areas[:, latents] = found
        if len(by_chance):
            first[latents] = by_chance[0]
        if len(by_chance) == shuffles > 0:
            chance[latents] = by_chance.max(0)
    areas[:, ~alive] = np.nan
    counts = _counts(axes, codes if prompts is not None else np.arange(len(values)))
    return _frame(names, areas, alive, counts, np.where(alive, chance, np.nan), np.where(alive, first, np.nan), level)


def _items(labels: Mapping[str, Sequence[str | None]] | pl.DataFrame) -> list[tuple[str, Sequence[str | None]]]:
    if isinstance(labels, Mapping):
        return list(labels.items())
    return [(name, labels[name].to_list()) for name in labels.columns]


def _axis(label: str, column: list[str | None], least: int) -> _Axis | None:
    taking = np.flatnonzero([value is not None for value in column])
    known = tuple(sorted({value for value in column if value is not None}))
    place = {value: number for number, value in enumerate(known)}
    code = np.array([place[str(column[image])] for image in taking], dtype=np.int64)
    count = np.bincount(code, minlength=len(known))
    kept = np.flatnonzero((count >= max(1, least)) & (len(taking) - count >= max(1, least)))
    return _Axis(label, known, kept, code, taking) if len(kept) else None


def _shufflings(axes: list[_Axis], prompt: NDArray[np.int64], shuffles: int, seed: int) -> list[NDArray[np.int64]]:
    """Of each axis the codes of its images in up to `shuffles` different shufflings, [shuffles, taking].

    Prompts are put into a random order, and their images' values given to the images in the old order: where prompts
    have equally many images, those of a prompt stay together.
    """
    owns = [prompt[axis.taking] for axis in axes]
    olds = [np.argsort(own, kind="stable") for own in owns]

    def shuffled(ranks: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        found = []
        for axis, own, old in zip(axes, owns, olds, strict=True):
            codes = np.empty(len(own), dtype=np.int64)
            codes[old] = axis.code[np.argsort(ranks[own], kind="stable")]
            found.append(codes)
        return found

    # Labels of the same images are shuffled alike, or their combinations would change too.
    orders = prompt_shuffles(
        int(prompt.max(initial=0)) + 1, shuffles, seed, lambda ranks: b"".join(one.tobytes() for one in shuffled(ranks))
    )
    each = [shuffled(ranks) for ranks in orders]
    return [np.array([codes[place] for codes in each]).reshape(-1, len(own)) for place, own in enumerate(owns)]


def _areas(
    block: Tensor, axes: list[_Axis], shuffled: list[NDArray[np.int64]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Areas [values, b] of a block [b, images], and the best of any value in each shuffling [shuffles, b]."""
    latent, image = (index.numpy() for index in block.nonzero(as_tuple=True))
    entries = Entries(image.astype(np.int32), latent.astype(np.int32), block.numpy()[latent, image])
    areas: list[NDArray[np.float64]] = []
    best: NDArray[np.float64] | None = None
    ranks, dense, of = None, None, None
    for axis, codes in zip(axes, shuffled, strict=True):
        if ranks is None or of is None or not np.array_equal(of, axis.taking):
            position = np.full(block.shape[1], -1, dtype=np.int64)
            position[axis.taking] = np.arange(len(axis.taking))
            ranks, of = latent_ranks(entries, position, slice(0, len(block))), axis.taking
            dense = _dense(ranks, len(block)) if len(codes) else None
        areas.append(auroc(ranks, axis.code, len(axis.known))[axis.kept])
        if dense is not None:
            here = _shuffled_areas(dense, codes, axis)
            best = here if best is None else np.maximum(best, here)
    return np.concatenate(areas), best if best is not None else np.zeros((0, len(block)))


def _dense(ranks: LatentRanks, latents: int) -> Tensor:
    """Ranks float32 [images, latents], less their mean, so that sums keep their digits."""
    middle = torch.from_numpy(ranks.zero_rank - (ranks.images + 1) / 2).float()
    return ranks.dense(np.arange(latents), ranks.above) + middle


def _shuffled_areas(dense: Tensor, codes: NDArray[np.int64], axis: _Axis) -> NDArray[np.float64]:
    """Best area over the kept values of an axis, [shuffles, latents]."""
    member = torch.from_numpy(codes[:, None, :] == axis.kept[:, None]).float()
    count = member[0].sum(1).double()
    sums = (member.flatten(0, 1) @ dense).unflatten(0, member.shape[:2]).double()
    # Ranks are centred: their sum over positives is (area - 1/2) times the number of pairs.
    areas = 0.5 + sums / (count * (len(axis.taking) - count))[:, None]
    best: NDArray[np.float64] = areas.amax(1).numpy()
    return best


def _counts(axes: list[_Axis], case: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each value the images that show it, and the cases among those that do and those that do not: [values, 3]."""
    rows = []
    for axis in axes:
        for place in axis.kept:
            shows = axis.code == place
            own = case[axis.taking]
            rows.append((shows.sum(), len(np.unique(own[shows])), len(np.unique(own[~shows]))))
    return np.array(rows, dtype=np.int64)


def _frame(
    names: list[tuple[str, str]],
    areas: NDArray[np.float64],
    alive: NDArray[np.bool_],
    counts: NDArray[np.int64],
    chance: NDArray[np.float64],
    shuffled: NDArray[np.float64],
    level: float,
) -> pl.DataFrame:
    import polars as pl

    size = areas.shape[1]
    ranked = np.where(np.isnan(areas), -np.inf, areas)
    best = ranked.argmax(0)
    area = areas[best, np.arange(size)]
    rest = ranked.copy()
    rest[best, np.arange(size)] = -np.inf
    second = rest.argmax(0)
    has_second = alive & (len(names) > 1)
    low, high = area_interval(area, counts[best, 1], counts[best, 2], level)

    def named(places: NDArray[np.int64], part: int, where: NDArray[np.bool_]) -> list[str | None]:
        return [names[place][part] if there else None for place, there in zip(places.tolist(), where, strict=True)]

    frame = pl.DataFrame(
        {
            "latent": np.arange(size),
            "label": pl.Series(named(best, 0, alive), dtype=pl.String),
            "value": pl.Series(named(best, 1, alive), dtype=pl.String),
            "auroc": area,
            "low": low,
            "high": high,
            "second_label": pl.Series(named(second, 0, has_second), dtype=pl.String),
            "second_value": pl.Series(named(second, 1, has_second), dtype=pl.String),
            "second_auroc": np.where(has_second, areas[second, np.arange(size)], np.nan),
            "positives": pl.Series([int(counts[p, 0]) if there else None for p, there in zip(best, alive, strict=True)],
                                   dtype=pl.Int64),
            "chance": chance,
            "shuffled": shuffled,
        }
    )  # fmt: skip
    return frame.with_columns(pl.col(pl.Float64).fill_nan(None))


def label_columns(table: pl.DataFrame) -> list[str]:
    """The labels that a judge read off the pictures of `image_table`; without a judge, what the prompts ask for."""
    asked = [name.removeprefix(ASKED) for name in table.columns if name.startswith(ASKED)]
    fixed = {"image", "id", "prompt_id", "repetition", "seed", "prompt", "file", "height", "width"}
    seen = [name for name in table.columns if name not in fixed and not name.startswith(ASKED)]
    return seen or [ASKED + name for name in asked]
