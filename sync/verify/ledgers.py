"""A node's chain, verified where it lies in its HOME or in an exported ledger."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from sync.audit.ack_keys import ReplacedAckKeys
from sync.audit.chain_audit import Acks, Audit, Bad, Columns
from sync.audit.export import read_export
from sync.audit.origin import enrolments_of, follow_notices, key_text, read_ack, settle
from sync.format.messages import Ack, BadMessage
from sync.format.public_keys import CentralKeys, Enrolment
from sync.format.records import BadRecord, Record, parse, place
from sync.format.signing import digest
from sync.format.void import hold
from sync.format.void import lines as void_lines
from sync.node.purge import Base, base_of
from sync.node.trust import standing_notices
from sync.printable import counted
from sync.storage.database import LEDGER_FORMAT, check_format
from sync.storage.ledger_tables import has_kept, key_records
from sync.storage.readonly import read_snapshot
from sync.storage.schema import altered_ledger
from sync.verify.tables import (
    KEPT_ROWS,
    LEDGER_ROWS,
    check_count,
    check_indexes,
    check_programs,
    check_schema,
    damage_named,
    walk,
)
from sync.verify.verdict import Verdict, bad_verdict, chain_verdict

_ANSWER = b'"kind":"notice.applied"'  # as canonical bytes have it


def verify_home(path: Path, given: Enrolment | CentralKeys | None) -> Verdict:
    database = path / "firstvisit.db"
    head = f"home {path}"
    try:
        keys = settle(enrolments_of(path), key_text(path / "central.pub"), given)
    except Bad as bad:
        return bad_verdict("home", head, bad)

    def read(connection: sqlite3.Connection) -> Verdict:
        acks = Acks(keys.node_id)
        audit = Audit(keys.node_id, keys.ring, acks)
        try:
            with damage_named(database):
                check_format(connection, database, LEDGER_FORMAT)
                check_programs(connection)
                lists, revocations = follow_notices(keys.central, standing_notices(connection))
                for revocation in revocations:
                    keys.ring.revoke(revocation)
                _stored_acks(connection, acks, lists)
                audit = Audit(keys.node_id, keys.ring, acks, base=base_of(connection))
                for body, signature, *columns in connection.execute(KEPT_ROWS) if has_kept(connection) else ():
                    audit.kept(body, signature, Columns(*columns))
                walk(connection, audit, LEDGER_ROWS)
                audit.end()
                check_count(connection, "ledger", audit.rows)
                check_indexes(connection, "ledger")
                check_indexes(connection, "acks", "upto_seq")
                check_schema(altered_ledger(connection))
                _hold_acks(connection, ReplacedAckKeys(keys.central, standing_notices(connection)), audit)
            if keys.mismatch:
                raise Bad(keys.mismatch)
        except Bad as bad:
            return bad_verdict("home", head, bad, audit.checked)
        return chain_verdict("home", head, audit, acks, keys.origin, lists)

    return read_snapshot(database, read)


def verify_export(path: Path, given: Enrolment | CentralKeys | None) -> Verdict:
    header, records = read_export(path)
    head = f"exported ledger {path}"
    try:
        keys = settle((header.node_pub, *header.enrolments), header.central_pub, given)
        lists, revocations = follow_notices(keys.central, header.notices)
    except Bad as bad:
        return bad_verdict("export", head, bad)
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
        answers: list[Record] = []
        for record in records:
            audit.row(record.body, record.signature)
            if _ANSWER in record.body:
                answers.append(parse(record.body, record.signature))
        audit.end()
        replaced = ReplacedAckKeys(keys.central, header.notices if keys.central else ())
        for answer in answers:
            if not hold(audit.voids.runs, (answer.epoch, answer.seq)):
                replaced.hear(answer)
        for data in header.acks:
            replaced.check(Ack.unverified(data))
        if keys.mismatch:
            raise Bad(keys.mismatch)
    except Bad as bad:
        return bad_verdict("export", head, bad, audit.checked)
    return chain_verdict("export", head, audit, acks, keys.origin, lists)


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
            with damage_named(database):
                for revocation in follow_notices(keys.central, standing_notices(connection))[1]:
                    keys.ring.revoke(revocation)
                for body, signature in key_records(connection, upto=(epoch, seq)):
                    if not keys.ring.cuts_off(changed := parse(body, signature)):
                        keys.ring.follow(changed)
                here = connection.execute(
                    "SELECT hash, body FROM ledger NOT INDEXED WHERE epoch = ? AND seq = ?", (epoch, seq)
                ).fetchone()
                if here is None or not here[0] == digest("record-hash", here[1]) == bytes.fromhex(head):
                    raise Bad("no longer the record that was verified", (epoch, seq))
                walk(connection, audit, LEDGER_ROWS, after=(epoch, seq))
                audit.end()
        except Bad as bad:
            return bad_verdict("home", words, bad)
        except BadRecord as error:
            return bad_verdict("home", words, Bad(f"a change of keys: {error}"))
        lines = (words, f"{counted(audit.checked, 'record')} verified behind it", *void_lines(audit.voids.runs))
        return Verdict(True, "home", lines, None, None, audit.checked, void=tuple(audit.voids.runs))

    return read_snapshot(database, read)


def _hold_acks(connection: sqlite3.Connection, replaced: ReplacedAckKeys, audit: Audit) -> None:
    """The stored acks against the places where the node has heard of other ack keys; all of both is verified."""
    answers = connection.execute("SELECT body, signature FROM ledger WHERE kind = 'notice.applied' ORDER BY epoch, seq")
    for record in (parse(body, signature) for body, signature in answers):
        if not hold(audit.voids.runs, (record.epoch, record.seq)):
            replaced.hear(record)
    for (data,) in connection.execute("SELECT data FROM acks ORDER BY rowid"):
        replaced.check(Ack.unverified(data))


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
