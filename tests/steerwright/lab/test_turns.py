import threading
import time

import pytest

from steerwright.lab.jobs import Cancelled, FairLock, FairQueue


def _wait_until(condition, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.002)


def test_whoever_asks_first_is_first() -> None:
    lock = FairLock()
    order: list[int] = []
    lock.acquire()
    threads = []
    for number in range(6):

        def work(number: int = number) -> None:
            lock.acquire()
            order.append(number)
            lock.release()

        threads.append(threading.Thread(target=work))
        threads[-1].start()
        _wait_until(lambda expected=number + 1: lock.waiting == expected)
    lock.release()
    for thread in threads:
        thread.join(5)
    assert order == list(range(6))


def test_a_short_request_passes_between_the_pieces_of_long_work() -> None:
    turns = FairQueue()
    done: list[str] = []
    began = threading.Event()

    def long_work() -> None:
        for piece in range(50):
            with turns.turn("model"):
                began.set()
                time.sleep(0.005)
                done.append(f"piece {piece}")

    thread = threading.Thread(target=long_work)
    thread.start()
    began.wait(5)
    with turns.turn("model"):
        done.append("short")
    thread.join(10)
    # A plain lock lets the long work's thread take it again at once; here the short request is next in the row.
    assert done.index("short") <= 2
    assert len(done) == 51


def test_models_do_not_wait_for_one_another() -> None:
    turns = FairQueue()
    with turns.turn("language"):
        other = threading.Thread(target=lambda: turns.turn("pictures").__enter__())
        other.start()
        other.join(5)
        assert not other.is_alive()


def test_the_same_thread_may_take_its_turn_again_inside() -> None:
    lock = FairLock()
    lock.acquire()
    lock.acquire()
    lock.release()
    taken = threading.Event()

    def work() -> None:
        lock.acquire()
        taken.set()
        lock.release()

    thread = threading.Thread(target=work)
    thread.start()
    assert not taken.wait(0.1)
    lock.release()
    assert taken.wait(5)


def test_who_gives_up_waiting_leaves_the_row() -> None:
    lock = FairLock()
    lock.acquire()
    gave_up, later = threading.Event(), threading.Event()
    stop = threading.Event()

    def impatient() -> None:
        with pytest.raises(Cancelled):
            lock.acquire(stop.is_set)
        gave_up.set()

    def patient() -> None:
        lock.acquire()
        later.set()
        lock.release()

    threading.Thread(target=impatient).start()
    _wait_until(lambda: lock.waiting == 1)
    threading.Thread(target=patient).start()
    _wait_until(lambda: lock.waiting == 2)
    stop.set()
    assert gave_up.wait(5)
    assert lock.waiting == 1
    lock.release()
    assert later.wait(5)


def test_an_exception_hands_the_turn_on() -> None:
    turns = FairQueue()
    with pytest.raises(RuntimeError), turns.turn("model"):
        raise RuntimeError
    done = threading.Event()

    def work() -> None:
        with turns.turn("model"):
            done.set()

    threading.Thread(target=work).start()
    assert done.wait(5)
