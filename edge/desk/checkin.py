"""An arrival closed at the desk: registered by phone or as a walk-in, or dismissed; one `visit.checkin` each time."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Literal, TypeAlias

from edge import EdgeError
from edge.clock import wall_us
from edge.desk.codes import ShownCode, hold_same_phone, note_use
from edge.desk.consents import Consent, give
from edge.desk.fact import facts_fields
from edge.desk.facts import facts_of
from edge.desk.reports import reports_of
from edge.desk.shown import ShownVisit
from edge.desk.visitor_forms import SentForm, bind_form
from edge.home import Home
from edge.minted import new_salt
from edge.people.contacts import bind
from edge.people.phones import Phone
from edge.people.vault import Vault, opened
from edge.recognition.roster import Member
from edge.sure_time import SureTime
from edge.visits.open_visit import some
from sync.format.canonical import Fields
from sync.format.records import Record
from sync.format.signing import commitment
from sync.format.visit_fields import DECISION_OF_KIND
from sync.node.append import Transaction
from sync.node.ledger import Ledger

KIND = "visit.checkin"
Way: TypeAlias = Literal["phone", "walk_in", "code", "visitor"]
Dismissal: TypeAlias = Literal["companion", "not_customer", "refused", "left"]
State: TypeAlias = Literal["open", "registered"] | Dismissal
DISMISSALS: dict[str, tuple[Dismissal, str | None]] = {
    "companion": ("companion", None),
    "child": ("companion", "child"),
    "courier": ("not_customer", "courier"),
    "workman": ("not_customer", "workman"),
    "property": ("not_customer", "property"),
    "staff": ("not_customer", "staff"),
    "competitor": ("not_customer", "competitor"),
    "other": ("not_customer", "other"),
    "refused": ("refused", None),
    "left": ("left", None),
}
"""What the desk may dismiss an arrival as, and the state and reason code that a record carries for it."""
_MOST_REPORTS = 8  # of one customer, the earliest: who came first is what a dispute asks


class NotNow(EdgeError):
    """Not what can follow the check-in that stands: somebody was quicker. The page shows that one."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A visit as the desk's page has it. person_id: None where nobody was compared. at: (epoch, seq) of its record."""

    visit_id: str
    person_id: str | None
    arrived_us: int
    party_id: str | None
    company: tuple[str, ...]
    at: tuple[int, int]

    @classmethod
    def of(cls, visit: ShownVisit, company: tuple[str, ...] = ()) -> "Arrival":
        return cls(visit.visit_id, visit.person_id, visit.arrived_us, visit.party_id, company, visit.at)


@dataclass(frozen=True, slots=True)
class Registration:
    """What makes an arrival a customer's.

    consent: None where the box was left empty. heads: of a group, as the desk counted them, whoever the cameras saw of
    it. code: what was shown, judged good. form: what the visitor has sent from their own phone, and its
    `claimed_place`.
    """

    way: Way
    phone: Phone | None = None
    consent: Consent | None = None
    heads: int | None = None
    code: ShownCode | None = None
    form: tuple[SentForm, Fields] | None = None

    def fields(self) -> Fields:
        """What the record says of it, but for the phone, which is committed to, and the form, which is bound."""
        code = {} if self.code is None else self.code.fields()
        return {"state": "registered", "way": self.way, **code}


class CheckIn:
    """Writes check-ins under the desk key; each call opens the ledger for its own thread.

    request: a random id of the form that was sent; the same one again gets the record of the first time back, and
    nothing is written. Every method returns the records made or found, and raises NotNow where another check-in
    stands in the way, KeyNotInForce where the desk's key may sign no more: nothing is recorded then.
    """

    def __init__(self, open_ledger: Callable[[], Ledger], home: Home, sure: SureTime | None = None) -> None:
        """open_ledger: opens the ledger of HOME under the desk key. sure: shared by whoever else follows this chain."""
        self._sure = sure or SureTime()
        self._open_ledger = open_ledger
        self._home = home

    def register(
        self,
        arrival: Arrival,
        registration: Registration,
        request: str,
        account_id: str,
        *,
        companions: Sequence[Arrival] = (),
    ) -> list[Record]:
        """Close an arrival as a customer's; one that was dismissed before becomes one too.

        companions: are closed with it, as its companions, as far as they are open still. Raises CodeRefused where
        another phone has been registered with the code's report here, NotWaiting where the form is bound already.
        """
        phone, consent, code = registration.phone, registration.consent, registration.code
        salt = new_salt()
        reports = [] if phone is None else reports_of(self._home, phone, self._judging_us())
        also: list[Record] = []

        def fields(
            known: Fields, ledger: Ledger, vault: Vault, transaction: Transaction, closings: list[Record]
        ) -> Fields:
            made: Fields = {**registration.fields(), **known}
            if registration.heads is not None:
                made["heads"] = registration.heads
            if registration.form is not None:
                sent, claimed = registration.form
                bind_form(ledger.connection, sent.form_id, arrival.visit_id, wall_us())
                made |= sent.fields(claimed)
            contact_id = None
            visitor_id = arrival.person_id
            if consent is not None:
                given = give(
                    consent,
                    ledger,
                    vault,
                    transaction,
                    visit_id=arrival.visit_id,
                    at=arrival.at,
                    person_id=arrival.person_id,
                    account_id=account_id,
                    request=request,
                    now_us=wall_us(),
                )
                if given is not None:
                    record, visitor_id = given
                    also.append(record)
            if phone is not None:
                made["phone"] = commitment(salt, phone.e164.encode()).hex()
                bound = bind(
                    ledger.connection,
                    vault,
                    phone,
                    salt,
                    visit_id=arrival.visit_id,
                    visitor_id=visitor_id,
                    arrived_us=arrival.arrived_us,
                    account_id=account_id,
                    now_us=wall_us(),
                )
                contact_id = bound.contact_id
                if (earlier := bound.earlier) is not None:
                    made |= {"earlier": earlier.visit_id, "earlier_us": earlier.arrived_us, "basis": "phone"}
            if reports:
                made["reports"] = [one.report_id for one in reports][:_MOST_REPORTS]
            if code is not None:
                hold_same_phone(ledger.connection, code, phone, arrival.visit_id)
                note_use(ledger.connection, code, phone, arrival.visit_id, arrival.person_id, wall_us())
            facts = facts_of(
                self._home.path,
                ledger,
                vault,
                visit_id=arrival.visit_id,
                person_id=arrival.person_id,
                at=arrival.at,
                contact_id=contact_id,
                code=code,
                closings=closings,
            )
            return made | facts_fields(facts)

        beside: Fields = {"state": "companion", "lead": arrival.visit_id}
        others = [(companion, beside) for companion in companions]
        return self._close(arrival, request, account_id, lambda state: state != "registered", fields, others) + also

    def dismiss(
        self, arrival: Arrival, dismissal: str, request: str, account_id: str, *, others: Sequence[Arrival] = ()
    ) -> list[Record]:
        """Close an arrival as no customer's; dismissal: one of DISMISSALS. others: with it, as far as they are open."""
        state, reason = DISMISSALS[dismissal]
        said: Fields = {"state": state} if reason is None else {"state": state, "reason": reason}
        return self._close(
            arrival,
            request,
            account_id,
            lambda stands: stands == "open",
            lambda known, *_: {**said, **known},
            others=[(other, said) for other in others],
        )

    def badge(self, arrival: Arrival, badge: Member, request: str, account_id: str) -> list[Record]:
        """Close an arrival as one of staff or an agent who has shown their badge; taken back as any dismissal is."""
        said: Fields = {"state": "not_customer", "reason": badge.role, "badge": badge.person_id}
        return self._close(
            arrival, request, account_id, lambda stands: stands == "open", lambda known, *_: {**said, **known}
        )

    def reopen(self, arrival: Arrival, request: str, account_id: str) -> list[Record]:
        """Take a dismissal back."""
        return self._close(
            arrival,
            request,
            account_id,
            lambda stands: stands not in ("open", "registered"),
            lambda known, *_: {"state": "open", **known},
        )

    def _judging_us(self) -> int:
        with closing(self._open_ledger()) as ledger:
            return self._sure.judging_us(ledger)

    def _close(
        self,
        arrival: Arrival,
        request: str,
        account_id: str,
        may_follow: Callable[[str], bool],
        fields: Callable[[Fields, Ledger, Vault, Transaction, list[Record]], Fields],
        others: Sequence[tuple[Arrival, Fields]] = (),
    ) -> list[Record]:
        envelope: Fields = {"visit": arrival.visit_id, "request": request, "account": account_id}
        person: Fields = {} if arrival.person_id is None else {"person": arrival.person_id}
        with (
            closing(self._open_ledger()) as ledger,
            opened(self._home.database, self._home.keys_database) as vault,
            ledger.transaction() as transaction,
        ):
            stands = _stands(ledger, [arrival, *(other for other, _ in others)])
            before = stands.get(arrival.visit_id, [])
            if any(record.fields["request"] == request for record in before):
                return [record for told in stands.values() for record in told if record.fields["request"] == request]
            state = before[-1].fields["state"] if before else "open"
            if not may_follow(state):
                raise NotNow(f"visit {arrival.visit_id}: is {state} already")
            made = fields(_known(ledger, arrival), ledger, vault, transaction, before)
            records = [transaction.append(KIND, {**envelope, **person, **made})]
            for other, said in others:
                told = stands.get(other.visit_id)
                if told is None or told[-1].fields["state"] == "open":
                    beside = {**envelope, "visit": other.visit_id, **said, **_arrived(other)}
                    who: Fields = {} if other.person_id is None else {"person": other.person_id}
                    records.append(transaction.append(KIND, {**beside, **who}))
        return records


def _stands(ledger: Ledger, arrivals: Sequence[Arrival]) -> dict[str, list[Record]]:
    """What the desk has said of these arrivals so far, in chain order; whom it has said nothing of is left out."""
    ids = {arrival.visit_id for arrival in arrivals}
    told: dict[str, list[Record]] = {}
    for record in ledger.records((KIND,), min(arrival.at for arrival in arrivals)):
        if record.fields["visit"] in ids:
            told.setdefault(record.fields["visit"], []).append(record)
    return told


def _arrived(arrival: Arrival) -> Fields:
    known: Fields = {"arrived_us": arrival.arrived_us, "since_us": max(0, wall_us() - arrival.arrived_us)}
    if arrival.party_id is not None:
        known["party_id"] = arrival.party_id
    return known


def _known(ledger: Ledger, arrival: Arrival) -> Fields:
    """What this node knows of an arrival at this moment, and how old central's word is that it has."""
    decided = ledger.record(*arrival.at)
    told = [] if decided is None else [decided.fields]
    later = ledger.about(arrival.visit_id, (*DECISION_OF_KIND, "visit.left", "visit.reentry"), arrival.at)
    told += [record.fields for record in later]
    keys = ("agents", "agents_before", "agents_after")
    agents = {agent for fields in told for key in keys for agent in fields.get(key, ())}
    known = _arrived(arrival)
    if arrival.company:
        known["company"] = some(arrival.company)
    if agents:
        known["agents"] = some(agents)
    if (acked_us := ledger.last_ack_us()) is not None:
        known["central_as_of_us"] = acked_us
    return known
