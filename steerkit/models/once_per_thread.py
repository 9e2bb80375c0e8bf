"""One loaded thing for each thread, for as long as the same one is asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

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
