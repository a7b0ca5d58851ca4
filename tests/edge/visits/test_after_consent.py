"""Consent reaches back to the door: arrivals are seen, pictures wait in memory, compared once somebody has agreed."""

import secrets
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camera.pipeline import Arrival as Track
from edge.clock import Clock
from edge.consent import HELD_S, CapturePolicy
from edge.desk.checkin import Arrival, CheckIn, Registration
from edge.desk.consents import Because, Consent, ConsentTexts, forget_face
from edge.rights.retention import expire
from edge.visits.after_consent import AfterConsent
from edge.visits.held_shots import MOST_HELD, HeldShots
from edge.visits.visit_log import visit_log
from models.faces import Template
from sync.format.records import Record
from sync.format.stamp import to_us
from sync.node.ledger import Ledger
from sync.storage.database import DiskFull
from sync.verify.verify import verify
from tests.edge.conftest import MakeNode
from tests.edge.visiting import CHIP, CROP, PACK, PLACE, T0, Node, after, arrival, like, must, person

AGREED = Consent(ConsentTexts("", timedelta(days=180)).text("visitor", "zh"))
AFTER_CONSENT = CapturePolicy("after_consent", "", timedelta(hours=24))


class Office:
    """A node under after_consent and the desk beside it, each with a ledger of its own; faces: by track."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.home = node.home
        self.faces: dict[int, np.ndarray] = {}
        self.embedded: list[int] = []
        self.listening = AfterConsent(node.home.path, node.ledger, node.visits, self._embed)
        self.desk = CheckIn(self._open, node.home)
        self.now_s = 1000.0

    def _open(self) -> Ledger:
        return self.home.open_ledger("desk", Clock())

    def _embed(self, track: Track) -> Template:
        self.embedded.append(track.track_id)
        return Template(self.faces[track.track_id], PACK)

    def see(self, who: np.ndarray, track: int, at: datetime = T0, **more: Any) -> Record:
        """Somebody comes in and goes on."""
        self.faces[track] = who
        came = arrival(track, at, **more)
        record = self.node.visits.arrived_unnamed(came)
        assert record is not None
        self.listening.hold(record, came, at, self.now_s)
        return record

    def register(self, seen: Record, consent: Consent | None = AGREED) -> list[Record]:
        return self.desk.register(
            self.at_the_desk(seen), Registration("walk_in", consent=consent), secrets.token_hex(16), "u-1"
        )

    def dismiss(self, seen: Record, dismissal: str) -> None:
        self.desk.dismiss(self.at_the_desk(seen), dismissal, secrets.token_hex(16), "u-1")

    def forget(self, seen: Record, because: Because) -> Record:
        return forget_face(
            self._open,
            self.home.database,
            self.home.keys_database,
            visit_id=seen.fields["visit"],
            at=(seen.epoch, seen.seq),
            person_id=None,
            because=because,
            request=secrets.token_hex(16),
            account_id="u-1",
        ).record

    def at_the_desk(self, seen: Record) -> Arrival:
        return Arrival(seen.fields["visit"], None, seen.fields["arrived_us"], None, (), (seen.epoch, seen.seq))

    def listen(self, at: datetime = T0) -> list[Record]:
        self.listening.sweep(self.now_s)
        return self.listening.listen(at)


@pytest.fixture
def office(make_node: MakeNode) -> Office:
    return Office(make_node(policy=AFTER_CONSENT, place=PLACE))


def given(office: Office) -> list[Record]:
    return office.node.records("consent.given")


def test_nobody_is_embedded_before_they_consent_and_nothing_lies_on_the_disk(
    office: Office, find_bytes: Callable[[Path, bytes], list[str]]
) -> None:
    seen = office.see(person(0), 1)
    assert office.listen() == []
    assert office.embedded == []
    for needle in (CROP, CHIP.tobytes(), CHIP[0].tobytes()):
        assert find_bytes(office.home.path, needle) == []
    assert office.node.vault.people() == []
    assert find_bytes(office.home.path, seen.body)


def test_consent_at_the_desk_decides_the_visit_of_the_door(office: Office) -> None:
    seen = office.see(person(0), 1)
    office.register(seen)
    (decision,) = office.listen(after(600))
    (consent,) = given(office)
    fields = must(decision, "first")
    assert fields["visit"] == seen.fields["visit"]
    assert fields["arrived_us"] == seen.fields["arrived_us"]
    assert fields["seen"] == seen.hash.hex()
    assert fields["consent"] == consent.hash.hex()
    assert fields["person"] == consent.fields["person"]
    assert (fields["gallery_n"], fields["unconsented_horizon_s"]) == (0, 0)
    assert fields["place"] == seen.fields["place"]
    assert fields["party"] == seen.fields["party"]
    assert office.node.vault.of_visits.crop(fields["visit"]) == CROP
    assert office.node.vault.of_visits.explanation(fields["visit"]) is not None
    assert office.embedded == [1]
    (row,) = visit_log(office.node.ledger)
    assert (row.decision, row.person_id, row.record.hash) == ("first", fields["person"], decision.hash)
    assert verify(office.home.path, office.home.node_pub).ok
    assert office.listen(after(700)) == [], "once"


def test_who_consented_before_returns_and_is_one_person(office: Office) -> None:
    first = office.see(person(0), 1)
    office.register(first)
    (was,) = office.listen()
    again = office.see(like(person(0), 0.9), 2, after(86_400))
    office.register(again)
    (decision,) = office.listen(after(86_460))
    fields = must(decision, "return")
    assert fields["person"] == was.fields["person"]
    assert "continues" not in fields
    expected = given(office)[1].fields["person"]
    assert expected != fields["person"]
    assert not office.node.vault.remembers(expected), "whom the desk expected is the one who was known"
    assert office.node.vault.keyless() == []
    assert office.node.vault.of_visits.crop(again.fields["visit"]) == CROP
    assert [one.person_id for one in office.node.vault.people()] == [fields["person"]]


def test_coming_in_twice_within_the_visit_gap_says_which_visit_it_continues(office: Office) -> None:
    first = office.see(person(0), 1)
    office.register(first)
    office.listen()
    office.node.leave(1, after(30))
    again = office.see(person(0), 2, after(2400))
    office.register(again)
    (decision,) = office.listen(after(2500))
    assert must(decision, "return")["continues"] == first.fields["visit"]


def test_between_the_thresholds_the_desk_is_asked(office: Office) -> None:
    office.register(office.see(person(0), 1))
    office.listen()
    second = office.see(like(person(0), 0.4), 2, after(60))
    office.register(second)
    (decision,) = office.listen(after(70))
    fields = must(decision, "unsure")
    assert fields["person"] == given(office)[1].fields["person"]
    assert len(office.node.gallery) == 1, "not searched before the answer"


def test_two_in_one_frame_are_never_one_person(office: Office) -> None:
    one = office.see(person(0), 1)
    twin = office.see(like(person(0), 0.95), 2, after(1), together=(1,))
    office.register(one)
    office.register(twin)
    first, second = office.listen(after(60))
    assert first.fields["person"] != second.fields["person"]
    assert must(second, "first")["gallery_n"] == 0


@pytest.mark.parametrize("closed", ["refused", "left", "companion", "child", "registered"])
def test_closed_without_consent_nothing_waits_any_more(office: Office, closed: str) -> None:
    seen, other = office.see(person(0), 1), office.see(person(1), 2, after(30))
    office.register(seen, None) if closed == "registered" else office.dismiss(seen, closed)
    assert office.listen(after(60)) == []
    office.register(other)
    assert [record.fields["visit"] for record in office.listen(after(61))] == [other.fields["visit"]]
    assert office.embedded == [2]


def test_who_withdraws_before_the_node_has_looked_is_not_compared(office: Office) -> None:
    seen = office.see(person(0), 1)
    office.register(seen)
    office.forget(seen, "withdrawn")
    assert office.listen(after(1)) == []
    assert office.embedded == []
    assert office.node.vault.count() == 0


def test_who_withdraws_while_the_node_compares_leaves_no_decision(office: Office) -> None:
    seen = office.see(person(0), 1)
    office.register(seen)

    def withdrawn_meanwhile(_: Track) -> Template:
        office.forget(seen, "withdrawn")
        return Template(person(0), PACK)

    office.listening = AfterConsent(office.home.path, office.node.ledger, office.node.visits, withdrawn_meanwhile)
    office.listening.hold(seen, arrival(1, T0), T0, office.now_s)
    assert office.listen(after(1)) == []
    assert [kind for kind in office.node.kinds() if kind != "left"] == ["seen"]
    assert office.node.vault.count() == 0


def test_withdrawn_later_face_and_pictures_go_and_the_visit_stays(office: Office) -> None:
    seen = office.see(person(0), 1)
    office.register(seen)
    (decision,) = office.listen()
    record = office.forget(seen, "withdrawn")
    assert record.fields["person"] == decision.fields["person"]
    assert office.node.vault.of_visits.crop(seen.fields["visit"]) is None
    assert office.node.vault.templates.of(decision.fields["person"], PACK) == []
    back = office.see(person(0), 2, after(86_400))
    office.register(back)
    (again,) = office.listen(after(86_401))
    assert must(again, "first")["gallery_n"] == 0, "nobody is remembered who has withdrawn"


def test_a_consent_that_the_desks_key_did_not_sign_compares_nobody(office: Office) -> None:
    seen = office.see(person(0), 1)
    office.register(seen)
    with office.node.ledger.connection as connection:
        connection.execute("UPDATE ledger SET signature = zeroblob(64) WHERE kind = 'consent.given'")
    assert office.listen(after(1)) == []
    assert office.embedded == []


def test_a_restart_forgets_who_was_waiting(office: Office) -> None:
    seen = office.see(person(0), 1)
    office.node.start()
    office.listening = AfterConsent(office.home.path, office.node.ledger, office.node.visits, office._embed)
    office.register(seen)
    assert office.listen(after(1)) == []
    assert office.embedded == []


def test_what_a_full_disk_cut_short_is_decided_when_there_is_room(office: Office) -> None:
    seen = office.see(person(0), 1)
    office.register(seen)
    tries: list[int] = []

    def full_once(_: Track) -> Template:
        tries.append(1)
        if len(tries) == 1:
            raise DiskFull("no room")
        return Template(person(0), PACK)

    office.listening = AfterConsent(office.home.path, office.node.ledger, office.node.visits, full_once)
    office.listening.hold(seen, arrival(1, T0), T0, office.now_s)
    with pytest.raises(DiskFull):
        office.listen(after(1))
    (decision,) = office.listen(after(2))
    assert must(decision, "first")["visit"] == seen.fields["visit"]


def test_after_an_hour_nothing_is_left_to_consent_to(office: Office) -> None:
    seen = office.see(person(0), 1)
    office.now_s += HELD_S - 1
    office.listen()
    late = office.see(person(1), 2, after(3599))
    office.now_s += 1
    office.register(seen)
    office.register(late)
    assert [record.fields["visit"] for record in office.listen(after(3600))] == [late.fields["visit"]]
    assert office.embedded == [2]


def test_a_restarted_node_knows_whose_visit_it_was(office: Office) -> None:
    seen = office.see(person(0), 1)
    office.register(seen)
    (decision,) = office.listen()
    office.node.leave(1, after(10))
    office.node.start()
    office.node.recover(after(60))
    known = office.node.visits._book.newest_of(decision.fields["person"])
    assert known is not None
    assert known.visit_id == seen.fields["visit"]


# -- how long a consented face is kept ---------------------------------------------------------------------------------


def test_a_consented_face_outlives_the_day_and_goes_when_its_consent_is_old(office: Office) -> None:
    seen = office.see(person(0), 1)
    office.register(seen)
    (decision,) = office.listen()
    vault, ledger = office.node.vault, office.node.ledger
    given_us = vault.consented_us(decision.fields["person"])
    assert given_us is not None
    kept_until = datetime.fromtimestamp(given_us / 1e6, T0.tzinfo) + AFTER_CONSENT.consented
    assert expire(ledger, vault, AFTER_CONSENT, kept_until - timedelta(seconds=1)) == 0
    assert vault.of_visits.crop(seen.fields["visit"]) == CROP
    assert expire(ledger, vault, AFTER_CONSENT, kept_until) == 1
    record = ledger.last_of("retention.run")
    assert record is not None
    assert record.fields["basis"] == "consented"
    assert record.fields["expired"] == [decision.fields["person"]]
    assert vault.of_visits.crop(seen.fields["visit"]) is None
    assert vault.keyless() == []


# -- what waits --------------------------------------------------------------------------------------------------------


@pytest.fixture
def records(office: Office) -> Callable[[int], Record]:
    return lambda track: office.see(person(0), track)


def test_pictures_count_by_when_they_were_taken_and_only_the_best_is_kept_as_a_picture(
    records: Callable[[int], Record],
) -> None:
    held = HeldShots()
    held.hold(records(1), arrival(1, T0), after(30), 100.0)
    kept = held.get(records_visit(held))
    assert kept is not None
    assert [bool(shot.crop) for shot in kept.arrival.shots] == [True, False, False]
    assert held.sweep(100.0 + HELD_S - 31) == 0
    assert held.sweep(100.0 + HELD_S - 30) == 1
    assert len(held) == 0


def test_better_pictures_of_a_track_take_the_place_of_those_held_and_wait_no_longer(
    records: Callable[[int], Record],
) -> None:
    held = HeldShots()
    held.hold(records(1), arrival(1, T0), T0, 0.0)
    held.better(arrival(1, after(2), quality=0.95, shots=2))
    held.better(arrival(2, after(2)))  # of a track that nobody waits for
    kept = held.get(records_visit(held))
    assert kept is not None
    assert [shot.quality for shot in kept.arrival.shots] == [0.95, 0.94]
    assert kept.arrival.first_seen_at == T0
    assert held.sweep(HELD_S) == 1


def records_visit(held: HeldShots) -> str:
    return next(iter(held._held))


def test_beyond_a_busy_hour_the_longest_held_go(records: Callable[[int], Record]) -> None:
    held = HeldShots()
    first = records(1)
    held.hold(first, arrival(1, T0), T0, 0.0)
    base = first.fields
    for track in range(2, MOST_HELD + 2):
        record = Record(
            first.node_id, first.epoch, track, first.kind, first.body, first.hash, first.prev_hash, first.signature,
            first.key_id, base | {"visit": f"v-{track}"},
        )  # fmt: skip
        held.hold(record, arrival(track, T0), T0, 0.0)
    assert len(held) == MOST_HELD
    assert base["visit"] not in held
    assert f"v-{MOST_HELD + 1}" in held


def test_the_desk_may_write_while_the_node_listens(office: Office) -> None:
    seen = office.see(person(0), 1)
    office.listen()
    with closing(office._open()) as ledger:
        ledger.append("visit.corrected", {"visit": "v-other", "party_id": "g-1", "account": "u-1"})
    assert office.listen() == []
    office.register(seen)
    assert len(office.listen()) == 1


def test_first_never_claims_to_reach_back_further_than_a_consent_is_kept(office: Office) -> None:
    office.register(office.see(person(0), 1))
    (early,) = office.listen(T0)
    assert early.fields["gallery_since_us"] == to_us(T0)
    office.register(office.see(person(1), 2, after(86_400)))
    (soon,) = office.listen(after(86_400))
    assert soon.fields["gallery_since_us"] == to_us(T0)
    late = after(400 * 86_400)
    office.register(office.see(person(2), 3, late))
    (decision,) = office.listen(late)
    assert decision.fields["gallery_since_us"] == to_us(late - AFTER_CONSENT.consented)
