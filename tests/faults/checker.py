"""The set checker, in the manner of Jepsen's: attempted, shown, acknowledged, present.

It shares no code with what it checks but the verifier it runs at the end: rows are read with plain SQL, hashes computed
with hashlib, signatures checked with PyNaCl.
"""

import hashlib
import json
import sqlite3
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from sync.verify.verify import verify
from tests.faults.journal import Account, Place
from tests.faults.site import NodeUnderTest, Site, reading

_HASH = b"firstvisit/v1/record-hash\0"
_SIGNATURE = b"firstvisit/v1/record-sig\0"
NAMED = 3  # how many of a kind are named


@dataclass(frozen=True, slots=True)
class Held:
    """A record as an end holds it; hash: as stored, hex."""

    body: bytes
    hash: str
    signature: bytes


@dataclass(slots=True)
class Tally:
    """What a check counted, and what is wrong."""

    attempted: int = 0
    shown: int = 0
    acked: int = 0
    node: int = 0
    central: int = 0
    problems: list[str] = field(default_factory=list)

    def figures(self) -> str:
        return f"{self.shown} shown, {self.acked} acked, {self.central} at central"


def check(site: Site, node: NodeUnderTest | None = None) -> Tally:
    """Hold a drained node and central against the node's journal, and both ends against each other."""
    node = node or site.node
    account, ours = node.account, node_rows(node.home.database)
    theirs = central_rows(site.central / "central.db", node.node_id)
    tally = check_node(account, ours)
    tally.central = len(theirs)
    tally.problems += _missing("shown and not at central", account.shown, theirs)
    tally.problems += _missing("acknowledged and not at central", account.acked, theirs)
    invented = [place for place in ours if place > node.baseline and (place, ours[place].hash) not in account.attempted]
    tally.problems += _named("in the ledger, but nobody attempted it", invented)
    tally.problems += _gaps("the node's chain", list(ours)) + _gaps("central's copy", list(theirs))
    if list(ours) != list(theirs):
        tally.problems.append(f"the node holds {len(ours)} records, central {len(theirs)}")
    different = [place for place in ours.keys() & theirs.keys() if ours[place] != theirs[place]]
    tally.problems += _named("other bytes at central than at the node", different)
    if ours and theirs and ours[max(ours)].hash != theirs[max(theirs)].hash:
        tally.problems.append("the heads differ")
    tally.problems += _signatures(node, ours)
    for path, key in ((node.home.path, node.home.node_pub), (site.central, site.central / "central.pub")):
        verdict = verify(path, key)
        if not verdict.ok:
            tally.problems.append(f"verify of {path.name}: {verdict.why}")
    return tally


def check_node(account: Account, ours: dict[Place, Held]) -> Tally:
    """The half that needs no central: what was shown was attempted and is in the ledger."""
    tally = Tally(len(account.attempted), len(account.shown), account.acked_upto[1], len(ours))
    tally.problems += _named("shown, but never attempted", [at for at, _ in account.shown.keys() - account.attempted])
    tally.problems += _missing("shown and not in the ledger", account.shown, ours)
    tally.problems += _missing("acknowledged and not in the ledger", account.acked, ours)
    return tally


def check_acked(account: Account, theirs: dict[Place, Held]) -> list[str]:
    """At any moment: what the node was told is held is at central, the very record."""
    return _missing("acknowledged and not at central", account.acked, theirs)


def node_rows(database: Path) -> dict[Place, Held]:
    with reading(database) as connection:
        return _rows(connection, "SELECT epoch, seq, body, hash, signature FROM ledger ORDER BY epoch, seq")


def central_rows(database: Path, node_id: str) -> dict[Place, Held]:
    with reading(database) as connection:
        query = "SELECT epoch, seq, body, hash, signature FROM records WHERE node_id = ? ORDER BY epoch, seq"
        return _rows(connection, query, node_id)


def central_alarms(database: Path) -> dict[tuple[str, str], int]:
    """How often central refused what, by (node, reason)."""
    with reading(database) as connection:
        rows = connection.execute("SELECT node_id, reason, count FROM refusals").fetchall()
    return {(node_id, reason): count for node_id, reason, count in rows}


def _rows(connection: sqlite3.Connection, query: str, *values: str) -> dict[Place, Held]:
    return {
        (epoch, seq): Held(body, digest.hex(), signature)
        for epoch, seq, body, digest, signature in connection.execute(query, values)
    }


def _missing(what: str, wanted: dict[tuple[Place, str], int], held: dict[Place, Held]) -> list[str]:
    return _named(what, [at for at, digest in wanted if at not in held or held[at].hash != digest])


def _named(what: str, places: list[Place]) -> list[str]:
    if not places:
        return []
    first = ", ".join(f"{epoch}:{seq}" for epoch, seq in sorted(places)[:NAMED])
    return [f"{len(places)} {what}: {first}{', …' if len(places) > NAMED else ''}"]


def _gaps(what: str, places: list[Place]) -> list[str]:
    problems = []
    for epoch, group in groupby(places, key=lambda place: place[0]):
        seqs = [seq for _, seq in group]
        if seqs != list(range(1, len(seqs) + 1)):
            problems.append(f"{what}: epoch {epoch} is not exactly 1..{len(seqs)}")
    return problems


def _signatures(node: NodeUnderTest, rows: dict[Place, Held]) -> list[str]:
    """Every hash and every Ed25519 signature, computed anew; keys of other kinds are left to the verifier."""
    body = json.loads(node.home.node_pub.read_text().split("\n")[0])
    keys = {_key_id(text): text for text in body["keys"].values()}
    problems = []
    for at, held in rows.items():
        fields = json.loads(held.body)
        if hashlib.sha256(_HASH + held.body).hexdigest() != held.hash:
            problems.append(f"{at[0]}:{at[1]}: its hash is not its body's")
        if fields["kind"] == "key.rotated" and "new" in fields:
            keys[_key_id(fields["new"])] = fields["new"]
        text = keys.get(fields["key"], "")
        if not text.startswith("ed25519:"):
            continue
        try:
            VerifyKey(bytes.fromhex(text.removeprefix("ed25519:"))).verify(_SIGNATURE + held.body, held.signature)
        except BadSignatureError:
            problems.append(f"{at[0]}:{at[1]}: its signature does not verify")
    return problems[:NAMED]


def _key_id(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
