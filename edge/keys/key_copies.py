"""Copies of the person keys outside HOME, one small file a person, so that an erasure can reach each of them.

A copy is a folder: `firstvisit-keys.json` says whose it is and to whom it is encrypted, `people/ID.age` holds one key.
Where a copy is out of reach (a disk in a drawer), an erasure stays *pending* until it has been there.
"""

import fcntl
import json
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlite_utils
from sqlite_utils.migrations import Migrations

from edge.keys.sealed import IDENTITY, Lock, SealError, Secret
from sync import SyncError
from sync.format.records import valid_name
from sync.storage.database import LEDGER_FORMAT, Patience, connect, give_up, immediate, named, open_checked
from sync.storage.files import read_text, sync_folder, write_durably

MIGRATIONS = Migrations("key_copies")
INDEX, PEOPLE = "firstvisit-keys.json", "people"
FORMAT, VERSION = "firstvisit-person-keys", 1
_SUFFIX = ".age"


@MIGRATIONS()
def key_copies(db: sqlite_utils.Database) -> None:
    """Where copies of person keys lie, and whose keys have been destroyed here that may lie there still."""
    db.table("key_copies").create(
        {"copy_id": str, "path": str, "written_us": int}, pk="copy_id", not_null={"path", "written_us"}
    )
    db.table("key_copies_behind").create({"copy_id": str, "person_id": str}, pk=("copy_id", "person_id"))


@dataclass(frozen=True, slots=True)
class _Index:
    copy_id: str
    node_id: str
    recipient: str


class KeyCopies:
    """The registered copies of one HOME's person keys. It holds no connection, so any thread may ask it."""

    def __init__(self, database: Path, keys_database: Path, patience: Patience = give_up) -> None:
        """patience: whether to wait on while somebody else holds the write lock."""
        self._database = database
        self._keys_database = keys_database
        self._patience = patience

    def write(self, folder: Path, node_id: str, lock: Lock, now_us: int) -> int:
        """Bring a copy up to the keys there are now, registered before the first of them is there.

        A new folder is made for `lock`; one that exists keeps its own. Returns how many keys it holds. Raises SealError
        where the folder is something else, another node's or for another recipient, or cannot be written.
        """
        try:
            index = read_index(folder) or self._begin(folder, node_id, lock)
            if index.node_id != node_id:
                raise SealError(f"{folder}: holds the keys of node {index.node_id}, not of {node_id}")
            if not lock.wrapped and lock.recipient != index.recipient:
                raise SealError(f"{folder}: encrypted to {index.recipient}, not to {lock.recipient}")
            self._register(index, folder, now_us)
            with _held(folder):  # an erasure that comes meanwhile waits, and is pending
                sealed, written = Lock(index.recipient), []
                for person_id, key in self._keys().items():
                    place = folder / PEOPLE / f"{person_id}{_SUFFIX}"
                    if valid_name(person_id) and not place.exists():
                        _write(place, sealed.encrypt(json.dumps({"person": person_id, "key": key.hex()}).encode()))
                        written.append(person_id)
                held = self._keys().keys()
                _destroy_all(folder, [person_id for person_id in written if person_id not in held])
        except OSError as error:
            raise SealError(f"{error.filename or folder}: {error.strerror}") from error
        self.reach()
        return len(list((folder / PEOPLE).glob(f"*{_SUFFIX}")))

    def adopt(self, folder: Path, now_us: int) -> None:
        """Register a copy that keys were restored from, so that an erasure here reaches it; raises SealError."""
        index = read_index(folder)
        if index is None:
            raise SealError(f"{folder}: no copy of person keys there")
        self._register(index, folder, now_us)

    def fall_behind(self, person_ids: list[str]) -> None:
        """These people's keys are about to be destroyed here: note it for every copy, until that has been reached."""
        with self._open() as connection:
            if self._rows(connection, "SELECT 1 FROM key_copies LIMIT 1"):
                with immediate(connection, self._patience):
                    connection.executemany(
                        "INSERT OR IGNORE INTO key_copies_behind SELECT copy_id, ? FROM key_copies",
                        [(person_id,) for person_id in person_ids],
                    )

    def behind(self) -> dict[str, int]:
        """The copies that have not been reached since people were erased here, and of how many."""
        with self._open() as connection:
            query = "SELECT path, count(*) FROM key_copies JOIN key_copies_behind USING (copy_id) GROUP BY path"
            return {path: int(count) for path, count in self._rows(connection, query)}

    def reach(self) -> list[str]:
        """Destroy in every copy what was destroyed here since; returns the folders that are still behind.

        Only people named are destroyed there: a keys.db that is lost or restored must not empty its copies.
        """
        with self._open() as connection:
            behind: dict[tuple[str, str], list[str]] = {}
            for copy_id, path, person_id in self._rows(
                connection, "SELECT copy_id, path, person_id FROM key_copies JOIN key_copies_behind USING (copy_id)"
            ):
                behind.setdefault((copy_id, path), []).append(person_id)
            left = []
            for (copy_id, path), person_ids in behind.items():
                if not _destroyed_there(Path(path), copy_id, person_ids):
                    left.append(path)
                    continue
                with immediate(connection, self._patience):
                    connection.executemany(
                        "DELETE FROM key_copies_behind WHERE copy_id = ? AND person_id = ?",
                        [(copy_id, person_id) for person_id in person_ids],
                    )
            return left

    def _register(self, index: "_Index", folder: Path, now_us: int) -> None:
        with self._open() as connection, immediate(connection, self._patience):
            connection.execute(
                "INSERT INTO key_copies VALUES (?, ?, ?) ON CONFLICT (copy_id) DO UPDATE"
                " SET path = excluded.path, written_us = excluded.written_us",
                (index.copy_id, str(folder.absolute()), now_us),
            )

    def _begin(self, folder: Path, node_id: str, lock: Lock) -> _Index:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if any(folder.iterdir()):
            raise SealError(f"{folder}: neither empty nor a copy of person keys")
        (folder / PEOPLE).mkdir(mode=0o700)
        index = _Index(secrets.token_hex(16), node_id, lock.recipient)
        if lock.wrapped:
            write_durably(folder / IDENTITY, lock.wrapped.decode(), 0o600)
        fields = {"format": FORMAT, "v": VERSION, "copy": index.copy_id, "node": node_id, "recipient": lock.recipient}
        write_durably(folder / INDEX, json.dumps(fields) + "\n", 0o600)
        return index

    def _keys(self) -> dict[str, bytes]:
        with named(self._keys_database), closing(connect(self._keys_database)) as connection:
            return dict(connection.execute("SELECT person_id, key FROM person_keys").fetchall())

    @staticmethod
    def _rows(connection: sqlite3.Connection, query: str) -> list[tuple[str, ...]]:
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'key_copies'").fetchone() is None:
            return []
        return connection.execute(query).fetchall()

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(open_checked(self._database, LEDGER_FORMAT)) as connection, named(self._database):
            yield connection


def read_index(folder: Path) -> _Index | None:
    """What a copy says of itself, None where there is none; raises SealError where it is damaged."""
    path = folder / INDEX
    if not path.is_file():
        return None
    try:
        fields = json.loads(read_text(path, "index of a key copy"))
        if fields["format"] != FORMAT or fields["v"] != VERSION:
            raise SealError(f"{path}: not a copy of person keys that this version reads")
        return _Index(str(fields["copy"]), str(fields["node"]), str(fields["recipient"]))
    except (ValueError, KeyError, TypeError) as error:
        raise SealError(f"{path}: damaged: {error}") from error


def read_keys(folder: Path, node_id: str, secret: Secret) -> dict[str, bytes]:
    """Every person key of a copy, 32 bytes by person; raises SealError where one is damaged or does not open."""
    index = read_index(folder)
    if index is None:
        raise SealError(f"{folder}: no copy of person keys there ({INDEX} is missing)")
    if index.node_id != node_id:
        raise SealError(f"{folder}: holds the keys of node {index.node_id}, not of {node_id}")
    wrapped = folder / IDENTITY
    keys = {}
    try:
        opener = secret.opener(wrapped.read_bytes() if wrapped.exists() else b"", str(folder))
        for file in sorted((folder / PEOPLE).glob(f"*{_SUFFIX}")):
            fields = json.loads(opener.decrypt(file.read_bytes(), str(file)))
            key = bytes.fromhex(fields["key"])
            if fields["person"] != file.name.removesuffix(_SUFFIX) or len(key) != 32:
                raise SealError(f"{file}: not this person's key")
            keys[str(fields["person"])] = key
    except OSError as error:
        raise SealError(f"{error.filename or folder}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise SealError(f"{folder}: a key is damaged: {error}") from error
    return keys


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Nobody writes keys into a copy while another takes some out; raises OSError where somebody does."""
    handle = os.open(folder / INDEX, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _write(place: Path, data: bytes) -> None:
    part = place.with_name(f".{place.name}.part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.rename(place)


def _destroyed_there(folder: Path, copy_id: str, person_ids: list[str]) -> bool:
    """Whether these people's keys are gone from the copy, which may be away, or another, or being written."""
    try:
        index = read_index(folder)
        if index is None or index.copy_id != copy_id:
            return False
        with _held(folder):
            _destroy_all(folder, person_ids)
    except (OSError, SyncError, SealError):
        return False
    return True


def _destroy_all(folder: Path, person_ids: list[str]) -> None:
    for person_id in person_ids:
        file = folder / PEOPLE / f"{person_id}{_SUFFIX}"
        if valid_name(person_id) and file.exists():
            _destroy(file)
    sync_folder(folder / PEOPLE)


def _destroy(file: Path) -> None:
    """Overwrite and unlink; what a disk keeps of it beyond that is still only ciphertext."""
    with file.open("r+b") as opened:
        opened.write(bytes(file.stat().st_size))
        opened.flush()
        os.fsync(opened.fileno())
    file.unlink()
