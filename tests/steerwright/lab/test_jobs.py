import asyncio
import threading
import time

import pytest

from steerwright.errors import UserError
from steerwright.lab import jobs
from steerwright.lab.jobs import Cancelled, Entrance, Job, Stop, awaited, follow


def test_the_last_update_has_the_result() -> None:
    def work(job: Job) -> str:
        job.step(0.5, "half")
        return "made"

    updates = list(follow(work))
    assert updates[-1].done
    assert updates[-1].result == "made"
    assert not any(update.done for update in updates[:-1])


def test_progress_and_what_there_is_so_far_are_passed_on() -> None:
    seen = threading.Event()

    def work(job: Job) -> None:
        job.step(0.25, "a quarter")
        job.show(["one"])
        assert seen.wait(5)

    found = []
    for update in follow(work):
        found.append((update.share, update.words, update.partial))
        if update.partial:
            seen.set()
    assert (0.25, "a quarter", ["one"]) in found


def test_work_that_waits_says_so_before_it_begins() -> None:
    begun = threading.Event()

    def work(job: Job) -> None:
        assert begun.wait(30)
        job.step(0.5, "half")

    updates = follow(work)
    first = next(updates)
    begun.set()
    assert (first.share, first.words) == (0.0, "Waiting for the model")
    assert [*updates][-1].done


def test_a_stop_ends_the_work_at_its_next_step() -> None:
    stop = Stop()
    steps = 0

    def work(job: Job) -> None:
        nonlocal steps
        while True:
            steps += 1
            job.step(0.1, "on and on")
            threading.Event().wait(0.01)

    with pytest.raises(Cancelled):
        for _ in follow(work, stop):
            stop.asked = True
    after = steps
    threading.Event().wait(0.1)
    assert steps == after


def test_an_earlier_stop_does_not_end_later_work() -> None:
    stop = Stop(asked=True)
    assert list(follow(lambda job: job.check(), stop))[-1].done


def test_new_work_of_a_session_ends_its_earlier_work() -> None:
    stop = Stop()
    ended = threading.Event()

    def endless(job: Job) -> None:
        try:
            while True:
                job.step(0.0, "")
                threading.Event().wait(0.01)
        except Cancelled:
            ended.set()
            raise

    first = follow(endless, stop)
    next(first)
    assert list(follow(lambda job: "new", stop))[-1].result == "new"
    assert ended.wait(5)


def test_a_page_that_is_closed_ends_the_work() -> None:
    ended = threading.Event()

    def endless(job: Job) -> None:
        try:
            while True:
                job.step(0.0, "")
                threading.Event().wait(0.01)
        except Cancelled:
            ended.set()

    updates = follow(endless)
    next(updates)
    updates.close()
    assert ended.wait(5)


def test_what_the_work_raises_reaches_who_follows() -> None:
    def work(job: Job) -> None:
        raise ValueError("no good")

    with pytest.raises(ValueError, match="no good"):
        list(follow(work))


def test_a_job_of_nobody_never_stops() -> None:
    job = Job()
    job.step(0.5, "words")
    job.show("anything")


def test_whoever_comes_beyond_the_bound_is_told_that_the_lab_is_busy_and_the_place_comes_back() -> None:
    entrance, free = Entrance("of programs", most=2), threading.Event()

    async def three() -> list[object]:
        held = [asyncio.create_task(awaited(lambda _: free.wait(30), lambda: False, entrance)) for _ in range(2)]
        await asyncio.sleep(0.05)
        with pytest.raises(UserError, match="The lab is busy: 2 requests of programs"):
            await awaited(lambda _: None, lambda: False, entrance)
        free.set()
        return [await asyncio.gather(*held), await awaited(lambda _: "again", lambda: False, entrance)]

    assert asyncio.run(three()) == [[True, True], "again"]


def test_work_for_a_client_that_has_gone_away_stops_and_keeps_its_place_until_then() -> None:
    entrance, gone, ended = Entrance("of programs", most=1), threading.Event(), threading.Event()

    def endless(job: Job) -> None:
        try:
            while True:
                job.step(0.1, "on and on")
                threading.Event().wait(0.01)
        finally:
            ended.set()

    async def leave() -> None:
        asked = asyncio.create_task(awaited(endless, gone.is_set, entrance))
        await asyncio.sleep(0.1)
        gone.set()
        with pytest.raises(Cancelled):
            await asked

    asyncio.run(leave())
    assert ended.wait(5)
    deadline = time.monotonic() + 5
    while True:
        try:
            entrance.enter()
            break
        except UserError:
            assert time.monotonic() < deadline


def test_a_visitor_beyond_the_bound_is_told_and_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "PAGE", Entrance("of the page", most=1))
    stop, free = Stop(), threading.Event()
    first = follow(lambda _: free.wait(30), stop)
    next(first)
    with pytest.raises(UserError, match="The lab is busy: 1 requests of the page"):
        next(follow(lambda _: None, stop))
    free.set()
    assert [*first][-1].result is True
