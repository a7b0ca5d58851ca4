"""Notes from the desk to the auditor, about somebody who leans on them: sealed here, and a commitment in the chain.

The record that carries the commitment is an `access.digest` like any other: it names neither the visit nor who wrote.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import orjson
import sqlite_utils
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlite_utils.migrations import Migrations

from edge import EdgeError
from edge.access_log import KIND, standing
from edge.minted import SALT_BYTES, new_salt
from sync.format.signing import commitment
from sync.node.ledger import Ledger

MIGRATIONS = Migrations("notes")
MOST_CHARS = 500
_NONCE_BYTES = 12  # NIST SP 800-38D 8.2


@MIGRATIONS()
def notes(db: sqlite_utils.Database) -> None:
    """note_id: the form's own id. sealed: salt and note. epoch, seq: of the record that commits to it."""
    db.table("notes").create(
        {"note_id": str, "made_us": int, "epoch": int, "seq": int, "sealed": bytes},
        pk="note_id",
        not_null={"made_us", "epoch", "seq", "sealed"},
    )


@dataclass(frozen=True, slots=True)
class Note:
    """A note as the auditor reads it; text: empty where one tap was all. holds: the chain commits to just this."""

    visit_id: str
    account_id: str
    made_us: int
    text: str
    at: tuple[int, int]
    holds: bool


class Notes:
    """Takes notes under the desk key, and opens them; secret: 32 bytes (desk_secrets.py), of this HOME alone."""

    def __init__(self, open_ledger: Callable[[], Ledger], secret: bytes) -> None:
        """open_ledger: opens it under the desk key."""
        self._open_ledger = open_ledger
        self._secret = AESGCM(secret)

    def leave(self, visit_id: str, account_id: str, text: str, request: str, now_us: int) -> None:
        """Seal a note and commit to it in the chain; the same form again changes nothing.

        Raises EdgeError for a text that is too long, KeyNotInForce; nothing is kept or recorded then.
        """
        if len(text) > MOST_CHARS:
            raise EdgeError(f"note: {len(text)} characters, at most {MOST_CHARS} are kept")
        salt = new_salt()
        said = {"visit": visit_id, "account": account_id, "made_us": now_us, "text": text}
        value = orjson.dumps(said, option=orjson.OPT_SORT_KEYS)
        with closing(self._open_ledger()) as ledger, ledger.transaction() as transaction:
            connection = transaction.connection
            if connection.execute("SELECT 1 FROM notes WHERE note_id = ?", (request,)).fetchone():
                return
            digest = {**standing(connection), "notes": [commitment(salt, value).hex()]}
            record = transaction.append(KIND, digest)
            nonce = secrets.token_bytes(_NONCE_BYTES)
            sealed = nonce + self._secret.encrypt(nonce, salt + value, request.encode())
            connection.execute(
                "INSERT INTO notes VALUES (?, ?, ?, ?, ?)", (request, now_us, record.epoch, record.seq, sealed)
            )

    def kept(self, ledger: Ledger, request: str) -> bool:
        """Whether the note of this form is here."""
        return bool(ledger.connection.execute("SELECT 1 FROM notes WHERE note_id = ?", (request,)).fetchone())

    def all(self, ledger: Ledger) -> Iterator[Note]:
        """Every note that opens here, the newest first; those of another HOME's secret do not."""
        found = ledger.connection.execute(
            "SELECT note_id, epoch, seq, sealed FROM notes ORDER BY made_us DESC, note_id"
        ).fetchall()
        for note_id, epoch, seq, sealed in found:
            opened = self._opened(note_id, sealed)
            if opened is not None:
                salt, value, said = opened
                record = ledger.record(epoch, seq)
                committed = record.fields.get("notes", ()) if record is not None else ()
                holds = commitment(salt, value).hex() in committed
                yield Note(said["visit"], said["account"], said["made_us"], said["text"], (epoch, seq), holds)

    def drop(self, before_us: int) -> None:
        """Forget notes made before a moment; the chain keeps that there were some."""
        with closing(self._open_ledger()) as ledger, ledger.transaction() as transaction:
            transaction.connection.execute("DELETE FROM notes WHERE made_us < ?", (before_us,))

    def _opened(self, note_id: str, sealed: bytes) -> tuple[bytes, bytes, dict[str, Any]] | None:
        try:
            plain = self._secret.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], note_id.encode())
        except InvalidTag:
            return None
        return plain[:SALT_BYTES], plain[SALT_BYTES:], orjson.loads(plain[SALT_BYTES:])
