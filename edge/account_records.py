"""Every change of the kiosk's accounts and tablets as a record of the desk's, in the transaction that makes it.

Whoever can change accounts at the node can sign with the desk key too; what they cannot do is to change one unseen:
central holds the record.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import sqlite_utils
from sqlite_utils.migrations import Migrations

from edge.access_log import standing
from sync.format.accounts import KIND, AccountChange, TabletChange
from sync.format.canonical import Fields
from sync.node.append import Transaction
from sync.node.ledger import Ledger
from sync.web.changes import Change

MIGRATIONS = Migrations("account_records")
_AT_ONCE = 32  # accounts in one record: each takes some 120 of a body's 8,192 bytes


@MIGRATIONS()
def account_records(db: sqlite_utils.Database) -> None:
    """Where the newest record of each account lies."""
    db.table("account_records").create(
        {"account_id": str, "epoch": int, "seq": int}, pk="account_id", not_null={"epoch", "seq"}
    )


class AccountRecords:
    """Tells of changes under the desk key; each call opens the ledger for its own thread."""

    def __init__(self, open_ledger: Callable[[], Ledger]) -> None:
        """open_ledger: opens it under the desk key."""
        self._open_ledger = open_ledger

    @contextmanager
    def changing(self) -> Iterator[Change]:
        """Open a change and record it at its end; raises KeyNotInForce, and nothing is changed then."""
        with closing(self._open_ledger()) as ledger, ledger.transaction() as transaction:
            change = Change(transaction.connection)
            yield change
            if change.accounts or change.tablets:
                _record(transaction, change.accounts, change.tablets)

    def find(self) -> int:
        """Record the accounts that no record tells of; returns how many. Raises KeyNotInForce."""
        with closing(self._open_ledger()) as ledger, ledger.transaction() as transaction:
            found = transaction.connection.execute(
                "SELECT account_id, role, office FROM accounts WHERE enabled = 1 AND account_id NOT IN"
                " (SELECT account_id FROM account_records) ORDER BY account_id"
            ).fetchall()
            told = [AccountChange(account_id, "found", role, office) for account_id, role, office in found]
            for first in range(0, len(told), _AT_ONCE):
                _record(transaction, told[first : first + _AT_ONCE], [])
        return len(told)


def forget_records(connection: sqlite3.Connection) -> None:
    """Let every account be found anew: what lies here is an older state of it, in the transaction that restores it."""
    connection.execute("DELETE FROM account_records")


def _record(transaction: Transaction, accounts: list[AccountChange], tablets: list[TabletChange]) -> None:
    said: Fields = standing(transaction.connection)
    if accounts:
        said["accounts"] = [one.fields() for one in accounts]
    if tablets:
        said["tablets"] = [one.fields() for one in tablets]
    record = transaction.append(KIND, said)
    for one in accounts:
        transaction.connection.execute(
            "INSERT INTO account_records (account_id, epoch, seq) VALUES (?, ?, ?) ON CONFLICT (account_id) DO"
            " UPDATE SET epoch = excluded.epoch, seq = excluded.seq",
            (one.account_id, record.epoch, record.seq),
        )
