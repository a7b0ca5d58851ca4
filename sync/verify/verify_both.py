"""A HOME and its central held against each other: what the one keeps of the other's history must still be there."""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sync import SyncError
from sync.audit.chain_audit import Bad
from sync.audit.log_audit import read_note, root_at
from sync.audit.origin import follow_notices, key_text, read_ack
from sync.audit.postgres_copy import central_database
from sync.format import canonical
from sync.format.keyring import Place
from sync.format.log_proof import LogHead
from sync.format.public_keys import CentralKeys
from sync.format.records import place
from sync.format.void import Void, hold
from sync.node.trust import standing_notices
from sync.storage.readonly import read_snapshot
from sync.storage.settings import store_url
from sync.verify.verdict import Verdict
from sync.verify.verify import verify


@dataclass(frozen=True, slots=True)
class _Kept:
    """What a HOME keeps of central, and its own records by place: hash, 32 bytes."""

    heads: list[tuple[Place, LogHead]]
    records: dict[Place, bytes]
    acked: Place


def verify_both(home: Path, central: Path, public_key: Path | None = None) -> Verdict:
    """Verify a HOME and the central it has joined, each for itself, and then each by the other's evidence.

    Every checkpoint that the HOME keeps must be a root of central's tree, and every record that both have the same;
    what central acknowledged it must hold, and what it holds of this node the HOME must not have lost from its end.
    Raises SyncError where one of the two is not what it should be.
    """
    if not (home / "firstvisit.db").is_file():
        raise SyncError(f"{home}: not a HOME (firstvisit.db), which alone can be held against a central")
    if store_url(central) is None and not (central / "central.db").is_file():
        raise SyncError(f"{central}: not a central store (central.db)")
    mine, theirs = verify(home, public_key), verify(central)
    lines = (*mine.lines, *theirs.lines)
    for verdict in (mine, theirs):
        if not verdict.ok:
            return replace(verdict, what="both", lines=lines)
    try:
        agreed = _compare(home, central, mine.void)
    except Bad as bad:
        return Verdict(False, "both", (*lines, f"bad: {bad}"), bad.at[1] if bad.at else None, bad.why, mine.checked)
    return Verdict(True, "both", (*lines, *agreed), None, None, mine.checked, void=mine.void)


def _compare(home: Path, central: Path, void: Sequence[Void]) -> tuple[str, ...]:
    pinned, found = (key_text(folder / "central.pub") for folder in (home, central))
    if pinned is None or found is None:
        raise Bad("there is no central.pub on both sides: this node has not joined that central")
    keys = CentralKeys.parse_text(pinned)
    if keys.root != CentralKeys.parse_text(found).root:
        raise Bad("this node has joined a central of another root key")
    node_id, kept = read_snapshot(home / "firstvisit.db", lambda connection: _read_home(connection, keys))

    def compare(connection: sqlite3.Connection) -> tuple[str, ...]:
        for at, head in kept.heads:
            if root_at(connection, head.size) != head.root:
                raise Bad(f"the checkpoint of size {head.size} that central signed is not of the log it has now", at)
        held = {(epoch, seq): digest for epoch, seq, digest in _records_at_central(connection, node_id)}
        for at, digest in kept.records.items():
            if at in held and held[at] != digest:
                raise Bad("central has another record there", at)
            if at not in held and at <= kept.acked and not hold(void, at):
                raise Bad("central acknowledged it and does not hold it", at)
        last = max(kept.records, default=(0, 0))
        if lost := [at for at in held if at > last]:
            raise Bad(f"central holds it, and the HOME ends with {place(*last)}", min(lost))
        return (
            f"both: {len(kept.records.keys() & held.keys())} records are the same, "
            + (
                "1 checkpoint kept here is a root of that central's log"
                if len(kept.heads) == 1
                else f"{len(kept.heads)} checkpoints kept here are roots of that central's log"
            ),
        )

    with central_database(central) as database:
        return read_snapshot(database, compare)


def _read_home(connection: sqlite3.Connection, pinned: CentralKeys) -> tuple[str, _Kept]:
    """What a verified HOME keeps."""
    lists, _ = follow_notices((pinned,), standing_notices(connection))
    heads, acked = list[tuple[Place, LogHead]](), (0, 0)
    for (data,) in connection.execute("SELECT data FROM acks ORDER BY rowid"):
        ack = read_ack(data, lists)
        at = (ack.epoch, ack.upto_seq)
        acked = max(acked, at)
        if ack.checkpoint is not None:
            head = read_note(ack.checkpoint.note, lists)
            if head is None:
                raise Bad("the checkpoint in its ack is not signed by any key of central's", at)
            heads.append((at, head))
    node_id, records = "", dict[Place, bytes]()
    for epoch, seq, digest, body in connection.execute("SELECT epoch, seq, hash, body FROM ledger ORDER BY epoch, seq"):
        records[epoch, seq] = digest
        node_id = node_id or canonical.decode(body)["node"]
    return node_id, _Kept(heads, records, acked)


def _records_at_central(connection: sqlite3.Connection, node_id: str) -> Iterator[tuple[int, int, bytes]]:
    yield from connection.execute(
        "SELECT epoch, seq, hash FROM records WHERE node_id = ? ORDER BY epoch, seq", (node_id,)
    )
