"""A node runs for months: what it holds in memory does not add up with the visits."""

import subprocess
import sys
import textwrap
import tracemalloc
from datetime import datetime, timedelta

from camera.pipeline import Ended
from edge.visits.open_visit import OpenVisit
from edge.visits.visit_book import TRACKS_REMEMBERED, VisitBook
from edge.visits.visit_records import SourceFacts
from tests.edge.visiting import T0, arrival

DOOR = {"door": SourceFacts("rtsp", "0" * 64, "entrance")}


def passing(book: VisitBook, poster: OpenVisit, first: int, count: int) -> datetime:
    """A poster whose face comes and goes: a track of one visit each half minute, somebody else beside each."""
    at = T0
    for number in range(first, first + count):
        at = T0 + timedelta(seconds=30 * number)
        visitor = OpenVisit(f"v-{number:020x}", f"p-{number:020x}", at)
        book.remember(visitor)
        for visit, track, beside in ((visitor, 2 * number, {poster.visit_id}), (poster, 2 * number + 1, set())):
            seen = arrival(track, at)
            book.attach(visit, seen, beside | {visitor.visit_id}, book.enter(seen, visit.visit_id))
            book.seen("door", [track], at)
            book.ended(Ended("door", track, at + timedelta(seconds=5)))
        book.forget([visit for visit in book.over(at, timedelta(minutes=1)) if visit is not poster])
        book.forget_tracks(at)
        book.forget_parties(at)
    return at


def test_a_visit_that_never_ends_takes_no_more_memory_after_a_day_than_after_an_hour() -> None:
    book, poster = VisitBook(DOOR), OpenVisit("v-poster", "p-poster", T0)
    book.remember(poster)
    passing(book, poster, 0, 120)
    tracemalloc.start()
    try:
        passing(book, poster, 120, 120)
        hour, _ = tracemalloc.get_traced_memory()
        passing(book, poster, 240, 2_880)
        day, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert day - hour < 100_000


def test_who_was_seen_with_a_track_that_ended_just_now_still_was() -> None:
    book, one = VisitBook(DOOR), OpenVisit("v-1", "p-1", T0)
    book.remember(one)
    book.attach(one, arrival(1, T0), set(), None)
    book.ended(Ended("door", 1, T0))
    late = arrival(2, T0 + TRACKS_REMEMBERED, together=(1,))
    book.forget_tracks(T0 + TRACKS_REMEMBERED)
    assert book.beside(late) == {"v-1"}
    book.shift(timedelta(hours=1))
    book.forget_tracks(T0 + timedelta(hours=1) + TRACKS_REMEMBERED)
    assert book.beside(late) == {"v-1"}
    book.forget_tracks(T0 + timedelta(hours=2))
    assert book.beside(late) == set()


FRAGMENTED = textwrap.dedent(
    """
    from pathlib import Path
    from edge.freed_memory import hand_back_freed_memory

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    # pictures of people, each beside something small that stays: what is freed lies between what is in use
    kept = [(bytes([1]) * 100_000, bytes([2]) * 600) for _ in range(500)]
    kept = [small for _, small in kept]
    before = resident()
    hand_back_freed_memory()
    print(before - resident())
    """
)


def test_what_lies_free_between_what_is_in_use_is_handed_back() -> None:
    done = subprocess.run([sys.executable, "-c", FRAGMENTED], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 30_000_000
