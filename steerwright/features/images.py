"""One pass of an autoencoder over the stored rows of images: into the S matrix and the token maps."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steerwright.activations.store.format import MANIFEST
from steerwright.activations.store.reader import Store
from steerwright.errors import UserError
from steerwright.features.s_matrix import SMatrixSource, SMatrixWriter
from steerwright.features.token_maps import TokenMapsSource, TokenMapsWriter
from steerwright.models.hookpoints import Hookpoint
from steerwright.sae.sae import Sae
from steerwright.sae.sae_file import CONFIG, WEIGHTS, load_sae, require_fit, require_hookpoint
from steerwright.sae.site import store_site

if TYPE_CHECKING:
    import pyarrow as pa

# Tokens that are encoded at once; an image's stay together.
_TOKENS = 2**14


@dataclass(frozen=True, slots=True)
class ImageTokens:
    """Rows of one or several images with equally many tokens: `values` [images * tokens, d], and the tokens' places on
    the grid, int64 [tokens]; None where all of them are there."""

    images: tuple[int, ...]
    values: Tensor
    tokens: NDArray[np.int64] | None


def image_latents(
    store: Store, folder: Path, step: int, ids: Sequence[str], matrix: Path, maps: Path, *, top_share: float,
    dtype: Literal["float32", "float16"] = "float32", allow_mismatch: bool = False,
    device: torch.device | str = "cpu", progress: Callable[[int, int], None] | None = None,
) -> None:  # fmt: skip
    """Encode the rows of `step` by the autoencoder in `folder`, and write the folders `matrix` and `maps`.

    Image i is the one whose rows carry the id `ids[i]`. Images that a killed run finished are not encoded again. In
    memory: one batch of tokens. Raises UserError for an autoencoder that was trained on rows of another model,
    hookpoint, step or resolution, with what differs, unless `allow_mismatch`; and for images without rows.
    """
    sae = load_sae(folder)
    require_hookpoint(sae.site, f"in {folder}")
    hookpoint = _hookpoint(store, sae, folder, allow_mismatch)
    site = store_site(store, hookpoint, (step,))
    require_fit(sae.site, site, f"in {folder}", allow_mismatch=allow_mismatch)
    grid = store.layout(hookpoint).grid
    if len(grid) != 2:
        raise UserError(f"{hookpoint} has text tokens; features of images are looked for on image tokens.")
    common: dict[str, Any] = {
        "sae": folder.name, "key": _key(store, folder), "size": sae.size, "site": site, "step": step, "grid": grid,
        "images": tuple(ids),
    }  # fmt: skip
    place = {id_: number for number, id_ in enumerate(ids)}
    moved = sae.to(device)
    with (
        SMatrixWriter(matrix, SMatrixSource(**common, top_share=top_share)) as scores,
        TokenMapsWriter(maps, TokenMapsSource(**common, dtype=dtype)) as tokens,
    ):
        left = {*scores.pending, *tokens.pending}
        done = len(ids) - len(left)
        for some in image_tokens(store, hookpoint, step, place):
            if left.isdisjoint(some.images):
                continue
            found = moved.encode(some.values.to(device))
            # What is there already, of a batch that a kill cut in two, both leave as it is.
            scores.add(some.images, found)
            tokens.add(some.images, found, some.tokens)
            left.difference_update(some.images)
            done += len(some.images)
            if progress is not None:
                progress(done, len(ids))
        if left:
            raise UserError(
                f"{store.folder} has no rows of step {step} at {hookpoint} for {len(left)} of {len(ids)} images "
                f"(first: {ids[min(left)]}); collect them again."
            )


def image_tokens(store: Store, hookpoint: Hookpoint, step: int, place: dict[str, int]) -> Iterator[ImageTokens]:
    """The rows of a step, image by image, several at once; `place` gives each image's number by its id."""
    count = int(np.prod(store.layout(hookpoint).grid))
    for values, index in store.blocks(hookpoint):
        for start, stop, names in _runs(index, step):
            rows = values[start:stop]
            tokens = index.column("token").to_numpy(zero_copy_only=False)[start:stop]
            if len(rows) == len(names) * count and all(name in place for name in names):
                for first in range(0, len(names), max(1, _TOKENS // count)):
                    some = names[first : first + max(1, _TOKENS // count)]
                    here = slice(first * count, (first + len(some)) * count)
                    yield ImageTokens(tuple(place[name] for name in some), rows[here], None)
                continue
            # Rows that were not finite are missing, or images that nobody asked for are among them: one by one.
            column: Any = index.column("prompt")
            codes = column.indices.to_numpy(zero_copy_only=False)[start:stop]
            for name in (name for name in names if name in place):
                own = codes == column.dictionary.to_pylist().index(name)
                yield ImageTokens((place[name],), rows[torch.from_numpy(own)], tokens[own].astype(np.int64))


def mean_norm(store: Store, hookpoint: Hookpoint) -> float:
    """Mean length of the rows at a hookpoint, over all that is stored there: the unit that steering is measured in."""
    total, count = 0.0, 0
    for values, _ in store.blocks(hookpoint):
        for piece in values.split(_TOKENS):
            total += float(torch.linalg.vector_norm(piece.float(), dim=1).sum(dtype=torch.float64))
            count += len(piece)
    if not count:
        raise UserError(f"{store.folder} has no rows at {hookpoint}; collect them again.")
    return total / count


def _runs(index: pa.RecordBatch, step: int) -> Iterator[tuple[int, int, list[str]]]:
    """Where rows of `step` follow each other in a record batch, and the ids of their images, in order."""
    steps = index.column("step").to_numpy(zero_copy_only=False)
    column: Any = index.column("prompt")
    codes = column.indices.to_numpy(zero_copy_only=False)
    names = column.dictionary.to_pylist()
    ends = [*(np.flatnonzero(np.diff(steps)) + 1).tolist(), len(steps)]
    for at, stop in pairwise([0, *ends]):
        if stop > at and steps[at] == step:
            changes = np.flatnonzero(np.diff(codes[at:stop])) + 1
            yield at, stop, [names[codes[at + first]] for first in [0, *changes.tolist()]]


def _hookpoint(store: Store, sae: Sae, folder: Path, allow_mismatch: bool) -> Hookpoint:
    """The hookpoint of the store that the autoencoder is for; with a mismatch allowed, the only one there is."""
    own = Hookpoint.parse(str(sae.site.hookpoint))
    if own in store.hookpoints:
        return own
    if allow_mismatch and len(store.hookpoints) == 1:
        return store.hookpoints[0]
    raise UserError(
        f"The autoencoder in {folder} belongs to {own}, and the store has rows of "
        f"{', '.join(map(str, store.hookpoints))}: train one there, or collect rows at its hookpoint."
    )


def _key(store: Store, folder: Path) -> str:
    total = hashlib.sha256()
    for path in (folder / CONFIG, folder / WEIGHTS, store.folder / MANIFEST):
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
