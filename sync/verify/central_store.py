"""A central store, verified: every node's chain, the lists made of them, and central's log."""

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from sync import SyncError
from sync.audit.chain_audit import Audit, Bad
from sync.audit.log_audit import Signed, TreeAudit
from sync.audit.origin import follow_notices, key_text, settle
from sync.audit.postgres_copy import central_database
from sync.format.messages import BadMessage, Notice
from sync.format.public_keys import CentralKeys, Enrolment
from sync.format.records import Record
from sync.storage.arrivals import altered_lists
from sync.storage.database import CENTRAL_FORMAT, check_format
from sync.storage.readonly import read_snapshot
from sync.storage.schema import CENTRAL_TABLES, altered_records
from sync.verify.tables import (
    CENTRAL_ROWS,
    check_count,
    check_indexes,
    check_programs,
    check_schema,
    damage_named,
    walk,
)
from sync.verify.verdict import Verdict, bad_verdict, summary

_UNSEEN_AT_CENTRAL = (
    "an altered time of receipt cannot be detected, nor what was removed behind the last head of the log that a node"
    " signed back"
)


def verify_central(path: Path, given: Enrolment | CentralKeys | None) -> Verdict:
    head = f"central store {path}"
    try:
        with central_database(path) as database:
            return _central_in(database, head, key_text(path / "central.pub"), given)
    except Bad as bad:
        return bad_verdict("central", head, bad)


def _central_in(database: Path, head: str, central_pub: str | None, given: Enrolment | CentralKeys | None) -> Verdict:
    origin = _central_origin(central_pub, given)

    def read(connection: sqlite3.Connection) -> Verdict:
        lines, checked, first = [head], 0, None
        signed, enrolled = dict[str, Signed](), dict[str, list[Enrolment]]()
        try:
            with damage_named(database):
                check_format(connection, database, CENTRAL_FORMAT)
                check_programs(connection)
                enrolments = defaultdict[bytes, list[object]](list)
                for table in ("nodes", *_later(connection, "enrolments")):
                    for node_id, text in connection.execute(f"SELECT node_id, enrolment FROM {table}"):
                        enrolments[node_id].append(text)
                holding = {row[0] for row in connection.execute("SELECT DISTINCT node_id FROM records")}
                if odd := [one for one in holding | enrolments.keys() if not isinstance(one, bytes)]:
                    raise Bad(f"node_id {odd[0]!r} is no name")
                lists = _central_lists(connection, central_pub)
                for node_id in sorted(holding | enrolments.keys()):
                    name = node_id.decode(errors="replace")
                    try:
                        audit = _central_node(connection, name, enrolments[node_id], lists, given)
                        enrolled[name] = [Enrolment.parse_text(text) for text in _texts(enrolments[node_id])]
                    except Bad as bad:
                        lines.append(f"bad: node {name}: {bad}")
                        first = first or Bad(f"node {name}: {bad.why}", bad.at)
                    else:
                        checked += audit.checked
                        signed[name] = audit.signed_back
                        lines.append(f"node {name}: {summary(audit)}")
                lines.extend(_quarantine(connection))
                if isinstance(given, Enrolment) and given.node_id.encode() not in enrolments:
                    raise Bad(f"node {given.node_id} of the given key is not enrolled here")
                if first is None:
                    check_count(connection, "records", checked)
                    for table in CENTRAL_TABLES:
                        check_indexes(connection, table)
                    check_schema(altered_records(connection))
                    check_schema(altered_lists(connection))
                    lines.extend(TreeAudit(connection).check(signed, enrolled, lists))
        except Bad as bad:
            lines.append(f"bad: {bad}")
            first = first or bad
        if first is None:
            return Verdict(True, "central", (*lines, origin, _UNSEEN_AT_CENTRAL), None, None, checked)
        return Verdict(False, "central", tuple(lines), first.at[1] if first.at else None, first.why, checked)

    return read_snapshot(database, read)


def _central_lists(connection: sqlite3.Connection, central_pub: str | None) -> list[CentralKeys]:
    """Every list of its keys that a central has: that of central.pub, and those it sent under the same root."""
    if central_pub is None:
        return []
    pinned = CentralKeys.parse_text(central_pub)
    lists = [pinned]
    for (data,) in connection.execute("SELECT DISTINCT data FROM notices WHERE kind = 'keys' ORDER BY created_us"):
        try:
            sent = CentralKeys.of(Notice.parse(data, pinned.root, pinned.keys["notice"]).body)
        except SyncError as error:
            raise Bad(f"a stored keys notice: {error}") from error
        if sent not in lists:
            lists.append(sent)
    return lists


def _central_origin(central_pub: str | None, given: Enrolment | CentralKeys | None) -> str:
    """Say what the keys prove of a store that is good; raises Bad where central.pub is damaged or not the given one."""
    try:
        found = CentralKeys.parse_text(central_pub) if central_pub is not None else None
    except BadMessage as error:
        raise Bad(str(error)) from error
    match given:
        case Enrolment():
            return f"origin of node {given.node_id} proven against the given key ({given.node.fingerprint})"
        case CentralKeys() if found is None or found.root != given.root:
            here = found.root.fingerprint if found else "missing"
            raise Bad(f"central.pub here: {here}, the given root: {given.root.fingerprint}")
        case CentralKeys():
            return f"central.pub is the given one ({given.root.fingerprint}); of the nodes' keys origin is not proven"
        case None:
            return "consistent with the keys found here, origin not proven"


def _central_node(
    connection: sqlite3.Connection,
    name: str,
    enrolments: Sequence[object],
    central: Sequence[CentralKeys],
    given: Enrolment | CentralKeys | None,
) -> Audit:
    """Verify one node's chain at central; raises Bad."""
    texts = _texts(enrolments)
    if not texts:
        raise Bad("it has records but is not enrolled here")
    mine = given if isinstance(given, Enrolment) and given.node_id == name else None
    keys = settle(texts, None, mine)
    if keys.node_id != name:
        raise Bad(f"its enrolment is node {keys.node_id}'s")
    _, revocations = follow_notices(central, _told_of_keys(connection, name))
    for revocation in revocations:
        keys.ring.revoke(revocation)
    opened = {Enrolment.parse_text(text).epoch for text in texts}
    for table in _later(connection, "openings"):
        opened |= {row[0] for row in connection.execute(f"SELECT epoch FROM {table} WHERE node_id = ?", (name,))}

    def may_open(record: Record, before: int) -> bool:
        """Behind a record of the epoch before, all of it verified by now, or where central opened it by hand."""
        if record.epoch in opened:
            return True
        query = "SELECT 1 FROM records WHERE node_id = ? AND epoch = ? AND hash = ?"
        return connection.execute(query, (name, before, record.prev_hash)).fetchone() is not None

    audit = Audit(name, keys.ring, None, may_open=may_open, strict=True)
    walk(connection, audit, CENTRAL_ROWS, name)
    if keys.mismatch:
        raise Bad(keys.mismatch)
    return audit


def _texts(enrolments: Sequence[object]) -> list[str]:
    return [text.decode(errors="replace") for text in enrolments if isinstance(text, bytes)]


def _told_of_keys(connection: sqlite3.Connection, name: str) -> list[object]:
    query = "SELECT data FROM notices WHERE node_id = ? AND kind IN ('keys', 'key.revoked') ORDER BY nseq"
    return [row[0] for row in connection.execute(query, (name,))]


def _later(connection: sqlite3.Connection, table: str) -> tuple[str, ...]:
    """The table where there is one: not in a store that no command of this version has written to yet."""
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    return (table,) if found else ()


def _quarantine(connection: sqlite3.Connection) -> list[str]:
    found = connection.execute("SELECT node_id, epoch, seq, reason FROM quarantine ORDER BY node_id, epoch, seq")
    return [
        f"quarantined: node {_said(node)} epoch {_said(epoch)} seq {_said(seq)}: {_said(reason)}"
        for node, epoch, seq, reason in found
    ]


def _said(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
