"""Who looked at whom: each view a row chained to the one before, and the chain's end signed every ten minutes.

The rows hold account ids, codes and random ids, no more than a record may, and stay at the node. What enters the ledger
is an `access.digest` with their number and the last link, so that no row can be changed or left out unseen once it is
signed. What was written since the last digest is as good as the database is, and no better.
"""

import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import orjson
import sqlite_utils
from sqlite_utils.migrations import Migrations

from edge import EdgeError
from edge.clock import wall_us
from sync import SyncError
from sync.format import canonical
from sync.format.records import Record
from sync.format.signing import digest
from sync.node.ledger import Ledger
from sync.storage.database import connect, immediate, named
from sync.storage.readonly import READ_ERRORS, damage, read_snapshot

MIGRATIONS = Migrations("access_log")
KIND = "access.digest"
SIGN_EVERY_S = 600  # protocol.md: the digest enters the ledger every 10 minutes
AGAIN_S = 600.0  # the same look by the same account is one look: pages fetch their pictures anew
_GENESIS = bytes(32)
_MOST_AT_ONCE = 256
_REMEMBERED = 4096

Action: TypeAlias = Literal[
    "face", "why", "checkin", "lookback", "camera", "certificate", "approval", "note", "person", "unmask"
]


@MIGRATIONS()
def access_log(db: sqlite_utils.Database) -> None:
    """link: SHA-256 over the row and the link of the row before it."""
    db.table("access_log").create(
        {"number": int, "at_us": int, "account_id": str, "action": str, "subject": str, "link": bytes},
        pk="number",
        not_null={"at_us", "account_id", "action", "subject", "link"},
    )


@dataclass(frozen=True, slots=True)
class Access:
    """One look. subject: a visit, a person or a camera, by id. number: from 1, without gaps."""

    number: int
    at_us: int
    account_id: str
    action: str
    subject: str

    def link(self, before: bytes) -> bytes:
        """The row's link, 32 bytes, given that of the row before (32 zeros before the first)."""
        row = {
            "number": self.number,
            "at_us": self.at_us,
            "account": self.account_id,
            "action": self.action,
            "subject": self.subject,
            "prev": before.hex(),
        }
        return digest("access", canonical.encode(row))


class NotNoted(EdgeError):
    """A look that could not be written down, and so is not to be had."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    at_us: int
    account_id: str
    action: str
    subject: str
    done: "Future[None]"


class AccessLog:
    """Writes the rows of one database from a thread of its own: looks that come together share one commit."""

    def __init__(self, database: Path, now_us: Callable[[], int] = wall_us) -> None:
        self._database = database
        self._now_us = now_us
        self._wanted: queue.SimpleQueue[_Wanted | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._noted: dict[tuple[str, str, str], int] = {}
        self._thread: threading.Thread | None = None

    def note(self, account_id: str, action: Action, subject: str) -> None:
        """Write down that somebody looks, durably, before they see anything; raises NotNoted where that fails."""
        key, now_us = (account_id, action, subject), self._now_us()
        with self._lock:
            before_us = self._noted.get(key)
            if before_us is not None and 0 <= now_us - before_us < AGAIN_S * 1e6:
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._write, name="access-log", daemon=True)
                self._thread.start()
        wanted = _Wanted(now_us, account_id, action, subject, Future())
        self._wanted.put(wanted)
        wanted.done.result()
        with self._lock:
            if len(self._noted) >= _REMEMBERED:
                self._noted.clear()
            self._noted[key] = now_us

    def close(self) -> None:
        """Write what is wanted still, and end."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._wanted.put(None)
            thread.join()

    def _write(self) -> None:
        going_on = True
        while going_on:
            some = [self._wanted.get()]
            while len(some) < _MOST_AT_ONCE and not self._wanted.empty():
                some.append(self._wanted.get())
            going_on = None not in some
            looks = [one for one in some if one is not None]
            if not looks:
                continue
            try:
                self._append(looks)
            except SyncError as error:
                for look in looks:
                    look.done.set_exception(NotNoted(str(error)))
            else:
                for look in looks:
                    look.done.set_result(None)

    def _append(self, looks: list[_Wanted]) -> None:
        with named(self._database), closing(connect(self._database)) as connection, immediate(connection):
            number, link = _last(connection)
            for look in looks:
                number += 1
                row = Access(number, look.at_us, look.account_id, look.action, look.subject)
                link = row.link(link)
                connection.execute(
                    "INSERT INTO access_log VALUES (?, ?, ?, ?, ?, ?)",
                    (number, row.at_us, row.account_id, row.action, row.subject, link),
                )


def sign(ledger: Ledger) -> Record | None:
    """Sign how far the log has come, where something was added; ledger: opened under the desk key."""
    with ledger.transaction() as transaction:
        number, _ = _last(transaction.connection)
        signed = ledger.last_of(KIND)
        if number == (signed.fields["entries"] if signed is not None else 0):
            return None
        return transaction.append(KIND, standing(transaction.connection))


def standing(connection: sqlite3.Connection) -> canonical.Fields:
    """What an `access.digest` says at least: how many rows there are, and the last one's link."""
    number, link = _last(connection)
    return {"entries": number, "link": link.hex()}


def newest(
    connection: sqlite3.Connection, limit: int, *, account_id: str = "", subject: str = "", before: int = 2**53
) -> list[Access]:
    """The last rows, newest first, of one account or on one subject where given, below a number."""
    return [
        Access(*row)
        for row in connection.execute(
            "SELECT number, at_us, account_id, action, subject FROM access_log"
            " WHERE number < ? AND (? IN ('', account_id)) AND (? IN ('', subject)) ORDER BY number DESC LIMIT ?",
            (before, account_id, subject, limit),
        )
    ]


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check of the log found. signed: rows that a digest covers. why: what is wrong, empty where nothing is."""

    entries: int
    signed: int
    why: str = ""

    @property
    def text(self) -> str:
        return self.why or f"{self.entries} entries, {self.signed} of them signed"


def check(database: Path) -> Checked | None:
    """Hold every row against its link and every digest in the ledger; None where the database has no such log.

    The digests are taken for what they are: that their records verify is for `verify` to say.
    """
    return read_snapshot(database, _check)


def _check(connection: sqlite3.Connection) -> Checked | None:
    rows, signed, link = 0, 0, _GENESIS
    try:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'access_log'").fetchone():
            return None
        said = _digests(connection)
        for number, at_us, account_id, action, subject, held in connection.execute(
            "SELECT number, at_us, account_id, action, subject, link FROM access_log ORDER BY number"
        ):
            if number != rows + 1:
                return Checked(rows, signed, f"entry {rows + 1} is missing")
            row = Access(number, at_us, account_id.decode(), action.decode(), subject.decode())
            link = row.link(link)
            if link != held:
                return Checked(rows, signed, f"entry {number} is not what its link says")
            rows = number
            if said.get(number, {link}) != {link}:
                return Checked(rows, signed, f"entry {number} is not the one that was signed")
            signed = number if number in said else signed
    except READ_ERRORS as error:
        why = damage(error)
        if why is None:
            raise
        return Checked(rows, signed, why)
    if rows < (upto := max(said)):
        return Checked(rows, signed, f"entries {rows + 1} to {upto} are missing, which were signed")
    return Checked(rows, signed)


def _digests(connection: sqlite3.Connection) -> dict[int, set[bytes]]:
    """The links that digests give for the rows they count to."""
    said: dict[int, set[bytes]] = {0: {_GENESIS}}
    for (body,) in connection.execute("SELECT body FROM ledger WHERE kind = ?", (KIND,)):
        fields = orjson.loads(body)
        said.setdefault(fields["entries"], set()).add(bytes.fromhex(fields["link"]))
    return said


def _last(connection: sqlite3.Connection) -> tuple[int, bytes]:
    found = connection.execute("SELECT number, link FROM access_log ORDER BY number DESC LIMIT 1").fetchone()
    return (int(found[0]), bytes(found[1])) if found else (0, _GENESIS)
