"""Whether a HOME still lies on the machine it was last run on: a copied disk must not go on with the same chain.

Remembered are salted hashes of what every user may read and a reboot does not change: the installation's id, and the
permanent addresses of built-in network cards. A box whose system was installed anew is the same while a card is; a
cloned disk has the same id, and none of the cards.
"""

import hashlib
import secrets
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import sqlite_utils
from sqlite_utils.migrations import Migrations

MIGRATIONS = Migrations("machine")
ROOT = Path("/")
_Kind: TypeAlias = Literal["installation", "card"]
_PERMANENT = "0"  # linux/netdevice.h: NET_ADDR_PERM


@MIGRATIONS()
def traits(db: sqlite_utils.Database) -> None:
    """What the machine was known by at the last start."""
    db.table("machine").create({"kind": str, "salt": bytes, "hash": bytes}, not_null={"kind", "salt", "hash"})


@dataclass(frozen=True, slots=True)
class Trait:
    """One thing a machine is known by."""

    kind: _Kind
    value: str

    def hash(self, salt: bytes) -> bytes:
        return hashlib.sha256(salt + f"{self.kind}\0{self.value}".encode()).digest()


def read_traits(root: Path | None = None) -> list[Trait]:
    """What this machine is known by; empty where it says nothing of itself. root: of the file system, for trials."""
    return list(_read(root or ROOT))


def elsewhere(connection: sqlite3.Connection, here: list[Trait]) -> bool:
    """Whether HOME was last run on another machine; False where either says too little to tell."""
    stored: dict[str, list[tuple[bytes, bytes]]] = {}
    for kind, salt, digest in connection.execute("SELECT kind, salt, hash FROM machine"):
        stored.setdefault(kind, []).append((salt, digest))
    known = {kind: _overlap(rows, [one for one in here if one.kind == kind]) for kind, rows in stored.items()}
    if known.get("card") is not None:
        return not known["card"]
    return known.get("installation") is False


def remember(connection: sqlite3.Connection, here: list[Trait]) -> None:
    """Let this be the machine HOME was last run on, in a transaction of the caller's."""
    connection.execute("DELETE FROM machine")
    for trait in here:
        salt = secrets.token_bytes(16)
        connection.execute(
            "INSERT INTO machine (kind, salt, hash) VALUES (?, ?, ?)", (trait.kind, salt, trait.hash(salt))
        )


def _overlap(rows: list[tuple[bytes, bytes]], here: list[Trait]) -> bool | None:
    """Whether any trait remembered is still here; None where there is nothing here to compare."""
    if not here:
        return None
    return any(trait.hash(salt) == digest for salt, digest in rows for trait in here)


def _read(root: Path) -> Iterator[Trait]:
    if installation := _text(root / "etc/machine-id"):
        yield Trait("installation", installation)
    for interface in sorted((root / "sys/class/net").glob("*")):
        built_in = (interface / "device").exists() and "/usb" not in str(interface.resolve())
        if built_in and _text(interface / "addr_assign_type") == _PERMANENT and (card := _text(interface / "address")):
            yield Trait("card", card)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""  # no such thing on this machine, or nobody may read it
