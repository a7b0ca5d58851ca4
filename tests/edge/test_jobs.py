"""Jobs fall due by the clock and are done by the node's own thread."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from edge.jobs import Jobs


def until(condition: Callable[[], bool], timeout_s: float = 20) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def test_due_jobs_run_on_the_calling_thread_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.jobs.ALIVE_EVERY_S", 0.05)
    monkeypatch.setattr("edge.jobs.RETENTION_EVERY_S", 0.05)
    monkeypatch.setattr("edge.jobs.PLACE_EVERY_S", 0.05)
    monkeypatch.setattr("edge.jobs.MEMORY_EVERY_S", 0.05)
    done: list[tuple[str, int]] = []
    jobs = Jobs(
        alive=lambda: done.append(("alive", threading.get_ident())),
        retention=lambda: done.append(("retention", threading.get_ident())),
        place=lambda: done.append(("place", threading.get_ident())),
        memory=lambda: done.append(("memory", threading.get_ident())),
    )
    jobs.start()
    try:

        def all_done() -> bool:
            jobs.run_due()
            return {name for name, _ in done} == {"alive", "retention", "place", "memory"}

        assert until(all_done)
    finally:
        jobs.stop()
    assert {thread for _, thread in done} == {threading.get_ident()}


def test_a_stopped_schedule_leaves_no_thread() -> None:
    def ticking() -> bool:
        return any(thread.name == "APScheduler" for thread in threading.enumerate())

    jobs = Jobs(alive=lambda: None, retention=lambda: None, place=lambda: None, memory=lambda: None)
    jobs.start()
    assert until(ticking)
    jobs.stop()
    assert until(lambda: not ticking())


def test_jobs_that_never_started_can_be_stopped() -> None:
    jobs = Jobs(alive=lambda: None, retention=lambda: None, place=lambda: None, memory=lambda: None)
    jobs.stop()


def test_a_job_that_fails_is_told_to_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.jobs.ALIVE_EVERY_S", 0.05)

    def broken() -> None:
        raise OSError("the ledger is broken")

    jobs = Jobs(alive=broken, retention=lambda: None, place=lambda: None, memory=lambda: None)
    jobs.start()

    def run() -> bool:
        jobs.run_due()
        return False

    try:
        with pytest.raises(OSError, match="the ledger is broken"):
            until(run)
    finally:
        jobs.stop()


def test_intervals_begin_anew_after_the_clock_was_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.jobs.ALIVE_EVERY_S", 0.2)
    done: list[str] = []
    jobs = Jobs(alive=lambda: done.append("alive"), retention=lambda: None, place=lambda: None, memory=lambda: None)
    jobs.start()
    try:
        for job in jobs._scheduler.get_jobs():  # what a clock set back by an hour leaves behind
            job.modify(next_run_time=datetime.now(UTC) + timedelta(hours=1))
        jobs.run_due()
        done.clear()
        jobs.realign()

        def alive() -> bool:
            jobs.run_due()
            return bool(done)

        assert until(alive)
    finally:
        jobs.stop()
