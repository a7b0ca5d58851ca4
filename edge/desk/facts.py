"""Facts, never accusations: what records here say of a visit, gathered at the moment it is checked in."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from edge.clock import wall_us
from edge.desk.codes import ShownCode, used_by_another
from edge.desk.fact import Code, Fact
from edge.desk.lookback import by_face, on_its_day, registration
from edge.people.contacts import agent_of_phone, first_given, other_faces_of, other_phones_of
from edge.people.vault import Vault
from edge.proven import proven
from edge.recognition.roster import Roster
from edge.visits.open_visit import some
from sync.format.canonical import Fields
from sync.format.records import Record
from sync.format.visit_fields import DECISION_OF_KIND, number_of, text_of
from sync.node.ledger import Ledger


def facts_of(
    folder: Path,
    ledger: Ledger,
    vault: Vault,
    *,
    visit_id: str,
    person_id: str | None,
    at: tuple[int, int],
    contact_id: str | None = None,
    code: ShownCode | None = None,
    closings: Sequence[Record] = (),
) -> list[Fact]:
    """What is known of a visit at this moment, oldest first.

    folder: HOME, whose keys sign the roster's records. at: the place of the visit's first record. contact_id: whose
    phone is given now, bound already. code: what is shown now. closings: its check-ins so far.
    """
    own = ledger.about(visit_id, (*DECISION_OF_KIND, "visit.reentry", "visit.left"), (at[0], at[1] - 1))
    found = [*_dismissed(closings), *_off_site(own), *_joined(ledger, vault, own, person_id)]
    found += _after_its_day(folder, ledger, own)
    found += _of_roster(folder, ledger, vault, own, person_id, contact_id)
    if contact_id is not None and person_id is not None:
        found += _by_phone(ledger, contact_id, visit_id, person_id)
    if code is not None and code.kind == "report":
        found += _by_report(ledger, vault, code, own, person_id, contact_id)
    return sorted(found, key=lambda fact: fact.at_us)


def _dismissed(closings: Iterable[Record]) -> Iterator[Fact]:
    for record in closings:
        if record.fields.get("state") not in ("open", "registered", "companion"):  # phones of a group come later
            on: Fields = {n: record.fields[n] for n in ("state", "reason", "account") if n in record.fields}
            yield Fact("dismissed_before", record.stamp.wall_us, (record.epoch, record.seq), on)


def _after_its_day(folder: Path, ledger: Ledger, own: Sequence[Record]) -> Iterator[Fact]:
    """Checked in after the numbers of the day it arrived on were signed, and that day was over."""
    now_us = wall_us()  # a day closed before its end was closed under a clock that was ahead
    arrived_us = number_of(own[0].fields, "arrived_us") if own else None
    if arrived_us is None:
        return
    for record in proven(folder, ledger, ledger.records(("day.closed",), (own[0].epoch, own[0].seq))):
        from_us, until_us = number_of(record.fields, "from_us"), number_of(record.fields, "until_us")
        if from_us is not None and until_us is not None and from_us <= arrived_us < until_us <= now_us:
            yield Fact("after_day_closed", record.stamp.wall_us, (record.epoch, record.seq))


def _off_site(own: Iterable[Record]) -> Iterator[Fact]:
    for record in own:
        place, arrived_us = record.fields.get("place"), number_of(record.fields, "arrived_us")
        if arrived_us is not None and isinstance(place, dict) and place.get("inside") == "out":
            yield Fact("off_site", arrived_us, (record.epoch, record.seq))


def _joined(ledger: Ledger, vault: Vault, own: Sequence[Record], person_id: str | None) -> Iterator[Fact]:
    """Alone first, beside an agent later: at a re-entry, or at a later visit than the first."""
    agents: list[str] = []
    for record in own:
        fields = record.fields
        if record.kind == "visit.reentry" and fields.get("agents_after") and not fields.get("agents_before"):
            on = {"agents": fields["agents_after"], "out_us": fields["out_us"]}
            yield Fact("joined_by_agent", fields["at_us"], (record.epoch, record.seq), on)
        agents += fields.get("agents", ())
    first = by_face(ledger, vault, person_id) if person_id is not None and agents else None
    if first is None or first.visit_id == own[0].fields["visit"]:
        return
    theirs = list(on_its_day(ledger, first.visit_id, (*DECISION_OF_KIND, "visit.left"), first.arrived_us))
    if theirs and not any(one.fields.get("agents") for one in theirs):
        on = {"visit": first.visit_id, "first_us": first.arrived_us, "agents": some(agents)}
        yield Fact("joined_by_agent", own[0].fields["arrived_us"], (own[0].epoch, own[0].seq), on)


def _of_roster(
    folder: Path,
    ledger: Ledger,
    vault: Vault,
    own: Iterable[Record],
    person_id: str | None,
    contact_id: str | None,
) -> Iterator[Fact]:
    """Who is of the roster by their enrolment, whose own phone was given, and whom a face resembles."""
    maybe = {text for record in own if (text := text_of(record.fields, "maybe_staff")) is not None}
    agent = agent_of_phone(ledger.connection, contact_id) if contact_id is not None else None
    if not (person_id or maybe or agent):
        return
    members = Roster(folder, ledger).members()
    person_id = None if person_id is None else vault.standing(person_id)
    for record in proven(folder, ledger, ledger.records(("person.enrolled",))):
        member = members.get(text_of(record.fields, "person") or "")
        if member is None or "role" not in record.fields:
            continue
        when, place = record.stamp.wall_us, (record.epoch, record.seq)
        on: Fields = {"person": member.person_id, "role": member.role}
        if member.visitor_id is not None and vault.standing(member.visitor_id) == person_id:
            yield Fact(f"{member.role}_face", when, place, on)
        if member.person_id == agent:
            yield Fact("agent_phone", when, place, on)
        if member.person_id in maybe:
            yield Fact("resembles_roster", when, place, on)


def _by_phone(ledger: Ledger, contact_id: str, visit_id: str, person_id: str) -> Iterator[Fact]:
    if (other := other_phones_of(ledger.connection, person_id, contact_id, visit_id)) is not None:
        yield _registered(ledger, "face_other_phone", *other)
    if (other := other_faces_of(ledger.connection, contact_id, person_id, visit_id)) is not None:
        yield _registered(ledger, "phone_other_face", *other)


def _by_report(
    ledger: Ledger,
    vault: Vault,
    code: ShownCode,
    own: Sequence[Record],
    person_id: str | None,
    contact_id: str | None,
) -> Iterator[Fact]:
    """The first arrival known of this face or phone, where it was before the report; another face with the same one."""
    arrivals = [(one.fields["arrived_us"], one.fields["visit"]) for one in own if "arrived_us" in one.fields]
    if person_id is not None and (first := by_face(ledger, vault, person_id)) is not None:
        arrivals.append((first.arrived_us, first.visit_id))
    if contact_id is not None and (given := first_given(ledger.connection, contact_id)) is not None:
        arrivals.append((given.arrived_us, given.visit_id))
    arrived_us, visit_id = min(arrivals)
    if code.made_us is not None and arrived_us < code.made_us:
        began = next(on_its_day(ledger, visit_id, DECISION_OF_KIND, arrived_us), None)
        place = None if began is None else (began.epoch, began.seq)
        on: Fields = {"visit": visit_id, "made_us": code.made_us}
        if code.report_id is not None:
            on["report"] = code.report_id
        yield Fact("before_report", arrived_us, place, on)
    if person_id is not None and (used := used_by_another(ledger.connection, code, person_id)) is not None:
        yield _registered(ledger, "code_other_face", *used)


def _registered(ledger: Ledger, code: Code, visit_id: str, arrived_us: int) -> Fact:
    record = registration(ledger, visit_id, arrived_us)
    place = None if record is None else (record.epoch, record.seq)
    return Fact(code, arrived_us, place, {"visit": visit_id})
