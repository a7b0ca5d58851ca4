"""A phone shown in full, which every other page masks: with a reason, on record before anybody sees it, and once."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from edge import EdgeError
from edge.people.restricted import contact_at, number_of
from edge.people.vault import Vault, opened
from edge.rights.claims import written
from sync.format.records import Record
from sync.node.ledger import Ledger

REASONS = ("dispute", "access", "erasure", "legal")
"""Why a number may be shown; the same as at central."""
_KIND = "export.made"


class NoNumber(EdgeError):
    """No phone that could be shown; fault: `restricted` of one that may only be stored, else `none`."""

    def __init__(self, fault: str, whom: str) -> None:
        super().__init__(f"phone of {whom!r}: {fault}")
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Unmasked:
    """record: that says so. number: E.164; None where this very form has shown it before: it is shown once."""

    record: Record
    number: str | None = field(repr=False)


class Unmasking:
    """Shows phones under the desk key; each call opens ledger and vault for its own thread."""

    def __init__(self, open_ledger: Callable[[], Ledger], database: Path, keys_database: Path) -> None:
        """open_ledger: opens it under the desk key."""
        self._open_ledger = open_ledger
        self._database, self._keys_database = database, keys_database

    def contact(self, whom: str) -> str:
        """Whose phone is meant by a visit's id or a contact's (c-…): never by a number, which would say who has it.

        Raises NoNumber.
        """
        whom = whom.strip()
        with closing(self._open_ledger()) as ledger, opened(self._database, self._keys_database) as vault:
            contact_id = whom if whom.startswith("c-") else contact_at(ledger.connection, whom)
            if contact_id is None:
                raise NoNumber("none", whom)
            _number(ledger.connection, vault, contact_id)
        return contact_id

    def show(self, contact_id: str, reason: str, request: str, account_id: str) -> Unmasked:
        """Record that the number is shown, and only then return it.

        Whether it is restricted is judged in the transaction that records it. Raises NoNumber, EdgeError for an
        unknown reason, KeyNotInForce; nothing is recorded then.
        """
        if reason not in REASONS:
            raise EdgeError(f"reason {reason!r}: one of {', '.join(REASONS)}")
        with closing(self._open_ledger()) as ledger, opened(self._database, self._keys_database) as vault:
            with ledger.transaction() as transaction:
                if (same := written(ledger, request, (_KIND,))) is not None:
                    return Unmasked(same, None)
                number = _number(transaction.connection, vault, contact_id)
                said = {"what": "unmask", "person": contact_id, "reason": reason}
                record = transaction.append(_KIND, {**said, "request": request, "account": account_id})
            return Unmasked(record, number)


def _number(connection: sqlite3.Connection, vault: Vault, contact_id: str) -> str:
    """A contact's number in E.164, where it may be shown; raises NoNumber."""
    restricted = connection.execute("SELECT 1 FROM restricted_contacts WHERE person_id = ?", (contact_id,)).fetchone()
    if restricted is not None:
        raise NoNumber("restricted", contact_id)
    number = number_of(connection, vault, contact_id)
    if number is None:
        raise NoNumber("none", contact_id)
    return number
