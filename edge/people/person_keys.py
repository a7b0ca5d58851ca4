"""One key a person, in keys.db: destroying its row there, in the log and in every copy forgets them everywhere."""

import json
import secrets
from pathlib import Path

import sqlite_utils
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlite_utils.migrations import Migrations

from edge import EdgeError
from edge.keys.key_copies import KeyCopies
from sync.storage.database import Format, Patience, immediate, named, open_checked

KEYS_FORMAT = Format("person key database", 1)
PERSON_KEYS = Migrations("person_keys")
_NONCE_BYTES = 12  # NIST SP 800-38D 8.2


@PERSON_KEYS()
def person_keys(db: sqlite_utils.Database) -> None:
    """One AES-256 key a person."""
    db.table("person_keys").create({"person_id": str, "key": bytes}, pk="person_id", not_null={"key"})


class VaultError(EdgeError):
    """A person, key or ciphertext that is not there or does not open; the text names which."""


class PersonKeys:
    """The keys of one HOME, opened by one thread; the copies of them that lie elsewhere are reached from here."""

    def __init__(self, database: Path, path: Path, patience: Patience) -> None:
        """database: firstvisit.db, which knows where copies lie. path: keys.db. Raises DatabaseError or NewerFormat.

        patience: whether to wait on while somebody else holds the write lock of keys.db.
        """
        self.path = path
        self._patience = patience
        self._copies = KeyCopies(database, path, patience)
        self.connection = open_checked(path, KEYS_FORMAT)

    def close(self) -> None:
        self.connection.close()

    def create(self, person_id: str) -> None:
        """Make a person's key, durably."""
        with named(self.path), immediate(self.connection, self._patience):
            self.connection.execute("INSERT INTO person_keys VALUES (?, ?)", (person_id, secrets.token_bytes(32)))

    def of(self, person_id: str) -> bytes | None:
        """A person's key, 32 bytes, None where there is none (any more)."""
        with named(self.path):
            found = self.connection.execute("SELECT key FROM person_keys WHERE person_id = ?", (person_id,)).fetchone()
        return found[0] if found else None

    def of_all(self, person_ids: set[str]) -> dict[str, bytes]:
        """The keys there are of these people."""
        with named(self.path):
            found = self.connection.execute(
                "SELECT person_id, key FROM person_keys WHERE person_id IN (SELECT value FROM json_each(?))",
                (json.dumps(sorted(person_ids)),),
            )
            return dict(found.fetchall())

    def owners(self) -> set[str]:
        """Everybody who has a key."""
        with named(self.path):
            return {row[0] for row in self.connection.execute("SELECT person_id FROM person_keys")}

    def pepper(self) -> bytes:
        """The key of the phones' HMACs, 32 bytes."""
        with named(self.path):
            ((pepper,),) = self.connection.execute("SELECT pepper FROM phone_pepper").fetchall()
        return bytes(pepper)

    def restore(self, keys: dict[str, bytes]) -> None:
        """Take in keys out of a copy."""
        with named(self.path), immediate(self.connection, self._patience):
            self.connection.executemany("INSERT INTO person_keys VALUES (?, ?)", keys.items())

    def destroy(self, person_ids: list[str]) -> None:
        """Delete keys, having noted for every copy that they are to go there; raises VaultError where one is left."""
        self._copies.fall_behind(person_ids)
        with named(self.path), immediate(self.connection, self._patience):
            self.connection.executemany("DELETE FROM person_keys WHERE person_id = ?", [(i,) for i in person_ids])
        if left := [person_id for person_id in person_ids if self.of(person_id) is not None]:
            raise VaultError(f"{self.path}: the key of person {left[0]} is still there")

    def reach_copies(self) -> list[str]:
        """Destroy in every copy what was destroyed here; returns the folders that are still behind."""
        return self._copies.reach()

    def scrub(self) -> bool:
        """Empty the write-ahead log into the database; returns whether it is empty."""
        with named(self.path):
            (busy, _, _) = self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy


def seal_under(key: bytes, plain: bytes, purpose: str) -> bytes:
    """Encrypt with AES-GCM, bound to what it is for: nonce, ciphertext and tag."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, purpose.encode())


def open_under(key: bytes, sealed: bytes, purpose: str) -> bytes:
    """Decrypt what `seal_under` gave; raises VaultError."""
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], purpose.encode())
    except (InvalidTag, ValueError) as error:  # ValueError: shorter than a nonce
        raise VaultError(f"{purpose}: does not open under its person's key") from error
