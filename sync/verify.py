"""The verifier: reads a HOME, a central store or an exported ledger, believes nothing, and says what holds."""

import dataclasses
import re
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sync import SyncError
from sync.audit import Acks, Audit, Bad, Columns
from sync.canonical import Fields
from sync.export import key_notices, read_export
from sync.ledger import FORMAT, NewerFormat
from sync.messages import BadMessage, CentralKeys, Enrolment
from sync.origin import ack_keys, given_key, key_text, read_ack, settle
from sync.readonly import READ_ERRORS, damage, read_snapshot
from sync.signing import PublicKey

_ROWS = (
    # The order comes out of the index alone and the columns out of the table alone: SQLite would otherwise answer
    # epoch and seq from the index, and altered ones in the table would pass.
    "SELECT k.epoch, k.seq, t.body, t.signature, t.epoch, t.seq, t.kind, t.hash, t.prev_hash, {acked}"
    " FROM {table} AS k CROSS JOIN {table} AS t ON t.rowid = k.rowid"
    " WHERE {scope} (k.epoch, k.seq) > (?, ?) ORDER BY k.epoch, k.seq LIMIT 1"
)
_HIDDEN = re.compile(r"row (\d+) missing from index (.+)")  # SQLite's words
_LEDGER_ROWS = _ROWS.format(table="ledger", acked="t.acked", scope="")
_CENTRAL_ROWS = _ROWS.format(table="records", acked="NULL", scope="k.node_id = ? AND")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the verifier found.

    what: "home", "central" or "export". lines: for people, in order. first_bad: seq of the first bad record, None
    where all is well or no single record is at fault. why: one line. checked: records that verified.
    """

    ok: bool
    what: str
    lines: tuple[str, ...]
    first_bad: int | None
    why: str | None
    checked: int

    def fields(self) -> Fields:
        """The same as JSON values."""
        return dataclasses.asdict(self)


def verify(path: Path, public_key: Path | None = None) -> Verdict:
    """Verify a HOME, a central directory or an exported ledger, in use or not, and write nothing there.

    public_key: a node.pub or central.pub obtained some other way; without one the origin stays unproven.
    Raises SyncError where the path or the key file is none of these.
    """
    given = given_key(public_key) if public_key else None
    if (path / "firstvisit.db").is_file():
        return _home(path, given)
    if (path / "central.db").is_file():
        return _central(path, given)
    if path.is_dir():
        raise SyncError(f"{path}: neither a HOME (firstvisit.db) nor a central store (central.db)")
    if not path.is_file():
        raise SyncError(f"{path}: nothing there")
    return _export(path, given)


# -- the three things that can be verified ---------------------------------------------------------------------


def _home(path: Path, given: Enrolment | CentralKeys | None) -> Verdict:
    database = path / "firstvisit.db"
    head = f"home {path}"
    try:
        keys = settle(key_text(path / "node.pub"), key_text(path / "central.pub"), given)
    except Bad as bad:
        return _verdict("home", [head], None, bad)
    audit = None

    def read(connection: sqlite3.Connection) -> Bad | None:
        nonlocal audit
        acks = Acks(keys.enrolment.node_id)
        audit = Audit(keys.enrolment.node_id, keys.ring, acks)
        try:
            _check_format(connection, database)
            _stored_acks(connection, acks, ack_keys(keys.central, key_notices(connection)))
            _walk(connection, audit, _LEDGER_ROWS)
            audit.end()
            _check_indexes(connection, "ledger")
            _check_indexes(connection, "acks", "upto_seq")
        except Bad as bad:
            return bad
        except READ_ERRORS as error:
            if why := damage(error):
                return Bad(f"{database.name}: {why}")
            raise
        return Bad(keys.mismatch) if keys.mismatch else None

    end = read_snapshot(database, read)
    return _verdict("home", [head], audit, end, keys.origin)


def _export(path: Path, given: Enrolment | CentralKeys | None) -> Verdict:
    header, records = read_export(path)
    head = f"exported ledger {path}"
    audit = None
    try:
        keys = settle(header.node_pub, header.central_pub, given)
        acks = Acks(keys.enrolment.node_id)
        audit = Audit(keys.enrolment.node_id, keys.ring, acks)
        signers = ack_keys(keys.central, header.notices)
        for number, data in enumerate(header.acks, 1):
            try:
                acks.add(read_ack(data, signers))
            except BadMessage as error:
                raise Bad(f"ack {number} of {len(header.acks)}: {error}") from error
        for record in records:
            audit.row(record.body, record.signature)
        audit.end()
        if keys.mismatch:
            raise Bad(keys.mismatch)
    except Bad as bad:
        return _verdict("export", [head], audit, bad)
    return _verdict("export", [head], audit, None, keys.origin)


def _central(path: Path, given: Enrolment | CentralKeys | None) -> Verdict:
    database = path / "central.db"
    lines = [f"central store {path}"]
    central_pub = key_text(path / "central.pub")
    proven, first = "consistent with the keys found here, origin not proven", None
    try:
        if central_pub is not None:
            found = CentralKeys.parse_text(central_pub)
            if isinstance(given, CentralKeys):
                if given.root != found.root:
                    raise Bad(f"central.pub here has root {found.root.fingerprint}, not {given.root.fingerprint}")
                proven = (
                    f"central.pub is the given key of central {given.central_id} ({given.root.fingerprint}); "
                    "the records are consistent with the node keys found here"
                )
    except (Bad, BadMessage) as error:
        return _verdict("central", lines, None, error if isinstance(error, Bad) else Bad(str(error)))
    checked = 0

    def read(connection: sqlite3.Connection) -> Bad | None:
        nonlocal checked, proven, first
        checked, first = 0, None
        del lines[1:]
        try:
            _check_format(connection, database)
            nodes = dict(connection.execute("SELECT node_id, enrolment FROM nodes ORDER BY node_id").fetchall())
            held = {row[0] for row in connection.execute("SELECT DISTINCT node_id FROM records")}
            for node_id in sorted(held | nodes.keys()):
                name = node_id.decode(errors="replace")
                audit, bad = _central_node(connection, node_id, nodes.get(node_id), given)
                checked += audit.checked if audit else 0
                if bad:
                    lines.append(f"bad: node {name}: {bad}")
                    first = first or Bad(f"node {name}: {bad.why}", bad.at)
                elif audit:
                    lines.append(f"node {name}: {_summary(audit)}")
            lines.extend(_quarantine(connection))
            if isinstance(given, Enrolment):
                if given.node_id.encode() not in nodes:
                    return first or Bad(f"node {given.node_id} of the given key is not enrolled here")
                proven = f"origin of node {given.node_id} proven against the given key ({given.node.fingerprint})"
            if not first:
                _check_indexes(connection, "records")
        except READ_ERRORS as error:
            if why := damage(error):
                return first or Bad(f"{database.name}: {why}")
            raise
        except Bad as bad:
            return bad
        return first

    bad = read_snapshot(database, read)
    if bad is None:
        return Verdict(True, "central", (*lines, proven), None, None, checked)
    if bad is not first:
        lines.append(f"bad: {bad}")
    return Verdict(False, "central", tuple(lines), bad.at[1] if bad.at else None, bad.why, checked)


def _central_node(
    connection: sqlite3.Connection, node_id: bytes, enrolment: bytes | None, given: Enrolment | CentralKeys | None
) -> tuple[Audit | None, Bad | None]:
    name = node_id.decode(errors="replace")
    if enrolment is None:
        return None, Bad("records of a node that is not enrolled here")
    try:
        mine = given if isinstance(given, Enrolment) and given.node_id == name else None
        keys = settle(enrolment.decode(errors="replace"), None, mine)
    except Bad as bad:
        return None, bad
    audit = Audit(name, keys.ring, None)
    try:
        if keys.enrolment.node_id != name:
            raise Bad(f"its enrolment is node {keys.enrolment.node_id}'s")
        _walk(connection, audit, _CENTRAL_ROWS, name)
        if keys.mismatch:
            raise Bad(keys.mismatch)
    except Bad as bad:
        return audit, bad
    return audit, None


# -- reading the tables ----------------------------------------------------------------------------------------


def _check_format(connection: sqlite3.Connection, database: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > FORMAT:
        raise NewerFormat(f"{database}: written by a newer FirstVisit (format {version}, this one knows {FORMAT})")
    if version != FORMAT:
        raise SyncError(f"{database}: not a FirstVisit database")


def _walk(connection: sqlite3.Connection, audit: Audit, query: str, *scope: str) -> None:
    """Verify every row, one query a row: a damaged page then costs the rows on it and none before; raises Bad."""
    after: tuple[object, object] = (-(2**63), 0)  # an altered number may be below zero
    while True:
        try:
            row = connection.execute(query, (*scope, *after)).fetchone()
        except READ_ERRORS as error:
            if why := damage(error):
                raise Bad(f"cannot be read: {why}", audit.next) from error
            raise
        if row is None:
            return
        after = row[0], -(2**63) if row[1] is None else row[1]  # nothing is greater than NULL
        audit.row(row[2], row[3], Columns(*row[4:]))


def _stored_acks(connection: sqlite3.Connection, acks: Acks, keys: list[PublicKey]) -> None:
    query = "SELECT data, ack_hash, epoch, upto_seq, central_time_us FROM acks NOT INDEXED ORDER BY rowid"
    for data, *columns in connection.execute(query):
        try:
            ack = read_ack(data, keys)
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


def _quarantine(connection: sqlite3.Connection) -> list[str]:
    found = connection.execute("SELECT node_id, epoch, seq, reason FROM quarantine ORDER BY node_id, epoch, seq")
    return [
        f"quarantined: node {node.decode(errors='replace')} epoch {epoch} seq {seq}: {reason.decode(errors='replace')}"
        for node, epoch, seq, reason in found
    ]


# -- words -----------------------------------------------------------------------------------------------------


def _summary(audit: Audit) -> str:
    if not audit.checked:
        return "no records yet"
    return f"{audit.checked} records verified, {audit.spans()}, head {audit.chain.head_hash.hex()}"


def _verdict(what: str, lines: list[str], audit: Audit | None, bad: Bad | None, origin: str = "") -> Verdict:
    checked = audit.checked if audit else 0
    if bad or audit is None or audit.acks is None:
        why = bad.why if bad else "nothing was read"
        lines = [*lines, f"bad: {bad}", f"{checked} records before it verified" if bad and bad.at else ""]
        return Verdict(False, what, tuple(filter(None, lines)), bad.at[1] if bad and bad.at else None, why, checked)
    lines = [*lines, _summary(audit), origin]
    acks, last = audit.acks, audit.acks.last()
    if acks.newest:
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=acks.newest.central_time_us)
        lines.append(
            f"acks: {acks.count} verified, the last covers seq {last[1]}, central time {at:%Y-%m-%dT%H:%M:%SZ}"
        )
    else:
        lines.append("acks: none")
    lines.append(f"unanchored: {audit.spans(last) or 'none'}")
    behind = f"behind seq {last[1]}, the last ack," if acks.newest else "of a chain without acks"
    lines.append(f"records lost from the end {behind} cannot be detected")
    return Verdict(True, what, tuple(lines), None, None, checked)
