"""One loaded thing for each thread, for as long as the same one is asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import torch

Thing = TypeVar("Thing")


class OncePerThread(Generic[Thing]):
    """Holds what a thread loaded last; the old one goes before a new one comes, since both may not fit into memory."""

    def __init__(self) -> None:
        self._held = threading.local()

    def get(self, key: object, load: Callable[[], Thing]) -> Thing:
        """What this thread holds under `key`, loaded where it holds another or none."""
        if getattr(self._held, "key", None) != key:
            self._held.key = self._held.thing = None
            self._held.thing = load()
            self._held.key = key
        thing: Thing = self._held.thing
        return thing


# Compute with a given number of threads: another number rounds otherwise.


@contextmanager
def same_threads(count: int) -> Iterator[None]:
    """Inside the block torch computes with `count` threads, those of the process that planned the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
