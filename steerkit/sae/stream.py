"""Streams that training draws from: at each of some hookpoints a batch, every time, for as long as anyone asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from steerkit.activations.loader import RowLoader
from steerkit.activations.shuffle_pool import Batch
from steerkit.models.hookpoint import Hookpoint


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

    def next(self) -> Mapping[Hookpoint, Batch]:
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

    def next(self) -> Mapping[Hookpoint, Batch]:
        return {hookpoint: next(loader) for hookpoint, loader in self.loaders.items()}

    def cursor(self) -> dict[str, Any]:
        return {str(hookpoint): loader.cursor() for hookpoint, loader in self.loaders.items()}

    def report(self) -> list[str]:
        return [f"{hookpoint}: {loader.report()}" for hookpoint, loader in self.loaders.items()]

    def close(self) -> None:
        for loader in self.loaders.values():
            loader.close()
