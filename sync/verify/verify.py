"""The verifier: reads a HOME, a central store or an exported ledger, believes nothing, and says what holds."""

import dataclasses
import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sync import SyncError
from sync.audit.chain_audit import Acks, Audit, Bad, Columns
from sync.audit.export import read_export
from sync.audit.log_audit import Signed, TreeAudit, witnessed
from sync.audit.origin import enrolments_of, follow_notices, given_key, key_text, read_ack, settle
from sync.audit.postgres_copy import central_database
from sync.certificate.bundle import is_bundle, read_bundle
from sync.certificate.compact import is_compact, read_compact
from sync.certificate.examine import examine, lines
from sync.format.canonical import Fields
from sync.format.messages import BadMessage, CentralKeys, Enrolment, Notice
from sync.format.records import BadRecord, Record, parse, place
from sync.format.signing import digest
from sync.format.stamp import from_us, rfc3339
from sync.format.void import Void
from sync.format.void import lines as void_lines
from sync.node.purge import Base, base_of
from sync.node.trust import key_notices
from sync.printable import counted
from sync.storage.arrivals import altered_lists
from sync.storage.database import CENTRAL_FORMAT, LEDGER_FORMAT, check_format, program
from sync.storage.ledger_tables import has_kept, key_records
from sync.storage.readonly import READ_ERRORS, damage, read_snapshot
from sync.storage.schema import CENTRAL_TABLES, altered_ledger, altered_records
from sync.storage.settings import store_url

_ROWS = (
    # The order comes out of the index alone and the columns out of the table alone: SQLite would otherwise answer
    # epoch and seq from the index, and altered ones in the table would pass.
    "SELECT k.epoch, k.seq, t.body, t.signature, t.epoch, t.seq, t.kind, t.hash, t.prev_hash, {acked}"
    " FROM {table} AS k CROSS JOIN {table} AS t ON t.rowid = k.rowid"
    " WHERE {scope} (k.epoch, k.seq) > (?, ?) ORDER BY k.epoch, k.seq"
)
_FROM_THE_FIRST = (-(2**63), 0)  # an altered number may be below zero
_AT_ONCE = 500  # rows
_HIDDEN = re.compile(r"row (\d+) missing from index (.+)")  # SQLite's words
_LEDGER_ROWS = _ROWS.format(table="ledger", acked="t.acked", scope="")
_KEPT_ROWS = (
    "SELECT body, signature, epoch, seq, kind, hash, prev_hash, NULL FROM kept_records NOT INDEXED ORDER BY epoch, seq"
)
_CENTRAL_ROWS = _ROWS.format(table="records", acked="NULL", scope="k.node_id = ? AND")


_UNSEEN_AT_CENTRAL = (
    "an altered time of receipt cannot be detected, nor what was removed behind the last head of the log that a node"
    " signed back"
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the verifier found.

    what: "home", "central", "export", "certificate" or "code". lines: for people, in order. first_bad: seq of the
    first bad record, None where all is well or no single record is at fault. why: one line. checked: records that
    verified. end: (epoch, seq, hash in hex) of the last record of a HOME or export whose chain is good, whatever
    central's log is. void: the records of it that were signed after their key was revoked, and prove nothing.
    """

    ok: bool
    what: str
    lines: tuple[str, ...]
    first_bad: int | None
    why: str | None
    checked: int
    end: tuple[int, int, str] | None = None
    void: tuple[Void, ...] = ()

    def fields(self) -> Fields:
        """The same as JSON values."""
        return dataclasses.asdict(self)


def verify(path: Path, public_key: Path | None = None) -> Verdict:
    """Verify a HOME, a central directory, an exported ledger, a certificate or its code; write nothing there.

    public_key: a node.pub or central.pub obtained some other way; without one the origin stays unproven.
    Raises SyncError where the path or the key file is none of these.
    """
    given = given_key(public_key) if public_key else None
    if (path / "firstvisit.db").is_file():
        return _home(path, given)
    if store_url(path) is not None or (path / "central.db").is_file():
        return _central(path, given)
    if path.is_dir():
        raise SyncError(f"{path}: neither a HOME (firstvisit.db) nor a central store (central.db)")
    if not path.is_file():
        raise SyncError(f"{path}: nothing there")
    if is_bundle(path):
        return _bundle(path, given)
    if is_compact(path):
        return _compact(path, given)
    with path.open("rb") as file:
        if file.read(5) == b"%PDF-":
            raise SyncError(f"{path}: a PDF is no evidence: verify the certificate's .zip, or the text of its code")
    return _export(path, given)


def verify_after(home: Path, epoch: int, seq: int, head: str) -> Verdict:
    """Verify only what a HOME holds behind a record that was verified before, head being its hash in hex.

    A tail has neither acks nor anchors verified, and says nothing of what lies before it but that this record is still
    there. Raises SyncError where it cannot be looked at.
    """
    database, words = home / "firstvisit.db", f"home {home} behind {place(epoch, seq)}"

    def read(connection: sqlite3.Connection) -> Verdict:
        try:
            keys = settle(enrolments_of(home), key_text(home / "central.pub"), None)
            audit = Audit(keys.node_id, keys.ring, None, base=Base(epoch, seq, bytes.fromhex(head), 0, b""))
            with _damage_named(database):
                for revocation in follow_notices(keys.central, key_notices(connection))[1]:
                    keys.ring.revoke(revocation)
                for body, signature in key_records(connection, upto=(epoch, seq)):
                    if not keys.ring.cuts_off(changed := parse(body, signature)):
                        keys.ring.follow(changed)
                here = connection.execute(
                    "SELECT hash, body FROM ledger NOT INDEXED WHERE epoch = ? AND seq = ?", (epoch, seq)
                ).fetchone()
                if here is None or not here[0] == digest("record-hash", here[1]) == bytes.fromhex(head):
                    raise Bad("no longer the record that was verified", (epoch, seq))
                _walk(connection, audit, _LEDGER_ROWS, after=(epoch, seq))
                audit.end()
        except Bad as bad:
            return _bad_verdict("home", words, bad)
        except BadRecord as error:
            return _bad_verdict("home", words, Bad(f"a change of keys: {error}"))
        lines = (words, f"{counted(audit.checked, 'record')} verified behind it", *void_lines(audit.voids.runs))
        return Verdict(True, "home", lines, None, None, audit.checked, void=tuple(audit.voids.runs))

    return read_snapshot(database, read)


# -- the things that can be verified ---------------------------------------------------------------------


def _home(path: Path, given: Enrolment | CentralKeys | None) -> Verdict:
    database = path / "firstvisit.db"
    head = f"home {path}"
    try:
        keys = settle(enrolments_of(path), key_text(path / "central.pub"), given)
    except Bad as bad:
        return _bad_verdict("home", head, bad)

    def read(connection: sqlite3.Connection) -> Verdict:
        acks = Acks(keys.node_id)
        audit = Audit(keys.node_id, keys.ring, acks)
        try:
            with _damage_named(database):
                check_format(connection, database, LEDGER_FORMAT)
                _check_programs(connection)
                lists, revocations = follow_notices(keys.central, key_notices(connection))
                for revocation in revocations:
                    keys.ring.revoke(revocation)
                _stored_acks(connection, acks, lists)
                audit = Audit(keys.node_id, keys.ring, acks, base=base_of(connection))
                for body, signature, *columns in connection.execute(_KEPT_ROWS) if has_kept(connection) else ():
                    audit.kept(body, signature, Columns(*columns))
                _walk(connection, audit, _LEDGER_ROWS)
                audit.end()
                _check_count(connection, "ledger", audit.rows)
                _check_indexes(connection, "ledger")
                _check_indexes(connection, "acks", "upto_seq")
                _check_schema(altered_ledger(connection))
            if keys.mismatch:
                raise Bad(keys.mismatch)
        except Bad as bad:
            return _bad_verdict("home", head, bad, audit.checked)
        return _chain_verdict("home", head, audit, acks, keys.origin, lists)

    return read_snapshot(database, read)


def _export(path: Path, given: Enrolment | CentralKeys | None) -> Verdict:
    header, records = read_export(path)
    head = f"exported ledger {path}"
    try:
        keys = settle((header.node_pub, *header.enrolments), header.central_pub, given)
        lists, revocations = follow_notices(keys.central, header.notices)
    except Bad as bad:
        return _bad_verdict("export", head, bad)
    for revocation in revocations:
        keys.ring.revoke(revocation)
    acks = Acks(keys.node_id)
    audit = Audit(keys.node_id, keys.ring, acks, base=header.base)
    try:
        for kept in header.kept:
            audit.kept(kept.body, kept.signature)
        for number, data in enumerate(header.acks, 1):
            try:
                acks.add(read_ack(data, lists))
            except BadMessage as error:
                raise Bad(f"ack {number} of {len(header.acks)}: {error}") from error
        for record in records:
            audit.row(record.body, record.signature)
        audit.end()
        if keys.mismatch:
            raise Bad(keys.mismatch)
    except Bad as bad:
        return _bad_verdict("export", head, bad, audit.checked)
    return _chain_verdict("export", head, audit, acks, keys.origin, lists)


def _bundle(path: Path, given: Enrolment | CentralKeys | None) -> Verdict:
    bundle, head = read_bundle(path), f"certificate {path}"
    try:
        certificate = examine(bundle, given)
    except Bad as bad:
        return _bad_verdict("certificate", head, bad)
    said = (head, *lines(certificate))
    return Verdict(True, "certificate", said, None, None, certificate.records, void=certificate.void)


def _compact(path: Path, given: Enrolment | CentralKeys | None) -> Verdict:
    head = f"certificate's code {path}"
    compact = read_compact(path)
    try:
        said = compact.check(given)
    except Bad as bad:
        return _bad_verdict("code", head, bad)
    return Verdict(True, "code", (head, *said), None, None, 1)


def _central(path: Path, given: Enrolment | CentralKeys | None) -> Verdict:
    head = f"central store {path}"
    try:
        with central_database(path) as database:
            return _central_in(database, head, key_text(path / "central.pub"), given)
    except Bad as bad:
        return _bad_verdict("central", head, bad)


def _central_in(database: Path, head: str, central_pub: str | None, given: Enrolment | CentralKeys | None) -> Verdict:
    origin = _central_origin(central_pub, given)

    def read(connection: sqlite3.Connection) -> Verdict:
        lines, checked, first = [head], 0, None
        signed, enrolled = dict[str, Signed](), dict[str, list[Enrolment]]()
        try:
            with _damage_named(database):
                check_format(connection, database, CENTRAL_FORMAT)
                _check_programs(connection)
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
                        lines.append(f"node {name}: {_summary(audit)}")
                lines.extend(_quarantine(connection))
                if isinstance(given, Enrolment) and given.node_id.encode() not in enrolments:
                    raise Bad(f"node {given.node_id} of the given key is not enrolled here")
                if first is None:
                    _check_count(connection, "records", checked)
                    for table in CENTRAL_TABLES:
                        _check_indexes(connection, table)
                    _check_schema(altered_records(connection))
                    _check_schema(altered_lists(connection))
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
    _walk(connection, audit, _CENTRAL_ROWS, name)
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


# -- reading the tables ----------------------------------------------------------------------------------------


@contextmanager
def _damage_named(database: Path) -> Iterator[None]:
    """Raise damage of the file as Bad."""
    try:
        yield
    except READ_ERRORS as error:
        if why := damage(error):
            raise Bad(f"{database.name}: {why}") from error
        raise


def _walk(
    connection: sqlite3.Connection,
    audit: Audit,
    query: str,
    *scope: str,
    after: tuple[object, object] = _FROM_THE_FIRST,
) -> None:
    """Verify every row after a place; raises Bad."""
    try:
        for row in _swiftly(connection, query, (*scope, *after)):
            audit.row(row[2], row[3], Columns(*row[4:]))
            after = row[0], row[1]
    except READ_ERRORS as error:
        if not damage(error):
            raise
        _walk_to_damage(connection, audit, query, scope, after)


def _swiftly(connection: sqlite3.Connection, query: str, values: tuple[object, ...]) -> Iterator[tuple[Any, ...]]:
    cursor = connection.execute(query, values)
    while rows := cursor.fetchmany(_AT_ONCE):
        yield from rows


def _walk_to_damage(
    connection: sqlite3.Connection,
    audit: Audit,
    query: str,
    scope: tuple[str, ...],
    after: tuple[object, object],
) -> None:
    """Verify what follows `after`, one query a row: a damaged page then costs the rows on it and none before."""
    while True:
        behind = after[0], -(2**63) if after[1] is None else after[1]  # nothing is greater than NULL
        try:
            row = connection.execute(f"{query} LIMIT 1", (*scope, *behind)).fetchone()
        except READ_ERRORS as error:
            if why := damage(error):
                raise Bad(f"cannot be read: {why}", audit.next) from error
            raise
        if row is None:
            return
        after = row[0], row[1]
        audit.row(row[2], row[3], Columns(*row[4:]))


def _stored_acks(connection: sqlite3.Connection, acks: Acks, lists: Sequence[CentralKeys]) -> None:
    query = "SELECT data, ack_hash, epoch, upto_seq, central_time_us FROM acks NOT INDEXED ORDER BY rowid"
    for data, *columns in connection.execute(query):
        try:
            ack = read_ack(data, lists)
            if columns != [ack.ack_hash, ack.epoch, ack.upto_seq, ack.central_time_us]:
                acks.add_fault((ack.epoch, ack.upto_seq), "its columns do not match its signed bytes")
            else:
                acks.add(ack)
        except BadMessage as error:
            epoch, upto = columns[1], columns[2]
            if type(epoch) is not int or type(upto) is not int:
                raise Bad(f"a stored ack: {error}") from error
            acks.add_fault((epoch, upto), str(error))


def _check_indexes(connection: sqlite3.Connection, table: str, seq: str = "seq") -> None:
    """Raise Bad where an index says something else than its table: lists read through it would hide a record."""
    found = [row[0].decode(errors="replace") for row in connection.execute(f"PRAGMA integrity_check({table})")]
    if found == ["ok"]:
        return
    for line in found:
        if hidden := _HIDDEN.fullmatch(line):
            at = connection.execute(
                f"SELECT epoch, {seq} FROM {table} NOT INDEXED WHERE rowid = ?", (int(hidden[1]),)
            ).fetchone()
            raise Bad(f"table {table}: missing from index {hidden[2]}", at)
    raise Bad(f"table {table}: {found[0].splitlines()[-1]}")


def _check_programs(connection: sqlite3.Connection) -> None:
    if found := program(connection):
        raise Bad(f"the database holds the {found}, which FirstVisit never makes")


def _check_count(connection: sqlite3.Connection, table: str, checked: int) -> None:
    """Raise Bad where the table has rows that no chain led to: lists would show them."""
    (rows,) = connection.execute(f"SELECT count(*) FROM {table} NOT INDEXED").fetchone()
    if rows != checked:
        raise Bad(f"table {table}: {rows} rows, {checked} of them in a chain")


def _check_schema(altered: str | None) -> None:
    if altered:
        raise Bad(altered)


def _quarantine(connection: sqlite3.Connection) -> list[str]:
    found = connection.execute("SELECT node_id, epoch, seq, reason FROM quarantine ORDER BY node_id, epoch, seq")
    return [
        f"quarantined: node {_said(node)} epoch {_said(epoch)} seq {_said(seq)}: {_said(reason)}"
        for node, epoch, seq, reason in found
    ]


def _said(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


# -- words -----------------------------------------------------------------------------------------------------


def _summary(audit: Audit) -> str:
    if not audit.rows:
        return "no records yet"
    return f"{counted(audit.checked, 'record')} verified, {audit.spans()}, head {audit.chain.head_hash.hex()}"


def _purged(audit: Audit, acks: Acks) -> Iterator[str]:
    """What a chain that begins later says of what it no longer holds."""
    if audit.base is not None:
        epoch, upto = audit.base.at
        until = f"seq 1..{upto}" if epoch == 1 else f"everything up to epoch {epoch} seq {upto}"
        when = acks.at_of(audit.base.at)
        at = "" if when is None else f" acknowledged at {rfc3339(when, timespec='seconds')}"
        yield f"{until} purged, central holds them: head {audit.base.head.hex()}{at}"


def _bad_verdict(what: str, head: str, bad: Bad, checked: int = 0) -> Verdict:
    lines = [head, f"bad: {bad}"]
    if bad.at:
        lines.append(f"{checked} verified before it")
    return Verdict(False, what, tuple(lines), bad.at[1] if bad.at else None, bad.why, checked)


def _chain_verdict(
    what: str, head: str, audit: Audit, acks: Acks, origin: str, lists: Sequence[CentralKeys]
) -> Verdict:
    """The verdict on a chain that is good in itself; what central said of its log may yet contradict itself."""
    last, log = acks.last(), witnessed(acks.checkpointed, audit.signed_back, lists)
    confirmed, behind = "none", "of a chain without acks"
    if acks.newest:
        at = from_us(acks.newest.central_time_us)
        confirmed = f"{acks.count} verified, the last covers seq {last[1]}, central time {at:%Y-%m-%dT%H:%M:%SZ}"
        behind = f"behind seq {last[1]}, the last ack,"
    lines = (
        head,
        _summary(audit),
        *void_lines(audit.voids.runs),
        *_purged(audit, acks),
        origin,
        f"acks: {confirmed}",
        log.text(audit.signed_back),
        f"unanchored: {audit.spans(last) or 'none'}",
        f"records lost from the end {behind} cannot be detected",
    )
    end = (audit.chain.epoch, audit.chain.seq, audit.chain.head_hash.hex()) if audit.rows else None
    void = tuple(audit.voids.runs)
    if log.fault:
        why = f"central's log contradicts what central signed before: {log.fault}"
        return Verdict(False, what, (*lines, f"bad: {why}"), None, why, audit.checked, end, void)
    return Verdict(True, what, lines, None, None, audit.checked, end, void)
