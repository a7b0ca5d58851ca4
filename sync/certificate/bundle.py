"""The certificate bundle: everything a stranger needs to check one visit, in one canonical JSON and a zip around it.

`bundle.json` is one canonical object: `{"acks":[hex,...],"central_pub":text,"format":"firstvisit-certificate",
"node_pub":text,"notices":[hex,...],"records":[{"body":text,"signature":hex},...],"statements":[hex,...],"v":1,
"visit":text}`, with `enrolments` (texts of the node's later enrolments) where there are any. Records stand in chain
order. The zip holds `bundle.json`, and for people `certificate.pdf` and `README.txt`; only `bundle.json` is evidence.
"""

import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sync import SyncError
from sync.format import canonical
from sync.format.canonical import Fields, hex_bytes
from sync.format.public_keys import Enrolment
from sync.format.wire import SignedBody

FORMAT = "firstvisit-certificate"
VERSION = 1
MEMBER = "bundle.json"
MAX_BUNDLE_BYTES = 64 * 1024**2
_KEYS = frozenset(
    ("acks", "central_pub", "format", "node_pub", "notices", "records", "statements", "v", "visit")
)  # and `enrolments`, where there are any
_ZIP_DATE = (2026, 1, 1, 0, 0, 0)  # the same content always gives the same file
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, KeyError)


class BadBundle(SyncError):
    """A file that is no certificate bundle; the text names it and says where it stops being one."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a certificate rests on, nothing about it believed.

    visit: the id it is for. node_pub, central_pub, enrolments: the texts of these files. notices: central's about keys
    and accounts; statements: from central's log; acks: central's, in any order; all as signed. records: in chain order.
    """

    visit: str
    node_pub: str
    central_pub: str
    notices: tuple[bytes, ...]
    statements: tuple[bytes, ...]
    acks: tuple[bytes, ...]
    records: tuple[SignedBody, ...]
    enrolments: tuple[str, ...] = ()

    def enrolment_in(self, epoch: int) -> str:
        """The text of the enrolment that counts in an epoch; raises BadMessage where one is damaged."""
        earlier = [text for text in (self.node_pub, *self.enrolments) if Enrolment.parse_text(text).epoch <= epoch]
        return max(earlier, key=lambda text: Enrolment.parse_text(text).epoch, default=self.node_pub)

    def encode(self) -> bytes:
        """The bytes of `bundle.json`."""
        fields: Fields = {
            "format": FORMAT,
            "v": VERSION,
            "visit": self.visit,
            "node_pub": self.node_pub,
            "central_pub": self.central_pub,
            "notices": [data.hex() for data in self.notices],
            "statements": [data.hex() for data in self.statements],
            "acks": [data.hex() for data in self.acks],
            "records": [{"body": record.body.decode(), "signature": record.signature.hex()} for record in self.records],
        }
        if self.enrolments:
            fields["enrolments"] = list(self.enrolments)
        return canonical.encode(fields)

    @classmethod
    def parse(cls, data: bytes) -> "Bundle":
        """Read `encode()` back; raises SyncError."""
        fields = canonical.decode(data)
        if fields.get("format") != FORMAT:
            raise SyncError("not a certificate bundle")
        if fields.get("v") != VERSION:
            raise SyncError(f"version {fields.get('v')!r}, this one reads {VERSION}")
        if fields.keys() - {"enrolments"} != _KEYS:
            raise SyncError("other keys than a bundle has")
        texts = {name: fields[name] for name in ("visit", "node_pub", "central_pub")}
        if odd := [name for name, text in texts.items() if not isinstance(text, str)]:
            raise SyncError(f"{odd[0]} is not a text")
        return cls(
            **texts,
            notices=_all_hex(fields, "notices"),
            statements=_all_hex(fields, "statements"),
            acks=_all_hex(fields, "acks"),
            records=tuple(_record(number, one) for number, one in enumerate(_list(fields, "records"), 1)),
            enrolments=_enrolments(fields),
        )


def zipped(bundle: bytes, others: Mapping[str, bytes]) -> bytes:
    """Return the bundle's zip, `bundle.json` first; the same content gives the same bytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in ((MEMBER, bundle), *others.items()):
            member = zipfile.ZipInfo(name, _ZIP_DATE)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = 0o644 << 16
            archive.writestr(member, data)
    return packed.getvalue()


def read_bundle(path: Path) -> Bundle:
    """Read a bundle's zip, or a `bundle.json` alone; raises BadBundle."""
    try:
        return Bundle.parse(_bytes(path))
    except OSError as error:
        raise BadBundle(f"{path}: {error.strerror}") from error
    except BadBundle:
        raise
    except SyncError as error:
        raise BadBundle(f"{path}: {error}") from error


def is_bundle(path: Path) -> bool:
    """Whether a file looks like a bundle's zip or a `bundle.json`."""
    if zipfile.is_zipfile(path):
        return True
    with path.open("rb") as file:
        head = file.read(2)
        return head == b"PK" or (head == b'{"' and f'"format":"{FORMAT}"'.encode() in file.read(MAX_BUNDLE_BYTES))


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            file.seek(0)
            data = file.read(MAX_BUNDLE_BYTES + 1)
        else:
            try:
                with zipfile.ZipFile(file) as archive, archive.open(MEMBER) as member:
                    if archive.namelist().count(MEMBER) != 1:
                        raise BadBundle(f"{path}: holds {MEMBER} more than once")
                    data = member.read(MAX_BUNDLE_BYTES + 1)  # which checks its CRC at the end
            except _UNREADABLE as error:
                raise BadBundle(f"{path}: not a certificate bundle: {error}") from error
    if len(data) > MAX_BUNDLE_BYTES:
        raise BadBundle(f"{path}: larger than {MAX_BUNDLE_BYTES} bytes")
    return data


def _list(fields: Fields, name: str) -> list[object]:
    values = fields[name]
    if not isinstance(values, list):
        raise SyncError(f"{name} is not a list")
    return values


def _all_hex(fields: Fields, name: str) -> tuple[bytes, ...]:
    try:
        return tuple(hex_bytes(text) for text in _list(fields, name))
    except SyncError as error:
        raise SyncError(f"{name}: {error}") from error


def _enrolments(fields: Fields) -> tuple[str, ...]:
    if "enrolments" not in fields:
        return ()
    values = _list(fields, "enrolments")
    texts = tuple(value for value in values if isinstance(value, str))
    if not texts or len(texts) != len(values):
        raise SyncError("enrolments is not a list of texts")
    return texts


def _record(number: int, fields: object) -> SignedBody:
    if not isinstance(fields, dict) or fields.keys() != {"body", "signature"} or not isinstance(fields["body"], str):
        raise SyncError(f"record {number} is not one")
    return SignedBody(fields["body"].encode(), hex_bytes(fields["signature"]))
