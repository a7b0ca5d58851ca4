"""The codes that central has signed, and where each was shown, as the check-ins that came here say."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sync.central.store.batch import Batch
from sync.central.store.database import Database, Migration, Tables
from sync.central.store.evidence import Evidence
from sync.format.codes import Code
from sync.storage.arrivals import CodeUse, code_use


def _fill(database: Database) -> None:
    """List the codes in the check-ins already held."""
    uses = (code_use(row.node_id, row.fields) for row in Evidence(database).records() if row.kind == "visit.checkin")
    database.insert("code_uses", [use for use in uses if use is not None])


MIGRATIONS = (
    Migration(
        "codes",
        (
            "CREATE TABLE codes (code BLOB NOT NULL PRIMARY KEY, body BLOB NOT NULL, subject TEXT,"
            " issued_us INTEGER NOT NULL, revoked_us INTEGER, reason TEXT)",
            "CREATE TABLE code_uses (code BLOB NOT NULL, node_id TEXT NOT NULL, epoch INTEGER NOT NULL,"
            " seq INTEGER NOT NULL, arrived_us INTEGER NOT NULL, PRIMARY KEY (code, node_id, epoch, seq))",
        ),
        _fill,
    ),
)


@dataclass(frozen=True, slots=True)
class IssuedCode:
    """A code that central has signed. subject: of a report, as its notices name the customer.

    revoked_us, reason: None while it is good.
    """

    code: Code
    subject: str | None
    issued_us: int
    revoked_us: int | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Shown:
    """A check-in that names a code. arrived_us: by its node's clock."""

    node_id: str
    epoch: int
    seq: int
    arrived_us: int


class Codes(Tables):
    def codes(self) -> Iterator[IssuedCode]:
        """Every code signed here, the oldest first."""
        rows = self._db.query("SELECT body, subject, issued_us, revoked_us, reason FROM codes ORDER BY issued_us, code")
        return (_issued(*row) for row in rows)

    def issued_code(self, code_hash: str) -> IssuedCode | None:
        """A code signed here; code_hash: 64 hex digits."""
        rows = self._db.query(
            "SELECT body, subject, issued_us, revoked_us, reason FROM codes WHERE code = ?", (bytes.fromhex(code_hash),)
        )
        return _issued(*rows[0]) if rows else None

    def add_code(self, issued: IssuedCode) -> None:
        """Keep a code, in a transaction of its own; one that says the very same is the same code."""
        row = (bytes.fromhex(issued.code.hash), issued.code.body(), issued.subject, issued.issued_us, None, None)
        with self._db.transaction():
            self._db.execute("INSERT INTO codes VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", row)

    def revoke_code(self, code_hash: str, from_us: int, reason: str) -> None:
        with self._db.transaction():
            self._db.execute(
                "UPDATE codes SET revoked_us = ?, reason = ? WHERE code = ?",
                (from_us, reason, bytes.fromhex(code_hash)),
            )

    def code_shown(self, code_hash: str) -> list[Shown]:
        """Where a code was shown, the earliest arrival first."""
        rows = self._db.query(
            "SELECT node_id, epoch, seq, arrived_us FROM code_uses WHERE code = ? ORDER BY arrived_us, node_id, seq",
            (bytes.fromhex(code_hash),),
        )
        return [Shown(*row) for row in rows]

    def _write_code_uses(self, batch: Batch) -> None:
        rows: Iterable[CodeUse] = batch.code_uses
        self._db.insert("code_uses", list(rows))


def _issued(body: bytes, subject: str | None, issued_us: int, revoked_us: int | None, reason: str | None) -> IssuedCode:
    return IssuedCode(Code.parse(bytes(body)), subject, issued_us, revoked_us, reason)
