"""来过吗? Whether somebody was here before: by their phone, by the digits agents report, or by their face."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Protocol

from edge.clock import wall_us
from edge.desk.consents import Consent, give
from edge.desk.first_arrivals import SettledFirst, corrected_to, of_person, of_visits
from edge.desk.rota import served_by
from edge.home import Home
from edge.people.phones import Phone, number_hmac, reported_hmac
from edge.people.vault import Vault, opened
from edge.proven import proven
from sync.format.records import Record
from sync.format.visit_fields import CORRECTED, DECISION_OF_KIND, text_of
from sync.node.ledger import Ledger
from sync.node.moments import place_before

_EARLIER_US = 3_600_000_000  # a person is written with the record that names them; an hour is room for moved clocks
_DAY_US = 86_400_000_000
_MINUTE_US = 60_000_000


class Arrival(Protocol):
    """A visit, as far as a consent needs it; at: (epoch, seq) of its first record."""

    @property
    def visit_id(self) -> str: ...

    @property
    def person_id(self) -> str | None: ...

    @property
    def at(self) -> tuple[int, int]: ...


@dataclass(frozen=True, slots=True)
class Been:
    """Somebody was here. visit_id, arrived_us, served_by: of the first arrival known; served_by None: nobody is named.

    visits, last_us: at how many the phone was given, and when the last of them arrived; None by face. visit_ids: those.
    settled: when they first came, as an auditor has approved it since: then that is what counts.
    """

    visit_id: str
    arrived_us: int
    served_by: str | None
    visits: int | None = None
    last_us: int | None = None
    visit_ids: tuple[str, ...] = ()
    settled: SettledFirst | None = None


def by_phone(ledger: Ledger, vault: Vault, phone: Phone) -> Been | None:
    """Look a number up among the phones given here."""
    return next(iter(_found(ledger, vault, "number_hmac", number_hmac(vault.pepper(), phone))), None)


def by_reported(ledger: Ledger, vault: Vault, digits: str) -> list[Been]:
    """Look up who may be meant by the digits of a report, each number that has them; the earliest first."""
    return _found(ledger, vault, "reported_hmac", reported_hmac(vault.pepper(), digits))


def by_face(ledger: Ledger, vault: Vault, person_id: str) -> Been | None:
    """The first arrival of a person as far as they are remembered, None where they are not (any more)."""
    since_us = vault.known_since_us(person_id)
    if since_us is None:
        return None
    after = place_before(ledger, since_us - _EARLIER_US)
    known_as = {person_id, *vault.known_as(person_id)}
    for record in ledger.records(DECISION_OF_KIND, after):
        if record.fields.get("person") in known_as and (corrected_to(ledger, record) or person_id) in known_as:
            visit_id, arrived_us = record.fields["visit"], record.fields["arrived_us"]
            served = served_by(ledger.connection, visit_id)
            if served is None and (registered := registration(ledger, visit_id, arrived_us)) is not None:
                served = str(registered.fields["account"])
            return Been(visit_id, arrived_us, served)
    return None


def settled(folder: Path, ledger: Ledger, vault: Vault, been: Been, person_id: str | None = None) -> Been:
    """The same with the first arrival that was approved since; person_id: whose face was asked about."""
    if person_id is not None:
        return replace(been, settled=of_person(folder, ledger, vault, person_id))
    return replace(been, settled=of_visits(folder, ledger, been.visit_ids))


def consented(folder: Path, ledger: Ledger, vault: Vault, person_id: str) -> bool:
    """Whether a person's consent to be recognised stands, and was signed; folder: HOME, whose keys sign such records.

    It may have been given before anybody had compared them, or under an id that was merged since: what counts is that
    the visit it was given at is this person's.
    """
    given_us = vault.consented_us(person_id)
    if given_us is None:
        return False
    near = ledger.records(("consent.given",), place_before(ledger, given_us - _MINUTE_US))
    about_then = takewhile(lambda one: one.stamp.wall_us < given_us + _MINUTE_US, near)
    for record in proven(folder, ledger, about_then):
        visit_id, whose = text_of(record.fields, "visit"), {text_of(record.fields, "person")}
        if visit_id is not None:
            told = on_its_day(ledger, visit_id, (*DECISION_OF_KIND, CORRECTED), record.stamp.wall_us)
            whose |= {text_of(one.fields, "person") for one in told}
        if person_id in {vault.standing(one) for one in whose if one is not None}:
            return True
    return False


def agree(
    open_ledger: Callable[[], Ledger], home: Home, visit: Arrival, consent: Consent, request: str, account_id: str
) -> Record | None:
    """Record that somebody at the desk consents to be recognised, before anybody has checked them in.

    The same request again gets the record of the first time; None where they are forgotten already.
    """
    with (
        closing(open_ledger()) as ledger,
        opened(home.database, home.keys_database) as vault,
        ledger.transaction() as transaction,
    ):
        told = ledger.about(visit.visit_id, ("consent.given",), visit.at)
        if same := [record for record in told if record.fields.get("request") == request]:
            return same[0]
        given = give(
            consent,
            ledger,
            vault,
            transaction,
            visit_id=visit.visit_id,
            at=visit.at,
            person_id=visit.person_id,
            account_id=account_id,
            request=request,
            now_us=wall_us(),
        )
    return None if given is None else given[0]


def _found(ledger: Ledger, vault: Vault, column: str, digest: bytes) -> list[Been]:
    given: dict[str, list[tuple[str, int, str]]] = {}
    for contact_id, sealed, *visit in ledger.connection.execute(
        "SELECT contacts.person_id, sealed, visit_id, arrived_us, ifnull(consultant, account_id) FROM contacts"
        " JOIN contact_visits USING (person_id) LEFT JOIN assigned USING (visit_id)"
        f" WHERE {column} = ? ORDER BY arrived_us",
        (digest,),
    ).fetchall():
        # a key destroyed is a number forgotten, whatever an erasure cut short has left of it
        if contact_id in given or vault.unseal(contact_id, sealed, f"phone:{contact_id}") is not None:
            given.setdefault(contact_id, []).append((visit[0], visit[1], visit[2]))
    return [
        Been(*visits[0], len(visits), visits[-1][1], tuple(visit_id for visit_id, _, _ in visits))
        for visits in given.values()
    ]


def registration(ledger: Ledger, visit_id: str, arrived_us: int) -> Record | None:
    """The check-in that registered a visit, on its day; any moment of that day will do for the arrival."""
    closings = on_its_day(ledger, visit_id, ("visit.checkin",), arrived_us)
    return next((record for record in closings if record.fields.get("state") == "registered"), None)


def on_its_day(ledger: Ledger, visit_id: str, kinds: Iterable[str], arrived_us: int) -> Iterator[Record]:
    """The records of a visit written within a day of its arrival, without a look at all that came since."""
    after = place_before(ledger, arrived_us - _EARLIER_US)
    that_day = takewhile(lambda one: one.stamp.wall_us < arrived_us + _DAY_US, ledger.records(kinds, after))
    return (record for record in that_day if record.fields.get("visit") == visit_id)
