"""Where rows to train on and rows to judge by come from: a store, or the model itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol

import torch

from steerkit.activations.loader import RowLoader
from steerkit.activations.shard_plan import CollectedPrompt, Collection
from steerkit.activations.shuffle_pool import Batch
from steerkit.activations.store import Store
from steerkit.errors import UserError
from steerkit.models.hookpoint import Hookpoint
from steerkit.models.load import LoadedModel
from steerkit.sae.model_stream import ModelStream
from steerkit.sae.site import Site
from steerkit.sae.stream import RowStream, StoreStream
from steerkit.sae.training_plan import TrainingAmounts

TRAIN, VALIDATION = "train", "validation"
MOST_HELD_OUT_ROWS = 1 << 20
"""An autoencoder is judged on at most so many rows, drawn at random; the mean of more is no surer."""
MOST_KEPT_ROWS = 1 << 17
"""Of rows that the model gives, which all autoencoders are judged on in turn, so many are kept in memory."""


class RowSource(Protocol):
    """Rows of training prompts, shuffled and endless, and rows of validation prompts."""

    @property
    def hookpoints(self) -> list[Hookpoint]:
        """Where there are rows."""

    def stream(self, hookpoints: Sequence[Hookpoint], amounts: TrainingAmounts) -> RowStream:
        """Shuffled rows of the training prompts at some of the hookpoints."""

    def held_out(self, hookpoint: Hookpoint, amounts: TrainingAmounts) -> Iterable[Batch]:
        """Rows of the validation prompts."""

    def site(self, hookpoint: Hookpoint) -> Site:
        """What an autoencoder of these rows says about them."""


class StoreSource:
    """Rows that were collected."""

    def __init__(self, store: Store, prompts: Sequence[CollectedPrompt], device: torch.device) -> None:
        """UserError when the prompts have no split to train or to validate on."""
        self._store, self._device = store, device
        self._splits = {split: frozenset(one.id for one in _of(prompts, split)) for split in (TRAIN, VALIDATION)}

    @property
    def hookpoints(self) -> list[Hookpoint]:
        return self._store.hookpoints

    def stream(self, hookpoints: Sequence[Hookpoint], amounts: TrainingAmounts) -> RowStream:
        return StoreStream({hookpoint: self._loader(hookpoint, amounts, TRAIN, None) for hookpoint in hookpoints})

    def held_out(self, hookpoint: Hookpoint, amounts: TrainingAmounts) -> Iterator[Batch]:
        with self._loader(hookpoint, amounts, VALIDATION, 1) as loader:
            yield from islice(loader, max(1, MOST_HELD_OUT_ROWS // amounts.batch_rows))

    def site(self, hookpoint: Hookpoint) -> Site:
        manifest = self._store.manifest
        steps, branches = manifest.provenance.get("steps"), manifest.provenance.get("branches")
        return Site(
            model=manifest.model.digest,
            hookpoint=str(hookpoint),
            steps=None if steps is None else tuple(steps),
            branches=None if branches is None else tuple(branches),
            grid=self._store.layout(hookpoint).grid,
        )

    def _loader(self, hookpoint: Hookpoint, amounts: TrainingAmounts, split: str, epochs: int | None) -> RowLoader:
        return RowLoader(
            self._store,
            hookpoint,
            batch_rows=amounts.batch_rows,
            pool_rows=amounts.pool_rows,
            seed=amounts.seed,
            prompts=self._splits[split],
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
        self._kept: dict[Hookpoint, list[Batch]] = {}

    @property
    def hookpoints(self) -> list[Hookpoint]:
        return self._collection.parsed()

    def stream(self, hookpoints: Sequence[Hookpoint], amounts: TrainingAmounts) -> RowStream:
        self._used = list(hookpoints)
        return self._stream(amounts, TRAIN, None)

    def held_out(self, hookpoint: Hookpoint, amounts: TrainingAmounts) -> list[Batch]:
        if not self._kept:
            stream = self._stream(amounts, VALIDATION, 1)
            for _ in range(max(1, MOST_KEPT_ROWS // amounts.batch_rows)):
                for place, batch in (found := stream.next()).items():
                    # In the computer's memory, where there is more of it; whoever judges moves them.
                    self._kept.setdefault(place, []).append(Batch(batch.rows.cpu(), batch.step.cpu()))
                if not found:
                    break
            stream.close()
        return self._kept[hookpoint]

    def site(self, hookpoint: Hookpoint) -> Site:
        return Site(
            model=self._model.fingerprint.digest,
            hookpoint=str(hookpoint),
            steps=self._collection.steps,
            branches=self._collection.branches,
        )

    def _stream(self, amounts: TrainingAmounts, split: str, epochs: int | None) -> ModelStream:
        used = self._collection.model_copy(update={"hookpoints": tuple(map(str, self._used))})
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
