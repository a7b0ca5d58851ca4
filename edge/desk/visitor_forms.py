"""What visitors have sent from their own phones, until the desk binds it to an arrival or two hours have passed.

Each form is sealed under a key of its own in keys.db. A form that has run out, or is bound for good, loses both key and
content; its row stays for a day, so that the visitor's page can say what became of it.
"""

import hmac
import json
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import sqlite_utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlite_utils.migrations import Migrations

from edge import EdgeError
from edge.people.person_keys import KEYS_FORMAT
from edge.people.phones import Phone, parse_phone
from sync.format.canonical import Fields
from sync.storage.database import LEDGER_FORMAT, immediate, named, open_checked

FORMS = Migrations("visitor_forms")
FORM_KEYS = Migrations("visitor_form_keys")
Purpose: TypeAlias = Literal["view", "again", "sign", "other"]
Source: TypeAlias = Literal["passing", "agent", "friend", "online", "advert", "other"]
WAIT_US = 2 * 3600 * 1_000_000  # how long a form waits for the desk
BOUND_US = 600 * 1_000_000  # how long a bound form is kept: as long as its host may take the binding back (undo.py)
_SHOWN_US = 24 * 3600 * 1_000_000  # how long the visitor's page can say what became of it
MOST_WAITING = 500  # a bus of forty is far from it; a flood is not to fill the disk or the desk's page
_SENDER = b"firstvisit/v1/visitor-sender\0"
_SENDER_BYTES = 8
_WAITING = "sealed IS NOT NULL AND visit_id IS NULL AND received_us > ?"
_NONCE_BYTES = 12  # NIST SP 800-38D 8.2


@FORMS()
def visitor_forms(db: sqlite_utils.Database) -> None:
    """sealed: NULL once the form is bound or has run out; visit_id: to which it was bound."""
    db.table("visitor_forms").create(
        {"form_id": str, "received_us": int, "sealed": bytes, "visit_id": str},
        pk="form_id",
        not_null={"received_us"},
    )
    db.table("visitor_forms").create_index(["received_us"])


@FORM_KEYS()
def visitor_form_keys(db: sqlite_utils.Database) -> None:
    """One AES-256 key a waiting form."""
    db.table("visitor_form_keys").create({"form_id": str, "key": bytes}, pk="form_id", not_null={"key"})


@FORMS()
def senders(db: sqlite_utils.Database) -> None:
    """sender: under a secret of this HOME, which address sent a form; NULL once it waits no more."""
    db.table("visitor_forms").add_column("sender", bytes)


@FORMS()
def bound_forms(db: sqlite_utils.Database) -> None:
    """bound_us: since when a form is an arrival's."""
    db.table("visitor_forms").add_column("bound_us", int)


class NotWaiting(EdgeError):
    """A form that cannot be bound (any more): another tablet was quicker, or it has run out."""


@dataclass(frozen=True, slots=True)
class ClaimedPosition:
    """Where a visitor's browser says that it is, WGS-84. accuracy_m: as the browser has it."""

    lat: float
    lon: float
    accuracy_m: float


@dataclass(frozen=True, slots=True)
class SentForm:
    """What a visitor has sent. consent: the version of the text that they ticked, None without; language: its."""

    form_id: str
    received_us: int
    phone: Phone
    purpose: Purpose
    source: Source
    language: str
    consent: str | None
    position: ClaimedPosition | None

    def fields(self, claimed_place: Fields) -> Fields:
        """What a check-in records of it; nothing of the phone, which has its own commitment there."""
        return {
            "form": self.form_id,
            "form_us": self.received_us,
            "purpose": self.purpose,
            "heard_of": self.source,
            "claimed_place": claimed_place,
        }


@dataclass(frozen=True, slots=True)
class FormState:
    """What became of a form. waiting: the desk has it before it. visit_id: to which it was bound."""

    received_us: int
    waiting: bool
    visit_id: str | None


class VisitorForms:
    """The forms of one HOME; every call opens the databases for its own thread."""

    def __init__(self, database: Path, keys_database: Path) -> None:
        self._database = database
        self._keys_database = keys_database

    def keep(self, form: SentForm, sender: bytes = b"") -> None:
        """Keep a form, durably; the same one again changes nothing.

        sender: whom to count it for, as `sender_mark` has it. Where MOST_WAITING wait already, the oldest of the sender
        with most of them makes room: however many addresses flood the page, whoever sends but one is kept, and where
        everybody has sent one, the newest are.
        """
        body = {
            "phone": form.phone.e164,
            "purpose": form.purpose,
            "source": form.source,
            "language": form.language,
            "consent": form.consent,
            "position": None
            if form.position is None
            else [form.position.lat, form.position.lon, form.position.accuracy_m],
        }
        # the write lock is held while the key is made, so that a sweep takes no key whose form is on its way
        with self._opened() as (database, keys), immediate(database):
            if database.execute("SELECT 1 FROM visitor_forms WHERE form_id = ?", (form.form_id,)).fetchone():
                return
            _make_room(database, form.received_us)
            key, nonce = secrets.token_bytes(32), secrets.token_bytes(_NONCE_BYTES)
            with immediate(keys):
                keys.execute("INSERT OR REPLACE INTO visitor_form_keys VALUES (?, ?)", (form.form_id, key))
            sealed = nonce + AESGCM(key).encrypt(nonce, json.dumps(body).encode(), form.form_id.encode())
            database.execute(
                "INSERT INTO visitor_forms (form_id, received_us, sealed, sender) VALUES (?, ?, ?, ?)",
                (form.form_id, form.received_us, sealed, sender),
            )

    def waiting(self, now_us: int) -> list[SentForm]:
        """The forms that the desk may bind, newest first."""
        with self._opened() as (database, keys):
            rows = database.execute(
                f"SELECT form_id, received_us, sealed FROM visitor_forms WHERE {_WAITING}"
                " ORDER BY received_us DESC, form_id",
                (now_us - WAIT_US,),
            ).fetchall()
            held = dict(keys.execute("SELECT form_id, key FROM visitor_form_keys").fetchall())
        return [
            _opened_form(form_id, received_us, sealed, held[form_id])
            for form_id, received_us, sealed in rows
            if form_id in held
        ]

    def state(self, form_id: str, now_us: int) -> FormState | None:
        """What became of a form, None where none was sent (or a day has passed)."""
        with self._opened() as (database, _):
            row = database.execute(
                "SELECT received_us, sealed IS NOT NULL AND visit_id IS NULL, visit_id FROM visitor_forms"
                " WHERE form_id = ?",
                (form_id,),
            ).fetchone()
        if row is None:
            return None
        received_us, sealed, visit_id = row
        return FormState(received_us, bool(sealed) and received_us > now_us - WAIT_US, visit_id)

    def take_back(self, form_id: str) -> None:
        """Forget a form at its sender's wish, as far as it waits still; bound by then, it stays with its visit.

        Nothing forgotten costs nothing: strangers may ask as often as they like, and emptying the logs holds up every
        writer. What a reader has kept in them goes with the next `sweep`.
        """
        with self._opened() as (database, keys):
            with immediate(database):
                taken = database.execute(
                    "DELETE FROM visitor_forms WHERE form_id = ? AND sealed IS NOT NULL AND visit_id IS NULL",
                    (form_id,),
                )
                if taken.rowcount:
                    with immediate(keys):
                        keys.execute("DELETE FROM visitor_form_keys WHERE form_id = ?", (form_id,))
            if taken.rowcount:
                keys.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def sweep(self, now_us: int) -> None:
        """Forget what has run out, and destroy the keys of forms that wait no more."""
        with self._opened() as (database, keys):
            with immediate(database):
                database.execute(
                    "UPDATE visitor_forms SET sealed = NULL, sender = NULL WHERE received_us <= ? OR bound_us <= ?",
                    (now_us - WAIT_US, now_us - BOUND_US),
                )
                database.execute("DELETE FROM visitor_forms WHERE received_us <= ?", (now_us - _SHOWN_US,))
                kept = {row[0] for row in database.execute("SELECT form_id FROM visitor_forms WHERE sealed NOTNULL")}
                held = keys.execute("SELECT form_id FROM visitor_form_keys").fetchall()
                gone = [row for row in held if row[0] not in kept]
                if gone:
                    with immediate(keys):
                        keys.executemany("DELETE FROM visitor_form_keys WHERE form_id = ?", gone)
            # each time: while somebody reads keys.db, its log keeps the key, and nothing is `gone` the next time
            keys.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            if gone:
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextmanager
    def _opened(self) -> Iterator[tuple[sqlite3.Connection, sqlite3.Connection]]:
        with (
            named(self._keys_database),
            closing(open_checked(self._keys_database, KEYS_FORMAT)) as keys,
            named(self._database),
            closing(open_checked(self._database, LEDGER_FORMAT)) as database,
        ):
            yield database, keys


def sender_mark(secret: bytes, address: str) -> bytes:
    """What is kept of an address while its form waits: enough to tell two apart. secret: 32 bytes of keys.db."""
    return hmac.digest(secret, _SENDER + address.encode(), "sha256")[:_SENDER_BYTES]


def _make_room(database: sqlite3.Connection, now_us: int) -> None:
    """Let one form go where MOST_WAITING wait; its key goes with the next sweep."""
    (count,) = database.execute(f"SELECT count(*) FROM visitor_forms WHERE {_WAITING}", (now_us - WAIT_US,)).fetchone()
    if count < MOST_WAITING:
        return
    database.execute(
        "UPDATE visitor_forms SET sealed = NULL, sender = NULL WHERE form_id = (SELECT form_id FROM visitor_forms"
        f" JOIN (SELECT sender, count(*) AS share FROM visitor_forms WHERE {_WAITING} GROUP BY sender) USING (sender)"
        f" WHERE {_WAITING} ORDER BY share DESC, received_us, form_id LIMIT 1)",
        (now_us - WAIT_US, now_us - WAIT_US),
    )


def bind_form(connection: sqlite3.Connection, form_id: str, visit_id: str, now_us: int) -> None:
    """Mark a form as an arrival's, in the transaction that registers it; raises NotWaiting."""
    done = connection.execute(
        "UPDATE visitor_forms SET visit_id = ?, bound_us = ?, sender = NULL"
        " WHERE form_id = ? AND sealed IS NOT NULL AND visit_id IS NULL",
        (visit_id, now_us, form_id),
    )
    if done.rowcount != 1:
        raise NotWaiting(f"form {form_id}: does not wait any more")


def release_form(connection: sqlite3.Connection, visit_id: str) -> None:
    """Let a form that was bound to a visit wait again, in the transaction that undoes it; nothing where it is gone."""
    connection.execute(
        "UPDATE visitor_forms SET visit_id = NULL, bound_us = NULL, sender = ?"
        " WHERE visit_id = ? AND sealed IS NOT NULL",
        (b"", visit_id),
    )


def _opened_form(form_id: str, received_us: int, sealed: bytes, key: bytes) -> SentForm:
    body = json.loads(AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], form_id.encode()))
    position = body["position"]
    return SentForm(
        form_id,
        received_us,
        parse_phone(body["phone"]),
        body["purpose"],
        body["source"],
        body["language"],
        body["consent"],
        None if position is None else ClaimedPosition(*position),
    )
