"""Long work that says how far it is and can be stopped, and following it from a page while a thread does it."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

_PACE = 0.08  # seconds between two updates that are passed on: more are more than an eye follows
_PATIENCE = 0.4  # seconds after which whoever follows is told that the work waits


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

    Raises what `work` raises, so Cancelled after `stop.asked`. When nobody takes updates any more (a closed page), the
    work is asked to stop. A later `follow` with the same `stop` asks the earlier work to stop too.
    """
    running = _Running()
    if stop is None:
        stop = Stop()
    stop.asked = False
    stop.run += 1
    mine = stop.run

    def cancelled() -> bool:
        return running.stopped or stop.asked or stop.run != mine

    def progress(share: float, words: str) -> None:
        _put(running, Update(share, words, running.latest.partial))

    def show(partial: Any) -> None:
        _put(running, Update(running.latest.share, running.latest.words, partial))

    def run() -> None:
        try:
            result = work(Job(progress, cancelled, show))
            _put(running, Update(1.0, "", running.latest.partial, result, done=True))
        except BaseException as error:  # whatever it is, whoever follows must hear of it
            with running.changed:
                running.error = error
                running.changed.notify_all()

    thread = threading.Thread(target=run, name="lab-job", daemon=True)
    thread.start()
    try:
        while True:
            update = _next(running)
            yield update
            if update.done:
                return
            threading.Event().wait(_PACE)
    finally:
        running.stopped = True


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
