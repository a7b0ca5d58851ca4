"""A host takes their own registration back: within ten minutes, as a record, with everything that hung on it."""

from collections.abc import Callable, Iterable
from contextlib import closing

from edge import EdgeError
from edge.clock import Clock, KernelTime, read_kernel
from edge.desk.checkin import KIND, Arrival, NotNow
from edge.desk.codes import forget_use
from edge.desk.consents import NothingToForget, forget_face
from edge.desk.visitor_forms import release_form
from edge.home import Home
from edge.people.contacts import unbind_visit
from edge.people.sealed_phones import unseal
from edge.people.vault import opened
from edge.sure_time import SureTime
from sync.format.canonical import Fields
from sync.format.records import Record
from sync.format.source import UNDO_US, proposed, soon_enough
from sync.format.stamp import Stamp
from sync.format.visit_fields import CORRECTED
from sync.node.ledger import Ledger


class TooLate(EdgeError):
    """Not theirs to undo (any more): somebody else's registration, older than UNDO_US, or asked to be corrected."""


def may_undo(registered: Record, account_id: str, now: Stamp, surely_us: int) -> bool:
    """Whether an account may still take back a registration: its own, and of the last ten minutes.

    now: the desk's clocks, by which a verifier judges it too. surely_us: the moment that surely is past, which over a
    restart holds against a wall clock that was set back.
    """
    of_one_boot = now.boot_id == registered.stamp.boot_id
    in_time = of_one_boot or surely_us - registered.stamp.wall_us < UNDO_US
    return registered.fields["account"] == account_id and in_time and soon_enough(now, registered.stamp)


def undo(
    open_ledger: Callable[[], Ledger],
    home: Home,
    arrival: Arrival,
    request: str,
    account_id: str,
    sure: SureTime | None = None,
    read: Callable[[], KernelTime] = read_kernel,
) -> list[Record]:
    """Take a registration back, and the companions' that were closed with it; both records stay.

    The phone's binding to the visit goes, and the phone with it where no other visit has it; so do a code's use and
    the consent given with the registration. What a visitor had sent waits again, for the arrival it is of. Returns the
    records made, or those of the first time for the same request. Raises TooLate, NotNow where no registration stands,
    KeyNotInForce; nothing is recorded then. sure: shared by whoever else follows this chain.
    """
    now = Clock(read).stamp(None)
    with closing(open_ledger()) as ledger:
        surely_us = (sure or SureTime(read)).past_us(ledger)
        told = list(ledger.records((KIND,), arrival.at))
        if same := [record for record in told if record.fields["request"] == request]:
            return same
        undone = _registration(ledger, told, arrival, account_id, now, surely_us)
        agreed = ledger.about(arrival.visit_id, ("consent.given",), arrival.at)
    records: list[Record] = []
    if any(one.fields.get("request") == undone.fields["request"] for one in agreed):
        # first: a crash between the two leaves a consent withdrawn, and a registration that can still be undone
        records += _withdrawn(open_ledger, home, arrival, request, account_id)
    with closing(open_ledger()) as ledger, opened(home.database, home.keys_database) as vault:
        with ledger.transaction() as transaction:
            told = list(ledger.records((KIND,), arrival.at))
            undone = _registration(ledger, told, arrival, account_id, now, surely_us)
            newest = {record.fields["visit"]: record for record in told}
            with_it = [one for one in newest.values() if one.fields["request"] == undone.fields["request"]]
            sent: Fields = {"request": request, "account": account_id, "state": "open", "reason": "undone"}
            records = [
                transaction.append(KIND, {**sent, "undoes": one.hash.hex(), **_still_known(one, now.wall_us)})
                for one in sorted(with_it, key=lambda one: one.hash != undone.hash)
            ] + records
            orphan = unbind_visit(transaction.connection, vault, arrival.visit_id)
            unseal(transaction.connection, arrival.visit_id, [one.hash for one in with_it])
            forget_use(transaction.connection, arrival.visit_id)
            release_form(transaction.connection, arrival.visit_id)
        if orphan is not None:
            vault.destroy_keys([orphan])  # a crash before it leaves a key that opens nothing; the node sweeps it
            vault.scrub()
    return records


def _registration(
    ledger: Ledger, told: Iterable[Record], arrival: Arrival, account_id: str, now: Stamp, surely_us: int
) -> Record:
    """The registration that stands of an arrival, where this account may take it back.

    What somebody has asked to be corrected is an auditor's to answer: undone and registered anew, the answer would be
    lost, or given to a registration that the auditor has not seen.
    """
    of_it = [record for record in told if record.fields["visit"] == arrival.visit_id]
    if not of_it or of_it[-1].fields["state"] != "registered":
        raise NotNow(f"visit {arrival.visit_id}: no registration stands")
    if not may_undo(of_it[-1], account_id, now, surely_us):
        raise TooLate(f"visit {arrival.visit_id}: not to be undone any more")
    if any(proposed(one.fields) for one in ledger.about(arrival.visit_id, (CORRECTED,), arrival.at)):
        raise TooLate(f"visit {arrival.visit_id}: a correction of it has been asked for")
    return of_it[-1]


def _withdrawn(
    open_ledger: Callable[[], Ledger], home: Home, arrival: Arrival, request: str, account_id: str
) -> list[Record]:
    try:
        forgotten = forget_face(
            open_ledger,
            home.database,
            home.keys_database,
            visit_id=arrival.visit_id,
            at=arrival.at,
            person_id=arrival.person_id,
            because="undone",
            request=request,
            account_id=account_id,
        )
    except NothingToForget:
        return []
    return [forgotten.record]


def _still_known(record: Record, now_us: int) -> Fields:
    fields = record.fields
    known: Fields = {"visit": fields["visit"], "arrived_us": fields["arrived_us"]}
    known["since_us"] = max(0, now_us - fields["arrived_us"])
    return known | {name: fields[name] for name in ("person", "party_id") if name in fields}
