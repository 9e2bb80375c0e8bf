"""Streams that training draws from: at each of some hookpoints a batch, every time, for as long as anyone asks."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import torch

from steerwright.activations.denoiser import collect_rows
from steerwright.activations.shard_plan import CollectedPrompt, Collection, check
from steerwright.activations.store.from_model import Generate, GenerationRoom, GenerationWindow, RowGeneration
from steerwright.activations.store.loader import RowLoader
from steerwright.activations.store.shuffle import Prefetch, RowBatch, joined
from steerwright.models.hookpoints import Hookpoint
from steerwright.models.load import LoadedModel


class RowStream(Protocol):
    """Shuffled batches of rows at several hookpoints. From the same arguments and cursor, the same rows."""

    @property
    def identity(self) -> Any:
        """JSON that changes whenever other rows, or another order of them, would come."""

    def width(self, hookpoint: Hookpoint) -> int:
        """Width d of the rows at a hookpoint."""

    def epoch_rows(self, hookpoint: Hookpoint) -> int:
        """How many rows there are before any comes again."""

    def seek(self, cursor: Mapping[str, Any]) -> None:
        """Begin at a place that `cursor` named; before the first batch is drawn."""

    def next(self) -> Mapping[Hookpoint, RowBatch]:
        """The next batch at every hookpoint, on the device of training."""

    def cursor(self) -> dict[str, Any]:
        """Where the next batch begins: small, and JSON."""

    def report(self) -> list[str]:
        """What is worth knowing at the end, for people."""

    def close(self) -> None:
        """End threads and close files."""


class StoreStream:
    """Rows of a store: one loader for each hookpoint, however many autoencoders train on it."""

    def __init__(self, loaders: Mapping[Hookpoint, RowLoader]) -> None:
        """Endless loaders, from which nothing has been taken."""
        self.loaders = dict(loaders)

    @property
    def identity(self) -> Any:
        return {str(hookpoint): loader.cursor()["order"] for hookpoint, loader in self.loaders.items()}

    def width(self, hookpoint: Hookpoint) -> int:
        return self.loaders[hookpoint].width

    def epoch_rows(self, hookpoint: Hookpoint) -> int:
        return self.loaders[hookpoint].rows

    def seek(self, cursor: Mapping[str, Any]) -> None:
        for hookpoint, loader in self.loaders.items():
            loader.seek(cursor[str(hookpoint)])

    def next(self) -> Mapping[Hookpoint, RowBatch]:
        return {hookpoint: next(loader) for hookpoint, loader in self.loaders.items()}

    def cursor(self) -> dict[str, Any]:
        return {str(hookpoint): loader.cursor() for hookpoint, loader in self.loaders.items()}

    def report(self) -> list[str]:
        return [f"{hookpoint}: {loader.report()}" for hookpoint, loader in self.loaders.items()]

    def close(self) -> None:
        for loader in self.loaders.values():
            loader.close()


# Rows for training straight from the model while it generates: no store, and no disk that it would have to fit on.

_UNKNOWN = 1 << 62


class ModelStream:
    """A `RowStream` of what a model computes; the model runs in a thread and must not be used elsewhere meanwhile.

    A position is a group of prompts and a number of rows: to go on from it, the groups whose rows lay in the pool are
    generated again. Memory: `pool_rows` rows at each hookpoint, in two halves.
    """

    def __init__(
        self,
        model: LoadedModel,
        prompts: Sequence[CollectedPrompt],
        collection: Collection,
        *,
        batch_rows: int,
        pool_rows: int,
        seed: int = 0,
        device: torch.device | str | None = None,
        epochs: int | None = None,
        generate: Generate | None = None,
    ) -> None:
        """Of `collection`, everything but splits and prompts_per_shard counts. `generate`: in place of the model's run.

        UserError for hookpoints, branches or steps that the model has not.
        """
        check(model, collection)
        self.hookpoints, self.batch_rows = tuple(collection.parsed()), batch_rows
        self._identity = _identity(model, prompts, collection, seed, pool_rows // 2)
        self._generation = RowGeneration(
            prompts,
            generate or partial(_run, model, collection),
            group=collection.batch_size,
            capacity=pool_rows // 2,
            seed=seed,
            device=torch.device(device) if device is not None else model.device,
        )
        self._epochs = epochs
        self._epoch = self._group = self._taken = 0
        self._prefetch: Prefetch[GenerationWindow, GenerationRoom] | None = None
        self._room: GenerationRoom | None = None
        self._emptied = False

    @property
    def identity(self) -> Any:
        return self._identity

    def width(self, hookpoint: Hookpoint) -> int:
        """Width of the rows at a hookpoint; waits for the first of them."""
        self._next_window()
        assert self._room is not None
        return int(self._room.halves[hookpoint].rows.shape[1])

    def epoch_rows(self, hookpoint: Hookpoint) -> int:  # noqa: ARG002 - the same everywhere
        """No row comes twice."""
        return _UNKNOWN

    def seek(self, cursor: Mapping[str, Any]) -> None:
        if cursor["order"] != self._identity:
            raise ValueError("this cursor is of another model, collection, seed or pool size")
        self._stop()
        self._epoch, self._group, self._taken = (int(cursor[name]) for name in ("epoch", "group", "taken"))

    def next(self) -> Mapping[Hookpoint, RowBatch]:
        """A batch at every hookpoint; short, and in the end empty, when the epochs that were asked for are over."""
        parts: list[dict[Hookpoint, RowBatch]] = []
        missing = self.batch_rows
        while missing and self._next_window():
            assert self._room is not None
            stop = min(self._taken + missing, self._room.held)
            parts.append({place: half.draw(self._taken, stop) for place, half in self._room.halves.items()})
            missing -= stop - self._taken
            self._taken = stop
        return {place: joined([part[place] for part in parts]) for place in self.hookpoints} if parts else {}

    def cursor(self) -> dict[str, Any]:
        return {"order": self._identity, "epoch": self._epoch, "group": self._group, "taken": self._taken}

    def report(self) -> list[str]:
        lost = self._generation.dropped
        return [f"{lost} rows were not finite and were left out"] if lost else []

    def close(self) -> None:
        self._stop()

    def _next_window(self) -> bool:
        if self._prefetch is None:
            work = self._generation.windows(self._epoch, self._group, self._epochs)
            rooms = [GenerationRoom(), GenerationRoom()]
            stopped = self._generation.stopped = threading.Event()
            self._prefetch = Prefetch(work, rooms, self._generation.fill, "rows of the model", stopped)
        while self._room is None or self._taken >= self._room.held:
            if self._room is not None:
                self._prefetch.give_back(self._room)
                self._room, self._emptied = None, True
            found = self._prefetch.take()
            if found is None:
                return False
            window, self._room = found
            self._epoch, self._group = window.epoch, window.start
            if self._emptied:
                self._taken = 0
        return True

    def _stop(self) -> None:
        if self._prefetch is not None:
            self._prefetch.close()
        self._prefetch = self._room = None
        self._emptied = False


def _run(model: LoadedModel, collection: Collection, prompts: Sequence[CollectedPrompt], take: Any) -> None:
    collect_rows(model, prompts, collection, take)


def _identity(
    model: LoadedModel, prompts: Sequence[CollectedPrompt], collection: Collection, seed: int, capacity: int
) -> str:
    everything = [
        model.fingerprint.computation, model.fingerprint.libraries, str(model.dtype), model.device.type,
        model.spec.model_dump(mode="json", exclude={"name", "source"}),
        collection.model_dump(mode="json", exclude={"splits", "prompts_per_shard"}),
        [(one.id, one.prompt, one.seed) for one in prompts], seed, capacity,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()[:16]
