"""What the kiosk reads of a long chain: its last days, and of the rest only what a question needs."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from edge.clock import Clock
from edge.desk.arrivals import FEED, Arrivals
from edge.desk.folding import KINDS
from edge.home import Home
from edge.kiosk.health import Health
from edge.kiosk.history import MOST_WAITING, begin_behind, waiting_before, window_us
from edge.kiosk.live import LedgerWatch
from sync.format.stamp import Stamp
from sync.node.append import Writer
from sync.node.ledger import Ledger
from sync.web.live import Live

DAY_US = 86_400 * 10**6


class Past:
    """A ledger whose records are stamped when one likes."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.now_us = time.time_ns() // 1000
        self._at_us = self.now_us
        writers = [Writer("puxi-01-a", role, home.signer(role), self._stamp) for role in ("node", "desk")]
        self.node, self.desk = (Ledger(home.database, writer) for writer in writers)

    def _stamp(self, before: Stamp | None) -> Stamp:
        # the boot clock goes with the wall clock: nobody has set it, so no record says that somebody has
        boot_us = self._at_us - self.now_us + 1000 * DAY_US
        return replace(Clock().stamp(before), wall_us=self._at_us, boot_us=boot_us, boot_id="ab" * 16)

    def visits(self, decision: str, names: list[str], first_days_ago: float, last_days_ago: float, **more: Any) -> None:
        """Append visits v-NAME of people p-NAME, evenly between two moments, each left again."""
        step = (first_days_ago - last_days_ago) / max(1, len(names) - 1)
        with self.node.transaction() as transaction:
            for number, name in enumerate(names):
                self._at_us = self.now_us - round((first_days_ago - number * step) * DAY_US)
                fields = {"visit": f"v-{name}", "person": f"p-{name}", "arrived_us": self._at_us, **more}
                transaction.append(f"visit.{decision}", {"camera": "entrance", "source": "rtsp", "grade": "B"} | fields)
                transaction.append("visit.left", {"visit": f"v-{name}", "reason": "gap", "end_us": self._at_us})

    def all(self) -> Arrivals:
        """The whole chain folded."""
        arrivals = Arrivals()
        for record in self.node.records(KINDS):
            arrivals.add(record)
        return arrivals


@pytest.fixture
def past(desk: Any) -> Iterator[Past]:
    past = Past(desk.home)
    yield past
    past.node.close()
    past.desk.close()


@pytest.fixture
def watched(past: Past) -> Iterator[Callable[[], Arrivals]]:
    """Starts a watch; returns what it has folded."""
    watches: list[LedgerWatch] = []

    def watched() -> Arrivals:
        arrivals = Arrivals()
        watches.append(LedgerWatch(past.home.open_ledger, arrivals, Health(()), Live(), look_s=0.02))
        watches[-1].start()
        return arrivals

    yield watched
    for watch in watches:
        watch.stop()


def test_a_long_chain_is_read_from_its_last_days_on(past: Past, watched: Callable[[], Arrivals]) -> None:
    past.visits("first", [f"old{n}" for n in range(300)], 60, 10)
    past.visits("first", [f"new{n}" for n in range(100)], 2, 0)
    place = begin_behind(past.node, window_us(past.node))
    assert place == (1, 2 + 600), "the init's two records and the old visits lie before"
    arrivals = watched()
    assert arrivals.newest(FEED) == past.all().newest(FEED)
    assert arrivals.get("v-new0") is not None
    assert arrivals.get("v-old299") is None


def test_the_feed_of_a_quiet_site_is_filled_from_further_back(past: Past, watched: Callable[[], Arrivals]) -> None:
    past.visits("first", [f"{n}" for n in range(200)], 400, 0)
    arrivals = watched()
    assert arrivals.newest(FEED) == past.all().newest(FEED)
    assert arrivals.get("v-0") is None


def test_an_idle_ledger_is_asked_nothing_but_whether_it_has_changed(past: Past) -> None:
    asked: list[str] = []

    def open_ledger() -> Ledger:
        ledger = past.home.open_ledger()
        ledger.connection.set_trace_callback(asked.append)
        return ledger

    past.visits("first", ["1"], 0, 0)
    arrivals = Arrivals()
    watch = LedgerWatch(open_ledger, arrivals, Health(()), Live(), look_s=0.01)
    watch.start()
    _until(lambda: asked[-5:] == 5 * ["PRAGMA data_version"])
    before = len(asked)
    _until(lambda: len(asked) > before + 20)
    assert set(asked[before:]) == {"PRAGMA data_version"}
    past.visits("first", ["2"], 0, 0)
    _until(lambda: arrivals.get("v-2") is not None)
    watch.stop()


def test_a_horizon_of_weeks_is_looked_back_for_weeks(past: Past) -> None:
    policy = {"mode": "ephemeral", "unconsented_horizon_s": 20 * 86_400}
    past.node.append("policy.changed", policy)
    assert window_us(past.node) == 21 * DAY_US


def test_a_question_shows_the_last_visit_of_somebody_from_long_ago(past: Past, watched: Callable[[], Arrivals]) -> None:
    past.visits("first", ["known", "absorbed"], 90, 89)
    past.visits("unsure", ["taken"], 80, 80, candidates=[{"person": "p-absorbed", "similarity_e6": 460_000}])
    past.desk.append(
        "visit.corrected",
        {"visit": "v-taken", "decision": "return", "person": "p-absorbed", "reason": "same_person", "account": "a"},
    )
    past.desk.append("person.erased", {"person": "p-known", "reason": "request"})
    past.visits("first", [f"{n}" for n in range(200)], 70, 0)
    both = [{"person": person, "similarity_e6": 460_000} for person in ("p-known", "p-absorbed")]
    past.visits("unsure", ["asked"], 0, 0, candidates=both)
    arrivals = watched()
    (question,) = arrivals.questions()
    _until(lambda: arrivals.last_of("p-absorbed", question.arrived_us) is not None)
    known, absorbed = (arrivals.last_of(person, question.arrived_us) for person in ("p-known", "p-absorbed"))
    assert known
    assert absorbed
    assert (known.visit_id, known.forgotten, known.left) == ("v-known", True, True)
    assert (absorbed.visit_id, absorbed.decision, absorbed.forgotten) == ("v-taken", "return", False)


def remembered(past: Past, *people: str) -> None:
    past.node.connection.executemany("INSERT INTO people VALUES (?, 0, 0)", [(one,) for one in people])


def test_a_question_of_long_ago_stays_until_it_is_answered_or_lapses_with_its_face(
    past: Past, watched: Callable[[], Arrivals]
) -> None:
    past.visits("first", ["known"], 100, 100)
    candidates = [{"person": "p-known", "similarity_e6": 460_000}]
    past.visits("unsure", ["open", "answered", "lapsed"], 90, 88, candidates=candidates)
    past.visits("return", ["twice", "one", "gone"], 87, 85, person="p-known", merge=["p-known", "p-twin"])
    past.visits("return", ["said"], 84, 84, merge=["p-known", "p-other"])
    answer = {"visit": "v-answered", "decision": "first", "person": "p-answered", "reason": "new_person"}
    past.desk.append("visit.corrected", {**answer, "account": "a"})
    past.desk.append("visit.checkin", {"visit": "v-open", "state": "left", "account": "a", "request": "r"})
    past.desk.append(
        "person.split",
        {"persons": ["p-known", "p-other"], "reason": "lookalike", "account": "a", "request": "r"},
    )
    past.visits("first", [f"{n}" for n in range(200)], 70, 0)
    remembered(past, "p-known", "p-twin", "p-other", "p-open", "p-answered")
    arrivals = watched()
    (question,) = arrivals.questions()
    assert (question.visit_id, question.state, question.left) == ("v-open", "left", True), (
        "with all that was told of it"
    )
    _until(lambda: arrivals.last_of("p-known", question.arrived_us) is not None)
    (proposal,) = arrivals.proposals()
    assert proposal.visit_id == "v-twice"
    past.desk.append("visit.corrected", {**answer, "visit": "v-open", "person": "p-open", "account": "a"})
    _until(lambda: not arrivals.questions())


def test_of_too_many_questions_the_oldest_are_held(past: Past) -> None:
    names = [f"q{n:03}" for n in range(MOST_WAITING + 5)]
    past.visits("unsure", names, 90, 60)
    remembered(past, *(f"p-{name}" for name in names))
    head = past.node.head()
    assert head is not None
    held = {one.fields["visit"] for one in waiting_before(past.node, (head.epoch, head.seq))}
    assert held == {f"v-{name}" for name in names[:MOST_WAITING]}


def test_forgetting_touches_the_visits_of_those_forgotten_only(past: Past) -> None:
    past.visits("first", ["1", "2", "3"], 1, 0)
    past.visits("return", ["4"], 0, 0, person="p-1")
    past.node.append("retention.run", {"expired": ["p-1", "p-2", "p-none"], "basis": "unconsented"})
    past.visits("return", ["5"], 0, 0, person="p-3")
    assert {visit.visit_id: visit.forgotten for visit in past.all().newest(9)} == {
        "v-1": True, "v-2": True, "v-3": False, "v-4": True, "v-5": False,
    }  # fmt: skip


def test_what_is_let_go_is_never_what_a_question_needs(past: Past) -> None:
    past.visits("first", ["known", "other"], 9, 9)
    past.visits("unsure", ["asked"], 8, 8, candidates=[{"person": "p-known", "similarity_e6": 460_000}])
    past.visits("first", [f"{n}" for n in range(FEED)], 7, 0)
    arrivals = past.all()
    arrivals.drop(past.now_us - 3 * DAY_US)
    assert arrivals.get("v-other") is None
    assert arrivals.get("v-known")
    assert [question.visit_id for question in arrivals.questions()] == ["v-asked"]
    assert len(arrivals.newest(2 * FEED)) == FEED


def test_a_correction_in_a_word_of_a_later_version_is_no_first_visit(past: Past) -> None:
    past.visits("unsure", ["1"], 0, 0, candidates=[{"person": "p-2", "similarity_e6": 460_000}])
    past.desk.append("visit.corrected", {"visit": "v-1", "decision": "guided", "person": "p-2", "account": "a"})
    (visit,) = past.all().newest(1)
    assert (visit.decision, visit.person_id, visit.open_question) == ("unsure", "p-2", False)


def test_a_correction_of_the_party_answers_no_question(past: Past) -> None:
    past.visits("unsure", ["1"], 0, 0, candidates=[{"person": "p-2", "similarity_e6": 460_000}])
    past.desk.append("visit.corrected", {"visit": "v-1", "party_id": "g-2", "reason": "party_split", "account": "a"})
    (visit,) = past.all().newest(1)
    assert (visit.decision, visit.open_question, visit.correction) == ("unsure", True, None)


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
