"""From what hooks see while pictures are made to rows: of the steps, branches and tokens that are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Unpack

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from steerkit.activations.attention_rows import token_grid
from steerkit.activations.prompt_tokens import type_indices
from steerkit.activations.record import Capture, capture
from steerkit.activations.rows import Rows
from steerkit.activations.shard_plan import CollectedPrompt, Collection
from steerkit.activations.token_sample import TokenSample
from steerkit.errors import UserError
from steerkit.models.denoiser import image_grid
from steerkit.models.generate import Batch, Options, generate_batches, image_size
from steerkit.models.load import LoadedModel


class PictureRows:
    """A sink of captures of pictures of `size` (height, width) pixels, which hands their rows to `take`."""

    def __init__(
        self, model: LoadedModel, collection: Collection, take: Callable[[Rows], None], size: tuple[int, int]
    ) -> None:
        self._model, self._collection, self._take, self._size = model, collection, take, size
        self._sample = None if collection.tokens is None else TokenSample(collection.tokens, collection.token_seed)
        # Positions are the same for all hookpoints with the same number of tokens, and for both branches.
        self._chosen: dict[tuple[int, int], Tensor | None] = {}
        self._ids: list[str] = []
        self._seeds: Sequence[int] = ()

    def begin(self, ids: Sequence[str], seeds: Sequence[int]) -> None:
        """The batch whose captures come next: a prompt's id and a seed for each picture."""
        self._ids, self._seeds = list(ids), seeds
        self._chosen.clear()

    def add(self, seen: Capture) -> None:
        """Hand on the rows of a capture, as far as they are asked for; values are valid until `take` returns."""
        step, asked = seen.step, self._collection
        if step is None or (asked.steps is not None and step.index not in asked.steps):
            return
        for branch, rows in seen.branches:
            if branch != "none" and branch not in asked.branches:
                continue
            values, grid = self._by_token(seen, seen.tensor[rows])
            types = self._types(seen, rows)
            at = self._positions(step.index, values.shape[1])
            if at is not None:
                values = values.gather(1, at.to(values.device)[..., None].expand(-1, -1, values.shape[2]))
                types = None if types is None else types.gather(1, at.to(types.device))
            self._take(Rows(seen.hookpoint, values, self._ids, self._seeds, step, branch, grid, types, at))

    def _positions(self, step: int, tokens: int) -> Tensor | None:
        if self._sample is None:
            return None
        key = (step, tokens)
        if key not in self._chosen:
            kept = self._sample.positions(self._ids, *key)
            self._chosen[key] = None if kept is None else torch.from_numpy(kept)
        return self._chosen[key]

    def _types(self, seen: Capture, rows: slice) -> Tensor | None:
        """Types of text tokens; None for image tokens."""
        if seen.hookpoint.tokens != "text" or seen.token_ids is None:
            return None
        return type_indices(self._model.pipeline.tokenizer_2, seen.token_ids[rows])

    def _by_token(self, seen: Capture, tensor: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """As [n, tokens, d], with the token grid: maps [n, d, h, w] of a UNet's block, or sequences [n, tokens, d]."""
        if tensor.ndim == 4 and seen.hookpoint.tokens is None:
            n, d, rows, columns = tensor.shape
            return tensor.permute(0, 2, 3, 1).reshape(n, rows * columns, d), (rows, columns)
        if tensor.ndim == 3:
            match seen.hookpoint.tokens:
                case "text":
                    return tensor, (tensor.shape[1],)
                case "image":
                    return tensor, image_grid(self._model.pipeline, *self._size)
                case _:
                    return tensor, token_grid(tensor.shape[1], *self._size)
        raise UserError(f"A hookpoint gives a tensor of shape {list(tensor.shape)}, which has no tokens; name a block.")


def collect_pictures(
    model: LoadedModel,
    prompts: Sequence[CollectedPrompt],
    collection: Collection,
    take: Callable[[Rows], None],
    **options: Unpack[Options],
) -> Iterator[tuple[Batch, npt.NDArray[np.uint8]]]:
    """Make the pictures of `prompts`, uint8 [n, h, w, 3] batch by batch, and hand rows to `take` on the way.

    As `generate_batches` and `collect_rows` in one run. `collection` says which rows, and the batch size and guidance
    that `options` leave out; rows are as edits among `options` left them. A batch's rows have been handed on when its
    pictures come.
    """
    asked: Options = {"batch_size": collection.batch_size, "guidance": collection.guidance, **options}
    rows = PictureRows(model, collection, take, image_size(model, options.get("height"), options.get("width")))
    edits = options.get("edits")

    @contextmanager
    def watched(batch: Batch) -> Iterator[None]:
        rows.begin([one.id for one in prompts[batch.start : batch.stop]], batch.seeds)
        if edits is None:
            with capture(model.pipeline, collection.parsed(), rows.add, copy=False):
                yield
        else:
            with edits(batch), capture(model.pipeline, collection.parsed(), rows.add, copy=False):
                yield

    asked["edits"] = watched
    yield from generate_batches(model, [one.prompt for one in prompts], [one.seed for one in prompts], **asked)
