"""Parties as the desk has them: split, joined, taken back, closed at one touch; idempotent, and never half."""

import secrets
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import pytest

from edge.clock import Clock
from edge.desk.arrivals import Arrivals
from edge.desk.checkin import Arrival, CheckIn, NotNow, Registration
from edge.desk.day import closed_fields, count
from edge.desk.folding import KINDS
from edge.desk.parties import PartyDesk, ShownParty, parties_of
from edge.desk.shifts import Shifts
from edge.home import Home
from edge.settings import Shift
from sync.format.keyring import KeyRing
from sync.format.records import Record
from sync.verify.verify import verify
from tests.edge.kiosk.door import Door


@pytest.fixture
def home(make_home: Callable[..., Home]) -> Home:
    return make_home(mode="after_consent")


@pytest.fixture
def parties(home: Home) -> PartyDesk:
    return PartyDesk(lambda: home.open_ledger("desk", Clock()))


@pytest.fixture
def checkin(home: Home) -> CheckIn:
    return CheckIn(lambda: home.open_ledger("desk", Clock()), home)


def come(home: Home, party_id: str | None, count: int) -> list[str]:
    with closing(Door(home)) as door:
        return [door.see(ago_s=100, party_id=party_id) for _ in range(count)]


def folded(home: Home) -> Arrivals:
    arrivals = Arrivals()
    with closing(home.open_ledger()) as ledger:
        for record in ledger.records(KINDS):
            arrivals.add(record)
    return arrivals


def arrival(home: Home, visit_id: str) -> Arrival:
    visit = folded(home).get(visit_id)
    assert visit is not None
    return Arrival(visit_id, visit.person_id, visit.arrived_us, visit.party_id, (), visit.at)


def shown(home: Home) -> list[ShownParty]:
    return parties_of(folded(home).since(0))


def written(home: Home, kind: str) -> list[Record]:
    with closing(home.open_ledger()) as ledger:
        return list(ledger.records((kind,)))


def form() -> str:
    return secrets.token_hex(16)


def test_a_couple_right_behind_another_is_split_off_and_taken_back(home: Home, parties: PartyDesk) -> None:
    visits = come(home, "g-1", 4)
    request = form()
    records = parties.split([arrival(home, one) for one in visits[2:]], request, "u-li")
    ring = KeyRing({"desk": home.signer("desk").public})
    for record in records:
        ring.check(record)
        assert (record.fields["reason"], record.fields["party_before"]) == ("party_split", "g-1")
        assert "decision" not in record.fields
    assert [len(party.visits) for party in shown(home)] == [2, 2]
    assert {visit.party for party in shown(home) for visit in party.visits} == {2}
    parties.take_back([arrival(home, one) for one in visits], request, form(), "u-li")
    (whole,) = shown(home)
    assert (whole.key, len(whole.visits)) == ("g-1", 4)
    assert verify(home.path).ok


def test_a_bus_that_came_in_by_tens_is_joined_at_once_and_taken_back(home: Home, parties: PartyDesk) -> None:
    tens = [come(home, f"g-{n}", 10) for n in range(4)]
    others = [arrival(home, one) for ten in tens[1:] for one in ten]
    request = form()
    parties.join(others, arrival(home, tens[0][0]), request, "u-li")
    (bus,) = shown(home)
    assert (len(bus.visits), bus.heads) == (40, 40)
    parties.take_back([arrival(home, one) for ten in tens for one in ten], request, form(), "u-li")
    assert sorted(party.key for party in shown(home)) == ["g-0", "g-1", "g-2", "g-3"]


def test_two_who_came_in_no_party_get_one_when_they_are_joined(home: Home, parties: PartyDesk) -> None:
    one, other = come(home, None, 2)
    request = form()
    parties.join([arrival(home, other)], arrival(home, one), request, "u-li")
    (party,) = shown(home)
    assert len(party.visits) == 2
    parties.take_back([arrival(home, one), arrival(home, other)], request, form(), "u-li")
    assert [len(party.visits) for party in shown(home)] == [1, 1]


def test_the_same_form_twice_moves_once(home: Home, parties: PartyDesk) -> None:
    visits = come(home, "g-1", 2)
    request, leaving = form(), [arrival(home, visits[1])]
    first, second = (parties.split(leaving, request, "u-li") for _ in range(2))
    assert [record.hash for record in first] == [record.hash for record in second]
    assert len(written(home, "visit.corrected")) == 1


def test_a_second_tablet_with_an_older_page_moves_nobody(home: Home, parties: PartyDesk) -> None:
    visits = come(home, "g-1", 3)
    old = [arrival(home, one) for one in visits]
    parties.split(old[1:2], form(), "u-li")
    with pytest.raises(NotNow, match="another party"):
        parties.split(old[1:], form(), "u-wang")
    assert len(written(home, "visit.corrected")) == 1, "not the other one alone either"
    with pytest.raises(NotNow, match="moved none"):
        parties.take_back(old, form(), form(), "u-li")


def test_one_registers_and_the_others_become_companions_in_the_same_transaction(home: Home, checkin: CheckIn) -> None:
    visits = come(home, "g-1", 3)
    lead, *others = (arrival(home, one) for one in visits)
    request = form()
    records = checkin.register(lead, Registration("walk_in", heads=5), request, "u-li", companions=others)
    assert [record.fields["state"] for record in records] == ["registered", "companion", "companion"]
    assert {record.fields["request"] for record in records} == {request}
    assert (records[0].fields["heads"], records[1].fields["lead"]) == (5, visits[0])
    again = checkin.register(lead, Registration("walk_in", heads=5), request, "u-li", companions=others)
    assert [record.hash for record in again] == [record.hash for record in records]
    (party,) = shown(home)
    assert (party.open, party.heads, party.lead.visit_id) == ((), 5, visits[0])


def test_a_companion_closed_meanwhile_keeps_what_it_was_closed_as(home: Home, checkin: CheckIn) -> None:
    visits = come(home, "g-1", 3)
    lead, courier, friend = (arrival(home, one) for one in visits)
    checkin.dismiss(courier, "courier", form(), "u-wang")
    records = checkin.register(lead, Registration("walk_in"), form(), "u-li", companions=[courier, friend])
    assert [record.fields["visit"] for record in records] == [visits[0], visits[2]]
    with pytest.raises(NotNow):
        checkin.register(lead, Registration("walk_in"), form(), "u-wang", companions=[friend])
    assert len(written(home, "visit.checkin")) == 3


def test_a_whole_party_is_dismissed_at_one_touch_and_each_is_taken_back_alone(home: Home, checkin: CheckIn) -> None:
    visits = come(home, "g-1", 3)
    first, *others = (arrival(home, one) for one in visits)
    checkin.dismiss(first, "workman", form(), "u-li", others=others)
    (party,) = shown(home)
    assert [visit.state for visit in party.visits] == ["not_customer"] * 3
    checkin.reopen(others[0], form(), "u-li")
    (party,) = shown(home)
    assert [visit.visit_id for visit in party.open] == [visits[1]]


def test_somebody_registered_after_a_dismissal_carries_that_as_a_fact(home: Home, checkin: CheckIn) -> None:
    visit, other = come(home, None, 2)
    checkin.dismiss(arrival(home, visit), "left", form(), "u-li")
    checkin.register(arrival(home, visit), Registration("walk_in"), form(), "u-wang")
    checkin.register(arrival(home, other), Registration("walk_in"), form(), "u-wang")
    told = {shown.visit_id: shown.dismissed_before for shown in folded(home).since(0)}
    assert told == {visit: True, other: False}


def test_a_companion_whose_phone_comes_later_was_never_turned_away(home: Home, checkin: CheckIn) -> None:
    lead, friend = come(home, "g-1", 2)
    checkin.register(arrival(home, lead), Registration("walk_in"), form(), "u-li", companions=[arrival(home, friend)])
    (record,) = checkin.register(arrival(home, friend), Registration("walk_in"), form(), "u-li")
    assert "facts" not in record.fields
    assert not any(visit.dismissed_before for visit in folded(home).since(0))


def test_what_is_registered_after_its_day_was_closed_carries_that_as_a_fact(
    home: Home, checkin: CheckIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    (visit,) = come(home, None, 1)
    with closing(home.open_ledger("desk", Clock())) as ledger:
        shifts = Shifts((Shift(id="all", starts="00:00"),), "Asia/Shanghai")
        at = arrival(home, visit)
        day = count(folded(home).since(0), shifts.day(at.arrived_us), shifts)
        closed = ledger.append("day.closed", closed_fields(day, shifts, at.at))
        (other,) = come(home, None, 1)
    (record,) = checkin.register(arrival(home, other), Registration("walk_in"), form(), "u-li")
    assert "facts" not in record.fields, "the day goes on: it was closed under a clock that was ahead"
    monkeypatch.setattr("edge.desk.facts.wall_us", lambda: at.arrived_us + 2 * 86_400_000_000)
    (record,) = checkin.register(at, Registration("walk_in"), form(), "u-li")
    assert record.fields["facts"] == ["after_day_closed"]
    assert record.fields["facts_on"]["after_day_closed"]["seq"] == closed.seq


def test_what_a_page_has_shown_is_not_undone_by_the_watch_reading_it_again(home: Home, parties: PartyDesk) -> None:
    visits = come(home, "g-1", 2)
    first = parties.split([arrival(home, visits[1])], form(), "u-li")
    second = parties.join([arrival(home, visits[1])], arrival(home, visits[0]), form(), "u-li")
    arrivals = folded(home)
    arrivals.add(first[0])
    visit = arrivals.get(visits[1])
    assert visit is not None
    assert (visit.party_id, visit.party_at) == ("g-1", (second[0].epoch, second[0].seq))
    assert replace(visit, party=2) == visit


def test_moves_of_one_form_folded_together_show_what_they_show_one_by_one(home: Home, parties: PartyDesk) -> None:
    bus = [come(home, f"g-bus-{number}", 3) for number in range(4)]
    alone = come(home, None, 2)
    together = folded(home)
    ways = [
        lambda: parties.join(
            [arrival(home, one) for one in (*bus[1], *bus[2], *alone)], arrival(home, bus[0][0]), form(), "w"
        ),
        lambda: parties.split([arrival(home, one) for one in (bus[0][0], bus[1][0], alone[0])], form(), "w"),
        lambda: parties.join([arrival(home, bus[3][1])], arrival(home, alone[1]), form(), "w"),
    ]
    for write in ways:
        records = write()
        together.add_moves(records)
        assert together.since(0) == folded(home).since(0)
        before = together.since(0)
        together.add_moves(records)
        for record in records:
            together.add(record)
        assert together.since(0) == before, "the watch finds them again"
    request = records[0].fields["request"]
    back = parties.take_back([arrival(home, one) for party in bus for one in party], request, form(), "w")
    together.add_moves(back)
    assert together.since(0) == folded(home).since(0)
    assert {visit.party for visit in together.since(0)} == {3, 8}
