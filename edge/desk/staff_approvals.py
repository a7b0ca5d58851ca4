"""Whether somebody goes onto the roster: an auditor from outside says, of what the office or its installer proposed."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

import numpy as np

from edge.desk.approvals import NotAsked, hold_to_confirmed, hold_to_outside, office_of
from edge.home import Home
from edge.people.tables import VISITORS
from edge.people.vault import Vault, opened
from edge.proven import proven
from edge.recognition.enrolment import KIND, agent_code, known_in, newest_visit
from edge.recognition.roster import from_outside, heard
from edge.rights.retention import erase
from sync.format.accounts import Account
from sync.format.canonical import Fields
from sync.format.records import Record
from sync.format.source import Verdict
from sync.node.ledger import Ledger

LAPSES_AFTER_S = 14 * 86_400.0
"""How long a face waits for a word before it is erased: nobody's is kept on a mere request."""


@dataclass(frozen=True, slots=True)
class Applicant:
    """Somebody proposed; decided: the word on it, None while there is none. code: an agent's, while it is kept.

    unconfirmed: an approval that does not count, of an account that central had not confirmed; as if there were none.
    """

    record: Record
    decided: Record | None
    unconfirmed: Record | None
    code: str | None

    @property
    def person_id(self) -> str:
        return str(self.record.fields["person"])

    @property
    def verdict(self) -> str | None:
        return None if self.decided is None else str(self.decided.fields["state"])

    @property
    def seen_before(self) -> str | None:
        """The newest visit of the same face, as known when it was proposed or, later, approved."""
        told = (one.fields.get("seen_before") for one in (self.decided, self.record) if one is not None)
        return next((visit_id for visit_id in told if visit_id is not None), None)


@dataclass(frozen=True, slots=True)
class _Told:
    """As `Applicant` has it."""

    record: Record
    decided: Record | None = None
    unconfirmed: Record | None = None


class StaffApprovals:
    """Answers proposals under the desk key; each call opens ledger and vault for its own thread."""

    def __init__(self, open_ledger: Callable[[], Ledger], home: Home, site_id: str) -> None:
        """open_ledger: opens it under the desk key."""
        self._open_ledger = open_ledger
        self._home = home
        self._site_id = site_id

    def applicants(self, ledger: Ledger, vault: Vault) -> list[Applicant]:
        """Everybody proposed, the newest first; those without a word yet before the others."""
        found = [
            Applicant(
                asked.record,
                asked.decided,
                asked.unconfirmed,
                # a badge's code is shown once, to whoever hands it over
                agent_code(vault, asked.record.fields["person"]) if asked.record.fields["templates"] else None,
            )
            for asked in self._told(ledger)
        ]
        found.reverse()
        return sorted(found, key=lambda one: one.decided is not None)

    def answer(self, proposal: str, verdict: Verdict, request: str, account: Account) -> Record:
        """Approve or refuse a proposal, named by its record's hash in hex; the first word on it that counts stands.

        Approved, the face is known from now on, and the record names the newest visit it came with before; refused, it
        is erased. Raises NotTheirs, NotConfirmed, NotAsked where there is no such proposal any more,
        KeyNotInForce.
        """
        with self._opened() as (ledger, vault):
            with ledger.transaction() as transaction:
                told = next((one for one in self._told(ledger) if one.record.hash.hex() == proposal), None)
                if told is None:
                    raise NotAsked("missing")
                asked, decided = told.record, told.decided
                hold_to_outside(account, asked.fields, self._site_id)
                if self._home.joined:  # else there is no head office that could confirm anybody
                    hold_to_confirmed(account, self._home.path, ledger)
                if decided is not None:
                    return decided
                person_id = asked.fields["person"]
                if not vault.remembers(person_id):
                    raise NotAsked("missing")
                said: Fields = {"person": person_id, "state": verdict, "proposal": proposal, "request": request}
                said |= {"account": account.account_id, **office_of(account)}
                if verdict == "approved":
                    visitor_id = self._visitor(vault, asked)
                    visit_id = newest_visit(ledger, visitor_id) if visitor_id is not None else None
                    said |= {} if visitor_id is None else {"visitor": visitor_id}
                    said |= {} if visit_id is None else {"seen_before": visit_id}
                    vault.enrolled.admit(transaction.connection, person_id, visitor_id)
                word = transaction.append(KIND, said)
            if verdict == "refused":
                erase(ledger, vault, person_id, "staff", None, account_id=account.account_id)
        return word

    def lapse(self, now_us: int) -> int:
        """Erase the faces of proposals that nobody has answered in time, or that were refused; returns how many.

        Nobody's who was approved by an account that central had not confirmed: that may have been of an older version.
        """
        lapsed = 0
        with self._opened() as (ledger, vault):
            for told in self._told(ledger):
                asked, decided = told.record, told.decided
                late = now_us - asked.stamp.wall_us > LAPSES_AFTER_S * 1e6
                over = late and told.unconfirmed is None if decided is None else decided.fields["state"] == "refused"
                if over and vault.remembers(asked.fields["person"]):
                    erase(ledger, vault, asked.fields["person"], "staff", None)
                    lapsed += 1
        return lapsed

    def _told(self, ledger: Ledger) -> list[_Told]:
        """Each proposal with the word on it, in chain order; those whose face was erased without one are left out."""
        asked: dict[str, _Told] = {}
        found = proven(self._home.path, ledger, ledger.records((KIND, "person.erased")))
        counting = heard(self._home.path, ledger, found)
        for record in found:
            fields, named = record.fields, str(record.fields.get("proposal"))
            if record.kind == "person.erased":
                asked = {
                    key: one
                    for key, one in asked.items()
                    if one.decided or one.record.fields["person"] != fields["person"]
                }
            elif fields.get("state") == "proposed":
                asked[record.hash.hex()] = _Told(record)
            elif (told := asked.get(named)) is None or told.decided is not None:
                continue
            elif from_outside(told.record.fields, fields, (self._site_id,)):
                if record.hash in counting:
                    asked[named] = _Told(told.record, decided=record)
                elif fields.get("state") == "approved":
                    asked[named] = replace(told, unconfirmed=told.unconfirmed or record)
        return list(asked.values())

    @staticmethod
    def _visitor(vault: Vault, asked: Record) -> str | None:
        """Whom the face has come as, by the visitors known now; else as it was known when it was proposed."""
        if "pack" not in asked.fields:  # a badge
            return None
        stored = vault.templates.of(asked.fields["person"], asked.fields["pack"])
        upper = asked.fields.get("upper_e6")
        vectors = np.stack([one.vector for one in stored]) if stored else None
        known = None
        if vectors is not None and upper is not None:
            known = known_in(vault, asked.fields["pack"], VISITORS, vectors, upper / 1e6)
        return known or asked.fields.get("visitor")

    @contextmanager
    def _opened(self) -> Iterator[tuple[Ledger, Vault]]:
        with (
            closing(self._open_ledger()) as ledger,
            opened(self._home.database, self._home.keys_database) as vault,
        ):
            yield ledger, vault
