"""The thread that fills rooms ahead: in order, never more than it has room for, and no hang when something fails."""

import threading
import time
from collections.abc import Iterator

import pytest

from steerwright.activations.store.shuffle import Prefetch


def test_windows_come_in_order_and_no_more_are_filled_than_there_is_room_for() -> None:
    filled: list[int] = []
    rooms: list[dict[str, int]] = [{}, {}]

    def fill(window: int, room: dict[str, int]) -> None:
        filled.append(window)
        room["holds"] = window

    prefetch = Prefetch(iter(range(6)), rooms, fill, "test")
    for expected in range(6):
        found = prefetch.take()
        assert found is not None
        window, room = found
        time.sleep(0.01)
        assert window == expected == room["holds"]
        assert len(filled) <= expected + 2
        prefetch.give_back(room)
    assert prefetch.take() is None and prefetch.take() is None
    prefetch.close()


def test_what_goes_wrong_in_the_thread_is_raised_every_time() -> None:
    def fill(window: int, room: list[int]) -> None:
        if window == 1:
            raise ZeroDivisionError("in the thread")

    prefetch = Prefetch(iter(range(3)), [[], []], fill, "test")
    assert prefetch.take() is not None
    for _ in range(2):
        with pytest.raises(ZeroDivisionError, match="in the thread"):
            prefetch.take()
    prefetch.close()


def test_closing_waits_for_the_thread_and_tells_a_long_fill() -> None:
    stopped, begun = threading.Event(), threading.Event()

    def endless() -> Iterator[int]:
        number = 0
        while True:
            yield number
            number += 1

    def fill(window: int, room: list[int]) -> None:
        begun.set()
        assert stopped.wait(timeout=10)

    prefetch = Prefetch(endless(), [[]], fill, "a long fill", stopped)
    begun.wait(timeout=10)
    prefetch.close()
    assert not any(thread.name == "a long fill" for thread in threading.enumerate())
    prefetch.close()
