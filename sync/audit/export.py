"""The exported ledger: one file of JSON lines that anybody can verify without the node.

Line 1 is the header, `{"acks":[hex,...],"central_pub":text,"enrolments":[text,...],"format":"firstvisit-ledger",
"node_pub":text,"notices":[hex,...],"v":1}`, with `central_pub` absent before a join, and `enrolments` where the node's
keys were never made anew; the notices are those of the kinds `keys` and `key.revoked`. Of a purged ledger it has
`"purged":{...}` too, as the newest `retention.run` says it, and `"kept":[{"body":text,"signature":hex},...]`. Every
other line is one record in chain order, `{"body":text,"signature":hex}`; the text is the exact signed bytes. Each line
is canonical JSON and ends with a newline, so the same ledger always gives the same file.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sync import SyncError
from sync.audit.chain_audit import Audit, Bad, Columns
from sync.audit.origin import follow_notices, settle
from sync.format import canonical
from sync.format.canonical import Fields, hex_bytes
from sync.format.records import MAX_BODY_BYTES
from sync.format.wire import SignedBody
from sync.node.ledger import Ledger
from sync.node.purge import Base, base_of
from sync.node.trust import standing_notices
from sync.storage.ledger_tables import KEPT, KEPT_WITH, kept_rows

FORMAT = "firstvisit-ledger"
VERSION = 1
MAX_HEADER_BYTES = 128 * 1024**2  # some 280,000 acks
MAX_LINE_BYTES = 4 * MAX_BODY_BYTES  # a body of quotes and backslashes alone takes twice its length, a signature 128


class BadExport(SyncError):
    """A file that is not an exported ledger; the text names the file and the line."""


@dataclass(frozen=True, slots=True)
class Header:
    """What an export carries beside the records.

    node_pub, central_pub: the texts of these files. acks, notices: the signed bytes of every ack, and of every notice
    about keys, by which a later ack's key is known. enrolments: the texts of earlier node.pub files. base, kept: of a
    purged ledger, what its records begin behind, and those of before that were kept.
    """

    node_pub: str
    central_pub: str | None
    acks: tuple[bytes, ...]
    notices: tuple[bytes, ...]
    enrolments: tuple[str, ...] = ()
    base: Base | None = None
    kept: tuple[SignedBody, ...] = ()

    def fields(self) -> Fields:
        fields: Fields = {
            "format": FORMAT,
            "v": VERSION,
            "node_pub": self.node_pub,
            "acks": [ack.hex() for ack in self.acks],
            "notices": [notice.hex() for notice in self.notices],
        }
        if self.central_pub is not None:
            fields["central_pub"] = self.central_pub
        if self.enrolments:
            fields["enrolments"] = list(self.enrolments)
        if self.base is not None:
            fields["purged"] = self.base.fields()
            fields["kept"] = [_listed(one) for one in self.kept]
        return fields

    @classmethod
    def parse(cls, fields: Fields) -> "Header":
        """Read `fields()` back; raises SyncError."""
        if fields.get("format") != FORMAT:
            raise SyncError("not an exported ledger")
        if fields.get("v") != VERSION:
            raise SyncError(f"version {fields.get('v')!r}, this one reads {VERSION}")
        purged = fields.keys() & {"purged", "kept"}
        if fields.keys() - {"central_pub", "enrolments"} - purged != {"format", "v", "acks", "node_pub", "notices"}:
            raise SyncError("the header has other keys than it should")
        if len(purged) == 1:
            raise SyncError("purged and kept go together")
        node_pub, central_pub = fields["node_pub"], fields.get("central_pub")
        if not isinstance(node_pub, str) or not isinstance(central_pub, str | None):
            raise SyncError("node_pub and central_pub must be texts")
        enrolments = fields.get("enrolments", [])
        if not isinstance(enrolments, list) or not all(isinstance(text, str) for text in enrolments):
            raise SyncError("enrolments must be texts")
        if purged and not isinstance(fields["kept"], list):
            raise SyncError("kept must be a list")
        acks, notices = _hex_list(fields["acks"]), _hex_list(fields["notices"])
        base = Base.of({"kind": "retention.run", "purged": fields["purged"]}) if purged else None
        kept = tuple(_signed(one) for one in fields["kept"]) if purged else ()
        return cls(node_pub, central_pub, acks, notices, tuple(enrolments), base, kept)


def write_export(
    ledger: Ledger, node_pub: str, central_pub: str | None, out: Path, enrolments: Sequence[str] = ()
) -> tuple[int, int, str]:
    """Write the whole ledger to a new file, durable before it has its name.

    enrolments: the texts of earlier node.pub files.
    Returns the first seq, the last seq, and the file's SHA-256 in hex. Raises SyncError where the file is already
    there or cannot be written, or the ledger is empty or damaged.
    """
    part = out.with_name(out.name + ".part")
    if out.exists():
        raise SyncError(f"{out}: already there")
    try:
        with part.open("wb") as file, ledger.snapshot():
            acks, notices = tuple(ledger.acks()), tuple(standing_notices(ledger.connection))
            base, kept = base_of(ledger.connection), kept_rows(ledger.connection, (*KEPT, *KEPT_WITH))
            spared = tuple(SignedBody(*row) for row in kept)
            header = Header(node_pub, central_pub, acks, notices, tuple(enrolments), base, spared)
            first, last, sha256 = _write(file, ledger, header)
            file.flush()
            os.fsync(file.fileno())
        part.rename(out)
    except BaseException as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise SyncError(f"{out}: {error.strerror}") from error
        raise
    return first, last, sha256


def read_export(path: Path) -> tuple[Header, Iterator[SignedBody]]:
    """Return an export's header and its records, read as they are asked for; raises BadExport naming the line."""
    lines = _lines(path)
    try:
        header = Header.parse(next(lines, {}))
    except BadExport:
        raise
    except SyncError as error:
        raise BadExport(f"{path}: line 1: {error}") from error
    return header, _records(path, lines)


def _write(file: BinaryIO, ledger: Ledger, header: Header) -> tuple[int, int, str]:
    sha256 = hashlib.sha256()
    first = last = 0

    def line(fields: Fields) -> None:
        data = canonical.encode(fields) + b"\n"
        if len(data) > MAX_HEADER_BYTES:
            raise SyncError(f"{len(fields['acks'])} acks are more than the header of an export may hold")
        sha256.update(data)
        file.write(data)

    try:
        keys = settle((header.node_pub, *header.enrolments), header.central_pub, None)
        for revocation in follow_notices(keys.central, header.notices)[1]:
            keys.ring.revoke(revocation)
        audit = Audit(keys.node_id, keys.ring, None, base=header.base)
        for one in header.kept:
            audit.kept(one.body, one.signature)
        line(header.fields())
        for row in ledger.rows():
            audit.row(row.body, row.signature, Columns(row.epoch, row.seq, row.kind, row.hash, row.prev_hash, None))
            line(_listed(SignedBody(row.body, row.signature)))
            first, last = first or row.seq, row.seq
    except Bad as bad:
        raise SyncError(f"{bad}: damaged, so nothing is exported; run verify") from bad
    if not last:
        raise SyncError("the ledger is empty: nothing to export")
    return first, last, sha256.hexdigest()


def _lines(path: Path) -> Iterator[Fields]:
    number = 0
    try:
        with path.open("rb") as file:
            while line := file.readline((limit := MAX_LINE_BYTES if number else MAX_HEADER_BYTES) + 1):
                number += 1
                if len(line) > limit:
                    raise BadExport(f"{path}: line {number}: longer than {limit} bytes")
                if not line.endswith(b"\n"):
                    raise BadExport(f"{path}: line {number}: cut short")
                try:
                    yield canonical.decode(line[:-1])
                except SyncError as error:
                    raise BadExport(f"{path}: line {number}: {error}") from error
    except OSError as error:
        raise BadExport(f"{path}: {error.strerror}") from error


def _records(path: Path, lines: Iterator[Fields]) -> Iterator[SignedBody]:
    for number, fields in enumerate(lines, 2):
        try:
            yield _signed(fields)
        except SyncError as error:
            raise BadExport(f"{path}: line {number}: {error}") from error


def _listed(record: SignedBody) -> Fields:
    return {"body": record.body.decode(), "signature": record.signature.hex()}


def _signed(fields: object) -> SignedBody:
    """Read what `_listed` wrote; raises SyncError."""
    if not isinstance(fields, dict) or fields.keys() != {"body", "signature"} or not isinstance(fields["body"], str):
        raise SyncError("not a record")
    return SignedBody(fields["body"].encode(), hex_bytes(fields["signature"]))


def _hex_list(texts: object) -> tuple[bytes, ...]:
    if not isinstance(texts, list):
        raise SyncError("acks and notices must be lists")
    return tuple(hex_bytes(text) for text in texts)
