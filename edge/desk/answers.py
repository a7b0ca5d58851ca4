"""The desk's answer to "is this the same person?": one record under the desk key, and the gallery with it."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge import EdgeError
from edge.desk.shown import ShownVisit
from edge.people.handing_over import absorb
from edge.people.person_keys import VaultError
from edge.people.vault import Vault, opened
from sync.format.canonical import Fields
from sync.format.records import Record
from sync.format.visit_fields import settles
from sync.node.ledger import Ledger

_log = logging.getLogger(__name__)


class BadAnswer(EdgeError):
    """An answer to a question that was not asked."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The correction that stands. news: this very answer made it. agrees: it says what was answered now."""

    record: Record
    news: bool
    agrees: bool


class Answers:
    """Writes corrections; each answer opens the ledger for its own thread."""

    def __init__(self, open_ledger: Callable[[], Ledger], database: Path, keys_database: Path) -> None:
        """open_ledger: opens it under the desk key."""
        self._open_ledger = open_ledger
        self._database = database
        self._keys_database = keys_database

    def answer(self, question: ShownVisit, person_id: str | None, account_id: str) -> Answered:
        """Record that an unsure visitor is `person_id`, or with None somebody new.

        The first answer stands: a second one, whoever gives it, gets that one back. Raises BadAnswer where the visit
        is not a question, or the person not among its candidates, KeyNotInForce where the
        desk's key may sign no more: nothing is recorded then.
        """
        provisional = question.provisional
        if question.original != "unsure" or provisional is None:
            raise BadAnswer(f"visit {question.visit_id}: nothing to answer")
        if person_id is not None and person_id not in {c.person_id for c in question.candidates}:
            raise BadAnswer(f"visit {question.visit_id}: {person_id} is not a candidate")
        fields = {
            "visit": question.visit_id,
            "decision": "return" if person_id else "first",
            "person": person_id or provisional,
            "reason": "same_person" if person_id else "new_person",
            "account": account_id,
        }
        ledger = self._open_ledger()
        try:
            with opened(self._database, self._keys_database) as vault:
                if person_id is not None:  # two candidates may have been merged meanwhile
                    person_id = fields["person"] = vault.standing(person_id)
                answered = self._record(ledger, vault, question, provisional, person_id, fields)
                if answered.news and not vault.remembers(provisional):
                    vault.destroy_keys([provisional])  # absorbed: what it opened is sealed anew under the other's
                return answered
        finally:
            ledger.close()

    @staticmethod
    def _record(
        ledger: Ledger,
        vault: Vault,
        question: ShownVisit,
        provisional: str,
        person_id: str | None,
        fields: Fields,
    ) -> Answered:
        with ledger.transaction() as transaction:
            for earlier in ledger.records(("visit.corrected",), after=question.at):
                if earlier.fields["visit"] == question.visit_id and settles(earlier.fields):
                    agrees = all(earlier.fields.get(key) == fields[key] for key in ("decision", "person"))
                    return Answered(earlier, news=False, agrees=agrees)
            record = transaction.append("visit.corrected", fields)
            if person_id is None:
                vault.make_searchable(transaction.connection, provisional)
            else:
                try:
                    absorb(transaction.connection, vault, provisional, person_id)
                except VaultError as error:  # one of them has been forgotten meanwhile; the answer is a fact still
                    _log.warning("templates not joined visit=%s reason=%s", question.visit_id, error)
            return Answered(record, news=True, agrees=True)
