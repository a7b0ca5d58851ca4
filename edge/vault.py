"""Faces at rest: templates and crops, each encrypted under its person's own key.

The ciphertexts lie in firstvisit.db beside the ledger, so that a person and the record that names them are written
together; the keys lie in keys.db, so that destroying one 32-byte row there erases the person from every copy of the
other.
"""

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import sqlite_utils
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray
from sqlite_utils.migrations import Migrations

from edge import EdgeError
from sync.ledger import Ledger, LedgerError, connect

_NONCE_BYTES = 12  # NIST SP 800-38D 8.2

_people = Migrations("people")
_person_keys = Migrations("person_keys")


@_people()
def people(db: sqlite_utils.Database) -> None:
    """People, their encrypted templates and crops, and since when each pack has a gallery."""
    db.table("people").create(
        {"person_id": str, "created_us": int, "expires_us": int, "searchable": int},
        pk="person_id",
        not_null={"created_us", "searchable"},
    )
    db.table("people").create_index(["expires_us"])
    db.table("templates").create(
        {"template_id": int, "person_id": str, "pack": str, "sealed": bytes},
        pk="template_id",
        foreign_keys=[("person_id", "people", "person_id")],
        not_null={"person_id", "pack", "sealed"},
    )
    db.table("templates").create_index(["person_id"])
    db.table("crops").create(
        {"visit_id": str, "person_id": str, "sealed": bytes},
        pk="visit_id",
        foreign_keys=[("person_id", "people", "person_id")],
        not_null={"person_id", "sealed"},
    )
    db.table("crops").create_index(["person_id"])
    db.table("galleries").create({"pack": str, "since_us": int}, pk="pack", not_null={"since_us"})
    db.table("gallery_revision").create({"id": int, "revision": int}, pk="id", not_null={"revision"})
    db.table("gallery_revision").insert({"id": 1, "revision": 0})


@_person_keys()
def person_keys(db: sqlite_utils.Database) -> None:
    """One AES-256 key a person."""
    db.table("person_keys").create({"person_id": str, "key": bytes}, pk="person_id", not_null={"key"})


class VaultError(EdgeError):
    """A person, key or ciphertext that is not there or does not open; the text names which."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody the node remembers; expires_us: when they are forgotten, None for never."""

    person_id: str
    created_us: int
    expires_us: int | None
    searchable: bool
    templates: int


@dataclass(frozen=True, slots=True)
class StoredTemplate:
    """A decrypted template; vector: (D,) float32, L2 norm 1."""

    template_id: int
    person_id: str
    vector: NDArray[np.float32]


def create_vault(database: Path, keys_database: Path) -> None:
    """Make the tables, in firstvisit.db and in a new keys.db; raises VaultError."""
    for path, migrations in ((database, _people), (keys_database, _person_keys)):
        with _named(path), closing(connect(path)) as connection:
            migrations.apply(sqlite_utils.Database(connection))
    keys_database.chmod(0o660)


class Vault:
    """The people of one HOME, opened by one thread.

    Methods that take a `connection` write inside that connection's transaction: the ledger's.
    """

    def __init__(self, database: Path, keys_database: Path) -> None:
        """Open the two databases of a HOME; raises VaultError where one is missing, damaged or of a newer version."""
        if not keys_database.is_file():
            raise VaultError(f"{keys_database}: no person keys there")
        try:
            Ledger(database).close()  # it judges the file, whose version is the ledger's; connecting would make one
        except LedgerError as error:
            raise VaultError(str(error)) from error
        self._keys_path = keys_database
        with _named(keys_database):
            self._keys = connect(keys_database)
        self._database = connect(database)

    def close(self) -> None:
        self._database.close()
        self._keys.close()

    # -- reading -----------------------------------------------------------------------------------------------

    def revision(self) -> int:
        """A number that changes whenever anybody adds, settles or erases a person."""
        (value,) = self._database.execute("SELECT revision FROM gallery_revision").fetchone()
        return int(value)

    def people(self) -> list[Person]:
        """Everybody remembered, oldest first."""
        return [
            Person(person_id, created_us, expires_us, bool(searchable), templates)
            for person_id, created_us, expires_us, searchable, templates in self._database.execute(
                "SELECT person_id, created_us, expires_us, searchable,"
                " (SELECT count(*) FROM templates WHERE templates.person_id = people.person_id)"
                " FROM people ORDER BY created_us, person_id"
            )
        ]

    def remembers(self, person_id: str) -> bool:
        """Whether this person is in the database."""
        found = self._database.execute("SELECT 1 FROM people WHERE person_id = ?", (person_id,)).fetchone()
        return found is not None

    def templates(self, pack: str) -> Iterator[StoredTemplate]:
        """Every searchable person's templates of a pack, decrypted."""
        for template_id, person_id, sealed in self._database.execute(
            "SELECT template_id, person_id, sealed FROM templates JOIN people USING (person_id)"
            " WHERE pack = ? AND searchable = 1 ORDER BY template_id",
            (pack,),
        ).fetchall():
            key = self._key(person_id)
            if key is not None:  # erased between the two reads
                plain = _open(key, sealed, f"template:{person_id}:{pack}")
                yield StoredTemplate(template_id, person_id, np.frombuffer(plain, np.float32))

    def crop(self, visit_id: str) -> bytes | None:
        """The visit's face as JPEG, decrypted in memory, or None where there is none (any more)."""
        found = self._database.execute("SELECT person_id, sealed FROM crops WHERE visit_id = ?", (visit_id,)).fetchone()
        if found is None:
            return None
        key = self._key(found[0])
        return None if key is None else _open(key, found[1], f"crop:{visit_id}")

    def latest_crop(self, person_id: str) -> bytes | None:
        """The person's newest face as JPEG, decrypted in memory."""
        found = self._database.execute(
            "SELECT visit_id FROM crops WHERE person_id = ? ORDER BY rowid DESC LIMIT 1", (person_id,)
        ).fetchone()
        return self.crop(found[0]) if found else None

    def gallery_since_us(self, pack: str) -> int | None:
        """When the first person was remembered under this pack."""
        found = self._database.execute("SELECT since_us FROM galleries WHERE pack = ?", (pack,)).fetchone()
        return int(found[0]) if found else None

    def expired(self, now_us: int) -> list[str]:
        """Everybody whose time is up."""
        return [
            row[0] for row in self._database.execute("SELECT person_id FROM people WHERE expires_us <= ?", (now_us,))
        ]

    # -- writing -----------------------------------------------------------------------------------------------

    def create_key(self, person_id: str) -> None:
        """Make a person's key, durably, before anything is encrypted under it.

        A crash before the person is written leaves a key that opens nothing; `sweep_keys` removes it.
        """
        with _named(self._keys_path):
            self._keys.execute("INSERT INTO person_keys VALUES (?, ?)", (person_id, secrets.token_bytes(32)))

    def add_person(
        self,
        connection: sqlite3.Connection,
        person_id: str,
        pack: str,
        vector: NDArray[np.float32],
        created: datetime,
        expires: datetime,
        searchable: bool,
    ) -> int:
        """Remember a person by one template, in the ledger's transaction; returns the template's id."""
        key = self._key(person_id)
        if key is None:
            raise VaultError(f"person {person_id}: no key")
        created_us = _us(created)
        connection.execute(
            "INSERT INTO people VALUES (?, ?, ?, ?)", (person_id, created_us, _us(expires), int(searchable))
        )
        connection.execute("INSERT OR IGNORE INTO galleries VALUES (?, ?)", (pack, created_us))
        cursor = connection.execute(
            "INSERT INTO templates (person_id, pack, sealed) VALUES (?, ?, ?)",
            (person_id, pack, _seal(key, vector.astype(np.float32).tobytes(), f"template:{person_id}:{pack}")),
        )
        _revise(connection)
        return int(cursor.lastrowid or 0)

    def add_crop(self, connection: sqlite3.Connection, visit_id: str, person_id: str, jpeg: bytes) -> None:
        """Keep a visit's face under its person's key; a person erased meanwhile keeps none."""
        key = self._key(person_id)
        if key is not None:
            sealed = _seal(key, jpeg, f"crop:{visit_id}")
            connection.execute("INSERT OR REPLACE INTO crops VALUES (?, ?, ?)", (visit_id, person_id, sealed))

    def extend(self, connection: sqlite3.Connection, person_id: str, expires: datetime) -> None:
        """Remember a returning person until `expires` at least."""
        connection.execute(
            "UPDATE people SET expires_us = max(expires_us, ?) WHERE person_id = ?", (_us(expires), person_id)
        )

    def make_searchable(self, connection: sqlite3.Connection, person_id: str) -> None:
        """The desk has answered that a provisional person is somebody new."""
        connection.execute("UPDATE people SET searchable = 1 WHERE person_id = ?", (person_id,))
        _revise(connection)

    def absorb(self, connection: sqlite3.Connection, provisional_id: str, person_id: str) -> None:
        """The desk has answered that a provisional person is `person_id`: reseal what is theirs under that key.

        Raises VaultError where either is no longer remembered.
        """
        old, new = self._key(provisional_id), self._key(person_id)
        if old is None or new is None:
            raise VaultError(f"person {provisional_id if old is None else person_id} is no longer remembered")
        for template_id, pack, sealed in connection.execute(
            "SELECT template_id, pack, sealed FROM templates WHERE person_id = ?", (provisional_id,)
        ).fetchall():
            plain = _open(old, sealed, f"template:{provisional_id}:{pack}")
            connection.execute(
                "UPDATE templates SET person_id = ?, sealed = ? WHERE template_id = ?",
                (person_id, _seal(new, plain, f"template:{person_id}:{pack}"), template_id),
            )
        for visit_id, sealed in connection.execute(
            "SELECT visit_id, sealed FROM crops WHERE person_id = ?", (provisional_id,)
        ).fetchall():
            plain = _open(old, sealed, f"crop:{visit_id}")
            connection.execute(
                "UPDATE crops SET person_id = ?, sealed = ? WHERE visit_id = ?",
                (person_id, _seal(new, plain, f"crop:{visit_id}"), visit_id),
            )
        connection.execute("DELETE FROM people WHERE person_id = ?", (provisional_id,))
        _revise(connection)

    def forget(self, connection: sqlite3.Connection, person_id: str) -> None:
        """Drop what the database holds of a person, in the ledger's transaction; `destroy_key` comes first."""
        for table in ("templates", "crops", "people"):
            connection.execute(f"DELETE FROM {table} WHERE person_id = ?", (person_id,))
        _revise(connection)

    def destroy_keys(self, person_ids: list[str]) -> bool:
        """Destroy people's keys, in keys.db and its WAL; returns whether the WAL too is clean.

        False means that a long reader holds the WAL; call again.
        """
        with _named(self._keys_path), self._keys:
            self._keys.execute("BEGIN IMMEDIATE")
            self._keys.executemany("DELETE FROM person_keys WHERE person_id = ?", [(i,) for i in person_ids])
        return self.scrub()

    def scrub(self) -> bool:
        """Empty both write-ahead logs into their databases; returns whether keys.db's is empty."""
        self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (busy, _, _) = self._keys.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy

    def sweep_keys(self) -> int:
        """Destroy keys that belong to nobody; returns how many."""
        known = {row[0] for row in self._database.execute("SELECT person_id FROM people")}
        orphans = [row[0] for row in self._keys.execute("SELECT person_id FROM person_keys") if row[0] not in known]
        if orphans:
            self.destroy_keys(orphans)
        return len(orphans)

    def _key(self, person_id: str) -> bytes | None:
        found = self._keys.execute("SELECT key FROM person_keys WHERE person_id = ?", (person_id,)).fetchone()
        return found[0] if found else None


@contextmanager
def opened(database: Path, keys_database: Path) -> Iterator[Vault]:
    """A vault for the length of a block."""
    vault = Vault(database, keys_database)
    try:
        yield vault
    finally:
        vault.close()


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Raise what SQLite raises as VaultError, naming the file."""
    try:
        yield
    except sqlite3.Error as error:
        raise VaultError(f"{path}: {error}") from error


def _seal(key: bytes, plain: bytes, purpose: str) -> bytes:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, purpose.encode())


def _open(key: bytes, sealed: bytes, purpose: str) -> bytes:
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], purpose.encode())
    except (InvalidTag, ValueError) as error:  # ValueError: shorter than a nonce
        raise VaultError(f"{purpose}: does not open under its person's key") from error


def _revise(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE gallery_revision SET revision = revision + 1")


def _us(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6)
