"""Whether the box still stands where its installer said: its surroundings against those attested, all of it hashed."""

import secrets
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import sqlite_utils
from sqlite_utils.migrations import Migrations

from edge.place.surroundings import Sight, Surroundings
from sync.format.canonical import Fields, encode
from sync.format.records import Record
from sync.format.signing import commitment
from sync.node.append import Transaction
from sync.node.ledger import Ledger
from sync.storage.database import LEDGER_FORMAT, named, open_checked

MIGRATIONS = Migrations("attestation")

PARTS = ("gateway", "cameras", "wifi")
# Station addresses are unique in the world: elsewhere none of those attested is there but what travels with the box, of
# ten neighbours on either side one, which is 1/19. Where the box stays, shops change their routers and a scan misses
# half: with two thirds of the neighbours new it is still 1/5. The line lies between the two.
WIFI_MOVED_BELOW = 0.1
WIFI_FOLLOWED_FROM = (
    0.5  # from here on the new set becomes the reference, so that years of small changes add up to none
)
WIFI_LEAST = 4  # with fewer, on either side, one router carried along would decide


@MIGRATIONS()
def attested_surroundings(db: sqlite_utils.Database) -> None:
    """One row of state, and the hashes of what belongs to the place; nothing readable."""
    db.table("attestation").create(
        {"one": int, "salt": bytes, "changed_us": int, "changed": str}, pk="one", not_null={"salt"}
    )
    db.table("attested").create({"part": str, "name": str, "hash": bytes}, pk=("part", "name", "hash"))


@dataclass(frozen=True, slots=True)
class Standing:
    """changed: what differs from what was attested, empty where the place holds. changed_us: since when.

    looked: whether anybody or anything has ever looked around here.
    """

    changed: tuple[str, ...] = ()
    changed_us: int | None = None
    looked: bool = True

    @property
    def holds(self) -> bool:
        return not self.changed


@dataclass(frozen=True, slots=True)
class _Hashed:
    """A sight, salted and hashed: by part, (name, hash); names are camera ids, empty elsewhere."""

    parts: dict[str, frozenset[tuple[str, bytes]]]

    @classmethod
    def of(cls, sight: Sight, salt: bytes) -> "_Hashed":
        def hashed(part: str, name: str, value: str) -> tuple[str, bytes]:
            return name, commitment(salt, f"{part} {name} {value}".encode())

        return cls(
            {
                "gateway": frozenset(hashed("gateway", "", one) for one in sight.gateway),
                "cameras": frozenset(hashed("cameras", name, one) for name, one in (sight.cameras or {}).items()),
                "wifi": frozenset(hashed("wifi", "", one) for one in sight.wifi),
            }
        )

    def fingerprint(self, salt: bytes) -> str:
        """64 hex over all of it: two are equal where all that was seen is."""
        listed = {part: sorted(f"{name}:{digest.hex()}" for name, digest in held) for part, held in self.parts.items()}
        return commitment(salt, encode(listed)).hex()


class Attestation:
    """The attested surroundings of one HOME; opened by nobody for long, so any thread may ask."""

    def __init__(self, database: Path, surroundings: Surroundings) -> None:
        """database: of a migrated HOME."""
        self._database = database
        self._surroundings = surroundings

    def check(self, ledger: Ledger) -> Standing:
        """Look around, and record it as `place.changed` where something is not as attested; once until attested again.

        A camera that is another device is a `camera.changed` too. What was never seen before is taken to belong to the
        place: a new box, or one whose network came later. What is not there now says nothing: a box without a network
        has not moved by that. ledger: opened by the node's writer. Raises DatabaseError or DiskFull.
        """
        standing = read_standing(self._database)
        if not standing.holds:
            return standing
        sight = self._surroundings.look()
        if not self._differs(ledger.connection, sight):
            return standing
        with ledger.transaction() as transaction:
            return _hold(transaction, sight)

    def attest(self, ledger: Ledger) -> tuple[Record, Sight]:
        """Let what is seen now be the place, because somebody has looked, and record it."""
        sight = self._surroundings.look()
        with ledger.transaction() as transaction:
            connection = transaction.connection
            salt = _salt(connection)
            before, now = _attested(connection), _Hashed.of(sight, salt)
            connection.execute("DELETE FROM attested")
            _add(connection, now, PARTS)
            connection.execute("UPDATE attestation SET changed_us = NULL, changed = NULL")
            fields: Fields = {"changed": [], "reason": "attested"}
            prints = {"fingerprint": now.fingerprint(salt), "before": before.fingerprint(salt)}
            return transaction.append("place.changed", {**fields, **prints}), sight

    def _differs(self, connection: sqlite3.Connection, sight: Sight) -> bool:
        """Whether anything would be written: whoever only looks takes no lock."""
        with named(self._database):
            found = connection.execute("SELECT salt FROM attestation").fetchone()
            if found is None:
                return True
            attested, now = _attested(connection), _Hashed.of(sight, found[0])
        return bool(_changed(attested, now) or _followed(attested, now))


def read_standing(database: Path) -> Standing:
    """What the last check of a HOME said; that of a HOME never checked is that nothing is known to have changed."""
    with closing(open_checked(database, LEDGER_FORMAT)) as connection, named(database):
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'attestation'").fetchone():
            return Standing(looked=False)
        found = connection.execute("SELECT changed, changed_us FROM attestation").fetchone()
    return Standing(tuple(found[0].split()), found[1]) if found and found[0] else Standing(looked=found is not None)


def unattested(place: Fields) -> Fields:
    """A configured place as records carry it while the surroundings are not those attested."""
    return {**place, "inside": "unknown", "attested": 0}


def _hold(transaction: Transaction, sight: Sight) -> Standing:
    """Judge again under the lock, and write what follows."""
    connection = transaction.connection
    salt = _salt(connection)
    attested, now = _attested(connection), _Hashed.of(sight, salt)
    changed = _changed(attested, now)
    if not changed:
        for part in _followed(attested, now):
            if part == "wifi":
                connection.execute("DELETE FROM attested WHERE part = 'wifi'")
            _add(connection, now, (part,))
        return Standing()
    prints = {"fingerprint": now.fingerprint(salt), "before": attested.fingerprint(salt)}
    record = transaction.append("place.changed", {"changed": list(changed), "reason": "surroundings", **prints})
    for camera_id in _changed_cameras(attested, now):
        fields: Fields = {"camera": camera_id, "state": "changed", "reason": "device", "at_us": record.stamp.wall_us}
        transaction.append("camera.changed", fields)
    connection.execute("UPDATE attestation SET changed_us = ?, changed = ?", (record.stamp.wall_us, " ".join(changed)))
    return Standing(changed, record.stamp.wall_us)


def _changed(attested: _Hashed, now: _Hashed) -> tuple[str, ...]:
    """Which parts are not as attested; gateway and cameras exactly, neighbours by overlap."""
    changed = []
    if attested.parts["gateway"] and now.parts["gateway"] - attested.parts["gateway"]:
        changed.append("gateway")
    if _changed_cameras(attested, now):
        changed.append("cameras")
    enough = min(len(attested.parts["wifi"]), len(now.parts["wifi"])) >= WIFI_LEAST
    if enough and _overlap(attested, now) < WIFI_MOVED_BELOW:
        changed.append("wifi")
    return tuple(changed)


def _changed_cameras(attested: _Hashed, now: _Hashed) -> list[str]:
    """The cameras in whose place another device answers now: another MAC, or another serial number."""
    held = dict(attested.parts["cameras"])
    return sorted(name for name, digest in now.parts["cameras"] if held.get(name, digest) != digest)


def _followed(attested: _Hashed, now: _Hashed) -> tuple[str, ...]:
    """Which parts of an unchanged place enter the reference: what was never seen, and neighbours that drift."""
    followed = []
    if now.parts["gateway"] and not attested.parts["gateway"]:
        followed.append("gateway")
    if {name for name, _ in now.parts["cameras"]} - {name for name, _ in attested.parts["cameras"]}:
        followed.append("cameras")
    others = len(now.parts["wifi"]) >= WIFI_LEAST and now.parts["wifi"] != attested.parts["wifi"]
    if others and (not attested.parts["wifi"] or _overlap(attested, now) >= WIFI_FOLLOWED_FROM):
        followed.append("wifi")
    return tuple(followed)


def _overlap(attested: _Hashed, now: _Hashed) -> float:
    """Jaccard's: how much of all neighbours is common to both."""
    one, other = attested.parts["wifi"], now.parts["wifi"]
    return len(one & other) / len(one | other)


def _salt(connection: sqlite3.Connection) -> bytes:
    connection.execute(
        "INSERT INTO attestation (one, salt) VALUES (1, ?) ON CONFLICT DO NOTHING", (secrets.token_bytes(32),)
    )
    (salt,) = connection.execute("SELECT salt FROM attestation").fetchone()
    return bytes(salt)


def _attested(connection: sqlite3.Connection) -> _Hashed:
    held: dict[str, set[tuple[str, bytes]]] = {part: set() for part in PARTS}
    for part, name, digest in connection.execute("SELECT part, name, hash FROM attested"):
        held[part].add((name, digest))
    return _Hashed({part: frozenset(found) for part, found in held.items()})


def _add(connection: sqlite3.Connection, now: _Hashed, parts: Iterable[str]) -> None:
    """Take parts into the reference; a camera that is in it stays as it was attested."""
    for part in parts:
        known = {name for name, _ in _attested(connection).parts[part]} if part == "cameras" else set()
        connection.executemany(
            "INSERT INTO attested (part, name, hash) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            [(part, name, digest) for name, digest in now.parts[part] if name not in known],
        )
