"""What central's lists keep of the records that make a visit, so that no database has to read bodies to find them."""

import hashlib
import re
import sqlite3
from typing import TypeAlias

import orjson

from sync.format.canonical import Fields
from sync.format.source import APPROVED, proposed
from sync.format.visit_fields import CORRECTED, DECISION_OF_KIND, decides_earlier, number_of, settles, text_of

Arrival: TypeAlias = tuple[int, int, str, int, int, bytes]
"""A row of `visits`: order_us, tie, node_id, epoch, seq, visit."""
Correction: TypeAlias = tuple[str, bytes, int, int]
"""A row of `corrections`: node_id, visit, epoch, seq."""
CodeUse: TypeAlias = tuple[bytes, str, int, int, int]
"""A row of `code_uses`: code, node_id, epoch, seq, arrived_us."""
AskedRow: TypeAlias = tuple[str, bytes, int, int, int]
"""Of a correction that is asked for: node_id, the record's hash, epoch, seq, received_us."""
WordRow: TypeAlias = tuple[str, bytes, int, int]
"""Of a desk's word on one: node_id, the hash of what it answers, epoch, seq."""

_HASH = re.compile("[0-9a-f]{64}")
_KINDS = f"({', '.join(repr(kind) for kind in DECISION_OF_KIND)})"
_FIND_USE = "SELECT 1 FROM code_uses WHERE code = ? AND node_id = ? AND epoch = ? AND seq = ? AND arrived_us = ?"
_FIND_CORRECTION = "SELECT 1 FROM corrections WHERE node_id = ? AND visit = ? AND epoch = ? AND seq = ?"


def arrival(node_id: str, fields: Fields, record_hash: bytes, received_us: int) -> Arrival | None:
    """The row that lists a record among the visits; None where it begins none.

    order_us: by what visits are listed: the arrival, or the receipt where that is earlier or the arrival no number, so
    that no node can put its own before everybody's with a time that never was. tie: among equals the order of the
    chain, and then 23 bits of the hash; 63 bits in all, as both databases' integers hold.
    """
    if fields["kind"] not in DECISION_OF_KIND or decides_earlier(fields):
        return None
    arrived_us = number_of(fields, "arrived_us")
    order_us = received_us if arrived_us is None else min(arrived_us, received_us)
    tie = fields["seq"] % 2**40 << 23 | int.from_bytes(record_hash[:3], "big") >> 1
    return order_us, tie, node_id, fields["epoch"], fields["seq"], visit_key(fields)


def correction(node_id: str, fields: Fields) -> Correction | None:
    """The row that finds by its visit what changes a decision; None of any other record.

    That is a correction that says who came, or a decision made when the visitor had consented.
    """
    corrects = fields["kind"] == CORRECTED and settles(fields)
    if not corrects and not decides_earlier(fields):
        return None
    return node_id, visit_key(fields), fields["epoch"], fields["seq"]


def code_use(node_id: str, fields: Fields) -> CodeUse | None:
    """The row that finds a check-in by the code that was shown; None where the record is none, or names none."""
    code, arrived_us = text_of(fields, "code") or "", number_of(fields, "arrived_us")
    if fields["kind"] != "visit.checkin" or arrived_us is None or not _HASH.fullmatch(code):
        return None
    return bytes.fromhex(code), node_id, fields["epoch"], fields["seq"], arrived_us


def asked_row(node_id: str, fields: Fields, record_hash: bytes, received_us: int) -> AskedRow | None:
    """The row that lists a correction as asked for; None of any other record."""
    if fields["kind"] != CORRECTED or not proposed(fields):
        return None
    return node_id, record_hash, fields["epoch"], fields["seq"], received_us


def word_row(node_id: str, fields: Fields) -> WordRow | None:
    """The row that finds a desk's word by what it answers; None of any other record."""
    answers = text_of(fields, "proposal") or ""
    if fields["kind"] != APPROVED or not _HASH.fullmatch(answers):
        return None
    return node_id, bytes.fromhex(answers), fields["epoch"], fields["seq"]


def visit_key(fields: Fields) -> bytes:
    """16 bytes for the visit a body names: nodes write names as long as they like, an index takes no such keys."""
    return hashlib.sha256((text_of(fields, "visit") or "").encode()).digest()[:16]


def altered_lists(connection: sqlite3.Connection) -> str | None:
    """Say where central's lists of visits are not what its verified records call for; None where they are.

    The connection gives text as bytes, as `readonly.py` opens it.
    """
    listed = 0
    for node, body, digest, received_us, *row in connection.execute(
        "SELECT r.node_id, r.body, r.hash, r.received_us, v.order_us, v.tie, v.visit FROM records AS r NOT INDEXED"
        " LEFT JOIN visits AS v ON v.node_id = r.node_id AND v.epoch = r.epoch AND v.seq = r.seq"
        f" WHERE r.kind IN {_KINDS}"
    ):
        node_id, fields = node.decode(), orjson.loads(body)
        expected = arrival(node_id, fields, digest, received_us)
        listed += expected is not None
        called_for = (None, None, None) if expected is None else (*expected[:2], expected[5])
        if called_for != tuple(row):
            return f"table visits: does not list node {node_id} epoch {fields['epoch']} seq {fields['seq']} as it is"
    if fault := _superfluous(connection, "visits", listed):
        return fault
    listed = 0
    for node, body in connection.execute(
        f"SELECT node_id, body FROM records NOT INDEXED WHERE kind = '{CORRECTED}' OR kind IN {_KINDS}"
    ):
        node_id, fields = node.decode(), orjson.loads(body)
        corrects = correction(node_id, fields)
        listed += corrects is not None
        if corrects is not None and not connection.execute(_FIND_CORRECTION, corrects).fetchone():
            return f"table corrections: lacks node {node_id} epoch {fields['epoch']} seq {fields['seq']}"
    return _superfluous(connection, "corrections", listed) or _altered_uses(connection)


def _altered_uses(connection: sqlite3.Connection) -> str | None:
    """The same of the list by which one code at two nodes is noticed; a store not written to since has none yet."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'code_uses'").fetchone():
        return None
    listed = 0
    for node, body in connection.execute("SELECT node_id, body FROM records NOT INDEXED WHERE kind = 'visit.checkin'"):
        node_id, fields = node.decode(), orjson.loads(body)
        use = code_use(node_id, fields)
        listed += use is not None
        if use is not None and not connection.execute(_FIND_USE, use).fetchone():
            return f"table code_uses: lacks node {node_id} epoch {fields['epoch']} seq {fields['seq']}"
    return _superfluous(connection, "code_uses", listed)


def _superfluous(connection: sqlite3.Connection, table: str, listed: int) -> str | None:
    (rows,) = connection.execute(f"SELECT count(*) FROM {table} NOT INDEXED").fetchone()
    return f"table {table}: {rows} rows, {listed} of them of a record" if rows != listed else None
