"""A visit somebody disputes (判客): marked by privacy officer or auditor, so that its phone is not erased yet."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from edge import EdgeError
from edge.clock import wall_us
from edge.people.restricted import visits_of
from sync.format.records import Record
from sync.node.ledger import Ledger

KIND = "visit.corrected"
REASONS = ("commission", "double_report", "identity", "other")


@dataclass(frozen=True, slots=True)
class Claim:
    """A dispute over a visit that is open."""

    visit_id: str
    reason: str
    account_id: str
    opened_us: int


class Claims:
    """Writes claims under the desk key; each call opens the ledger for its own thread.

    request: a random id of the form that was sent; the same one again gets the record of the first time back.
    """

    def __init__(self, open_ledger: Callable[[], Ledger]) -> None:
        self._open_ledger = open_ledger

    def open(self, visit_id: str, reason: str, request: str, account_id: str) -> Record:
        """Mark a visit as disputed; raises EdgeError for an unknown reason, or where it is marked already."""
        if reason not in REASONS:
            raise EdgeError(f"reason {reason!r}: one of {', '.join(REASONS)}")
        with closing(self._open_ledger()) as ledger, ledger.transaction() as transaction:
            if same := written(ledger, request):
                return same
            if _is_open(transaction.connection, visit_id):
                raise EdgeError(f"visit {visit_id}: is marked as disputed already")
            fields = {"visit": visit_id, "claim": "opened", "reason": reason, "request": request, "account": account_id}
            record = transaction.append(KIND, fields)
            transaction.connection.execute(
                "INSERT OR REPLACE INTO claims (visit_id, reason, account_id, opened_us) VALUES (?, ?, ?, ?)",
                (visit_id, reason, account_id, wall_us()),
            )
            return record

    def close(self, visit_id: str, request: str, account_id: str) -> Record:
        """The dispute is settled; raises EdgeError where none is open."""
        with closing(self._open_ledger()) as ledger, ledger.transaction() as transaction:
            if same := written(ledger, request):
                return same
            if not _is_open(transaction.connection, visit_id):
                raise EdgeError(f"visit {visit_id}: no claim is open")
            fields = {"visit": visit_id, "claim": "closed", "reason": "settled", "request": request}
            record = transaction.append(KIND, {**fields, "account": account_id})
            transaction.connection.execute("UPDATE claims SET closed_us = ? WHERE visit_id = ?", (wall_us(), visit_id))
            return record


def written(ledger: Ledger, request: str, kinds: tuple[str, ...] = (KIND,)) -> Record | None:
    """The record that a form has made before."""
    return next(iter(ledger.about(request, kinds, key="request")), None)


def open_claims(connection: sqlite3.Connection) -> list[Claim]:
    """Every dispute that is open, the oldest first."""
    rows = connection.execute(
        "SELECT visit_id, reason, account_id, opened_us FROM claims WHERE closed_us IS NULL ORDER BY opened_us"
    )
    return [Claim(*row) for row in rows]


def disputed(connection: sqlite3.Connection, contact_id: str) -> bool:
    """Whether any visit at which a contact's phone was given is disputed."""
    return any(_is_open(connection, visit_id) for visit_id in visits_of(connection, contact_id))


def _is_open(connection: sqlite3.Connection, visit_id: str) -> bool:
    found = connection.execute("SELECT 1 FROM claims WHERE visit_id = ? AND closed_us IS NULL", (visit_id,))
    return found.fetchone() is not None
