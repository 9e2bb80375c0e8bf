"""Long work that says how far it is and can be stopped, and following it while a thread of its own does it."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from steerwright.errors import UserError

MOST_JOBS = 24
"""So many jobs of each kind run or wait for a model at once; gradio answers a page's clicks in 40 threads."""
_LOOK = 0.2  # seconds between two looks at whether the client has gone away
_PACE = 0.08  # seconds between two updates that are passed on: more are more than an eye follows
_PATIENCE = 0.4  # seconds after which a follower is told that the work waits


class Cancelled(Exception):
    """The work was asked to stop, and did."""


def _silent(share: float, words: str) -> None:  # noqa: ARG001
    return None


def _never() -> bool:
    return False


def _unseen(partial: Any) -> None:  # noqa: ARG001
    return None


@dataclass(frozen=True, slots=True)
class Job:
    """What a long operation is given: where it tells its progress, and whether it should stop.

    `progress` takes the share done (0 to 1) and a few words; `cancelled` is asked between two pieces of work; `show`
    takes what there is so far, for pages that show it growing. Without any of them it is the job of a plain call.
    """

    progress: Callable[[float, str], None] = _silent
    cancelled: Callable[[], bool] = _never
    show: Callable[[Any], None] = _unseen

    def step(self, share: float, words: str) -> None:
        """Tell the progress; raises Cancelled when the work should stop."""
        self.check()
        self.progress(share, words)

    def check(self) -> None:
        """Raise Cancelled when the work should stop."""
        if self.cancelled():
            raise Cancelled


@dataclass(slots=True)
class Stop:
    """One session's wish to stop what runs; kept in a gr.State, so that the session's other clicks reach it."""

    asked: bool = False
    run: int = 0


@dataclass(frozen=True, slots=True)
class Update:
    """What a followed job says: its progress, what there is so far, and at the end its result."""

    share: float
    words: str
    partial: Any = None
    result: Any = None
    done: bool = False


class Entrance:
    """Lets a number of jobs in; further ones are told at once that the lab is busy."""

    def __init__(self, whose: str, most: int = MOST_JOBS) -> None:
        self._whose, self._most = whose, most
        self._free = threading.Semaphore(most)

    def enter(self) -> None:
        """Take a place. Raises UserError when there is none."""
        if not self._free.acquire(blocking=False):
            raise UserError(
                f"The lab is busy: {self._most} requests {self._whose} run or wait for a model already. "
                "Try again in a moment."
            )

    def leave(self) -> None:
        """Give the place back."""
        self._free.release()


# Apart, so that a program that asks without end keeps no visitor of the page out.
PAGE = Entrance("of the page")
PROGRAMS = Entrance("of programs")


@dataclass(slots=True)
class _Running:
    changed: threading.Condition = field(default_factory=threading.Condition)
    latest: Update = field(default_factory=lambda: Update(0.0, "Waiting for the model"))
    seen: bool = False
    begun: bool = False
    stopped: bool = False
    error: BaseException | None = None


def follow(work: Callable[[Job], Any], stop: Stop | None = None) -> Iterator[Update]:
    """Do `work` in a thread, and give its updates as they come (the latest, where they come fast); the last has `done`.

    Raises what `work` raises, so Cancelled after `stop.asked`, and UserError when the lab is busy. When nobody takes
    updates any more (a closed page), the work is asked to stop. A later `follow` with the same `stop` asks the earlier
    work to stop too.
    """
    PAGE.enter()
    running = _Running()
    if stop is None:
        stop = Stop()
    stop.asked = False
    stop.run += 1
    mine = stop.run
    _start(running, work, PAGE, lambda: stop.asked or stop.run != mine)
    try:
        while True:
            update = _next(running)
            yield update
            if update.done:
                return
            threading.Event().wait(_PACE)
    finally:
        running.stopped = True


async def awaited(work: Callable[[Job], Any], gone: Callable[[], bool], entrance: Entrance = PROGRAMS) -> Any:
    """What `work` gives, done in a thread of its own while the event loop goes on.

    Raises what `work` raises; UserError when the lab is busy; Cancelled as soon as `gone` says that nobody waits for it
    any more. The work is then asked to stop, as it is when the caller is cancelled, and keeps its place until it does.
    """
    entrance.enter()
    running, loop, ended = _Running(), asyncio.get_running_loop(), asyncio.Event()

    def tell() -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(ended.set)

    _start(running, work, entrance, on_end=tell)
    try:
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), _LOOK)
            if not ended.is_set() and gone():
                raise Cancelled
    finally:
        running.stopped = True
    if running.error is not None:
        raise running.error
    return running.latest.result


def _start(
    running: _Running,
    work: Callable[[Job], Any],
    entrance: Entrance,
    unwanted: Callable[[], bool] = _never,
    on_end: Callable[[], None] = lambda: None,
) -> None:
    """Do `work` in a thread, whose place at the `entrance` is taken already."""

    def progress(share: float, words: str) -> None:
        _put(running, Update(share, words, running.latest.partial))

    def show(partial: Any) -> None:
        _put(running, Update(running.latest.share, running.latest.words, partial))

    def run() -> None:
        try:
            job = Job(progress, lambda: running.stopped or unwanted(), show)
            # Nobody may wait for it by now.
            job.check()
            result = work(job)
            _put(running, Update(1.0, "", running.latest.partial, result, done=True))
        except BaseException as error:  # whatever it is, its followers must hear of it
            with running.changed:
                running.error = error
                running.changed.notify_all()
        finally:
            entrance.leave()
            on_end()

    try:
        threading.Thread(target=run, name="lab-job", daemon=True).start()
    except RuntimeError:  # no thread can be had
        entrance.leave()
        raise


def _put(running: _Running, update: Update) -> None:
    with running.changed:
        running.latest, running.seen = update, True
        running.changed.notify_all()


def _next(running: _Running) -> Update:
    with running.changed:
        # Nothing is said for long where the model is busy, or is still being loaded.
        waiting = not running.begun
        running.begun = True
        running.changed.wait_for(
            lambda: running.seen or running.error is not None, timeout=_PATIENCE if waiting else None
        )
        if running.error is not None:
            raise running.error
        running.seen = False
        return running.latest


# Whose turn it is at a model: one at a time, in the order in which they asked.
#
# A model that is being steered holds hooks, so two requests must not run in it at once. Long work (a sweep) takes a
# turn for each of its pieces, so that a short request that came meanwhile is next, and nobody waits for the whole.

_QUEUE_LOOK = 0.1  # seconds between two looks at whether somebody who waits has given up


class FairLock:
    """A lock that is given in the order of requests (a plain lock may give it to the same thread again and again).

    The thread that holds it may take it again inside, as operations call one another.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._holder: int | None = None
        self._depth = 0

    @property
    def waiting(self) -> int:
        """How many threads wait for it now."""
        with self._guard:
            return len(self._waiting)

    def acquire(self, cancelled: Callable[[], bool] | None = None) -> None:
        """Wait for the turn; raises Cancelled when `cancelled` says so before it has come."""
        me = threading.get_ident()
        with self._guard:
            if self._holder == me:
                self._depth += 1
                return
            if self._holder is None and not self._waiting:
                self._holder, self._depth = me, 1
                return
            mine = threading.Event()
            self._waiting.append(mine)
        while not mine.wait(None if cancelled is None else _QUEUE_LOOK):
            if cancelled is not None and cancelled():
                self._give_up(mine)
        with self._guard:
            self._holder, self._depth = me, 1

    def release(self) -> None:
        """Hand the turn to the next in the row."""
        with self._guard:
            self._depth -= 1
            if self._depth == 0:
                self._next()

    def _give_up(self, mine: threading.Event) -> None:
        with self._guard:
            if mine.is_set():
                # The turn came between the look and now: pass it on.
                self._next()
            else:
                self._waiting.remove(mine)
        raise Cancelled

    def _next(self) -> None:
        if self._waiting:
            # Nobody's yet, but no longer free: who comes now must not slip in before the thread that is woken.
            self._holder = -1
            self._waiting.popleft().set()
        else:
            self._holder = None


class FairQueue:
    """A fair lock for each model, by name."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, FairLock] = {}

    @contextmanager
    def turn(self, name: str, cancelled: Callable[[], bool] | None = None) -> Iterator[None]:
        """The model `name` is this thread's inside the block. Raises Cancelled when `cancelled` comes true waiting."""
        with self._guard:
            lock = self._locks.setdefault(name, FairLock())
        lock.acquire(cancelled)
        try:
            yield
        finally:
            lock.release()
