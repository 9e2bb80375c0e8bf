"""Where rows to train on and rows to judge by come from: a store, or the model itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol

import torch

from steerwright.activations.shard_plan import CollectedPrompt, Collection
from steerwright.activations.store.loader import RowLoader
from steerwright.activations.store.reader import Store
from steerwright.activations.store.shuffle import RowBatch
from steerwright.errors import UserError
from steerwright.models.fingerprint import Fingerprint
from steerwright.models.generate import image_size
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.load import LoadedModel
from steerwright.sae.site import Site, store_site
from steerwright.sae.training.config import TrainingAmounts
from steerwright.sae.training.stream import ModelStream, RowStream, StoreStream

TRAIN, VALIDATION = "train", "validation"
MOST_HELD_OUT_ROWS = 1 << 20
"""An autoencoder is judged on at most so many rows, drawn at random; the mean of more is no surer."""
MOST_KEPT_ROWS = 1 << 17
"""Of rows that the model gives, which all autoencoders are judged on in turn, so many are kept in memory."""


Steps = tuple[int, ...] | None
"""Denoising steps whose rows are meant, 0-based; None: all that there are."""


class RowSource(Protocol):
    """Rows of training prompts, shuffled and endless, and rows of validation prompts; of some denoising steps or all.

    UserError when there are no rows of steps that are asked for.
    """

    @property
    def model(self) -> Fingerprint:
        """What the rows are of."""

    @property
    def hookpoints(self) -> list[Hookpoint]:
        """Where there are rows."""

    def stream(self, hookpoints: Sequence[Hookpoint], amounts: TrainingAmounts, steps: Steps = None) -> RowStream:
        """Shuffled rows of the training prompts at some of the hookpoints."""

    def held_out(self, hookpoint: Hookpoint, amounts: TrainingAmounts, steps: Steps = None) -> Iterable[RowBatch]:
        """Rows of the validation prompts."""

    def site(self, hookpoint: Hookpoint, steps: Steps = None) -> Site:
        """What an autoencoder of these rows says about them."""


class StoreSource:
    """Rows that were collected."""

    def __init__(self, store: Store, prompts: Sequence[CollectedPrompt], device: torch.device) -> None:
        """UserError when the prompts have no split to train or to validate on."""
        self._store, self._device = store, device
        self._splits = {split: frozenset(one.id for one in _of(prompts, split)) for split in (TRAIN, VALIDATION)}

    @property
    def model(self) -> Fingerprint:
        return self._store.manifest.model

    @property
    def hookpoints(self) -> list[Hookpoint]:
        return self._store.hookpoints

    def stream(self, hookpoints: Sequence[Hookpoint], amounts: TrainingAmounts, steps: Steps = None) -> RowStream:
        return StoreStream({place: self._loader(place, amounts, TRAIN, None, steps) for place in hookpoints})

    def held_out(self, hookpoint: Hookpoint, amounts: TrainingAmounts, steps: Steps = None) -> Iterator[RowBatch]:
        with self._loader(hookpoint, amounts, VALIDATION, 1, steps) as loader:
            yield from islice(loader, max(1, MOST_HELD_OUT_ROWS // amounts.batch_rows))

    def site(self, hookpoint: Hookpoint, steps: Steps = None) -> Site:
        return store_site(self._store, hookpoint, steps)

    def _loader(
        self, hookpoint: Hookpoint, amounts: TrainingAmounts, split: str, epochs: int | None, steps: Steps
    ) -> RowLoader:
        return RowLoader(
            self._store,
            hookpoint,
            batch_rows=amounts.batch_rows,
            pool_rows=amounts.pool_rows,
            seed=amounts.seed,
            prompts=self._splits[split],
            steps=steps,
            device=self._device,
            epochs=epochs,
        )


class ModelSource:
    """Rows that the model gives while it generates, as `collection` says; nothing is stored."""

    def __init__(
        self, model: LoadedModel, prompts: Sequence[CollectedPrompt], collection: Collection, device: torch.device
    ) -> None:
        """UserError when the prompts have no split to train or to validate on."""
        self._model, self._collection, self._device = model, collection, device
        self._splits = {split: _of(prompts, split) for split in (TRAIN, VALIDATION)}
        self._used = collection.parsed()
        self._kept: dict[Hookpoint, list[RowBatch]] = {}
        self._kept_steps: Steps = None

    @property
    def model(self) -> Fingerprint:
        return self._model.fingerprint

    @property
    def hookpoints(self) -> list[Hookpoint]:
        return self._collection.parsed()

    def stream(self, hookpoints: Sequence[Hookpoint], amounts: TrainingAmounts, steps: Steps = None) -> RowStream:
        self._used = list(hookpoints)
        return self._stream(amounts, TRAIN, None, steps)

    def held_out(self, hookpoint: Hookpoint, amounts: TrainingAmounts, steps: Steps = None) -> list[RowBatch]:
        if self._kept_steps != steps:
            self._kept, self._kept_steps = {}, steps
        if not self._kept:
            stream = self._stream(amounts, VALIDATION, 1, steps)
            for _ in range(max(1, MOST_KEPT_ROWS // amounts.batch_rows)):
                for place, batch in (found := stream.next()).items():
                    # In the computer's memory, where there is more of it; the judge moves them.
                    self._kept.setdefault(place, []).append(RowBatch(batch.rows.cpu(), batch.step.cpu()))
                if not found:
                    break
            stream.close()
        return self._kept[hookpoint]

    def site(self, hookpoint: Hookpoint, steps: Steps = None) -> Site:
        return Site(
            model=self._model.fingerprint.digest,
            hookpoint=str(hookpoint),
            steps=self._collection.steps if steps is None else steps,
            branches=self._collection.branches,
            resolution=image_size(self._model),
        )

    def _stream(self, amounts: TrainingAmounts, split: str, epochs: int | None, steps: Steps) -> ModelStream:
        used = self._collection.model_copy(
            update={
                "hookpoints": tuple(map(str, self._used)),
                "steps": self._collection.steps if steps is None else steps,
            }
        )
        return ModelStream(
            self._model,
            self._splits[split],
            used,
            batch_rows=amounts.batch_rows,
            pool_rows=amounts.pool_rows,
            seed=amounts.seed,
            device=self._device,
            epochs=epochs,
        )


def _of(prompts: Sequence[CollectedPrompt], split: str) -> list[CollectedPrompt]:
    found = [one for one in prompts if one.split == split]
    if not found:
        there = ", ".join(sorted({one.split for one in prompts})) or "none"
        raise UserError(f"No prompt is of the split {split}; there is {there}. Autoencoders need train and validation.")
    return found
