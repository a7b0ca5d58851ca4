"""Codes that central signs and people show at a desk: a report of one customer, an agent's own, a site's for walk-ins.

Text: `FVC1` and base32 (RFC 4648 6, without padding) of the body and its signature, 64 bytes, by central's code key in
domain `code`. Capital letters and digits only: the alphanumeric mode of QR codes, no key that a scanner posing as a
keyboard has to shift, and no letter whose case matters where Caps Lock is on.

Body, big-endian; times are seconds since 1970 UTC, ids random, an absent agency is zeros:

    u8 version 1 | u8 kind (1 report, 2 agent, 3 site) | u32 made | u32 until
    report: id, 8 | agent, 8 | agency, 8 | salt, 8 | fit, 8          agent: agent, 8 | agency, 8
    u8 count | count × ( u8 length | site, ASCII )                   where it may be shown; none: at every site

What a code is known by is its *hash*, `digest("code", body)`: the same under whichever code key it was signed.
"""

import base64
import binascii
import hashlib
import hmac
import re
import struct
import unicodedata
from dataclasses import dataclass
from typing import Literal, TypeAlias

from sync import SyncError
from sync.format.records import valid_name
from sync.format.signing import SIGNATURE_BYTES, PublicKey, Signer, digest

CodeKind: TypeAlias = Literal["report", "agent", "site"]
PREFIX = "FVC1"
VERSION = 1
MAX_TEXT = 1024  # letters; eight sites of 64 letters fit, and a QR code of that size is no longer read anyway
MAX_SITES = 8
SALT_BYTES = ID_BYTES = FIT_BYTES = 8
_KINDS: tuple[CodeKind, ...] = ("report", "agent", "site")
_HEAD = struct.Struct(">BBII")
_NO_ID = bytes(ID_BYTES)
_FIT, _SUBJECT = b"firstvisit/v1/code-fit\0", b"firstvisit/v1/report-subject\0"
_DIGITS = re.compile(r"[0-9]{2,7}")
_SCRYPT = {"n": 2**14, "r": 8, "p": 1}  # 41 ms and 16 MiB a try on the machine of README.md: a desk waits for one


class BadCode(SyncError):
    """A text that is no code of ours, or a damaged one; the text says what is wrong."""


def fit_of(salt: bytes, digits: str) -> bytes:
    """What a report says of its customer: 8 bytes of scrypt over the digits reported, under the code's own salt.

    digits: the first three and the last four of a number. There are some 500,000 of them: whoever holds the code and is
    willing to spend 41 ms a try, six hours of one processor, finds them. The four digits between are not in it.
    """
    if not _DIGITS.fullmatch(digits):
        raise BadCode("digits reported: the first three and the last four of a number")
    return hashlib.scrypt(digits.encode(), salt=_FIT + salt, dklen=FIT_BYTES, maxmem=2**26, **_SCRYPT)


def subject_of(key: bytes, digits: str) -> str:
    """How notices name the customer whose digits were reported: 64 hex digits, the same in every report.

    key: 32 bytes that central and its desks share. Whoever has it can try all digits in a second: it is as secret as
    what it hides.
    """
    if not _DIGITS.fullmatch(digits):
        raise BadCode("digits reported: the first three and the last four of a number")
    return hmac.digest(key, _SUBJECT + digits.encode(), "sha256").hex()


@dataclass(frozen=True, slots=True)
class Code:
    """What a code says. until_us: it is good before that. sites: where; none, at every site of its central.

    report_id, salt and fit of a report only, agent_id of a report and an agent; agency_id may be unknown.
    """

    kind: CodeKind
    made_us: int
    until_us: int
    sites: tuple[str, ...] = ()
    report_id: str | None = None
    agent_id: str | None = None
    agency_id: str | None = None
    salt: bytes = b""
    fit: bytes = b""

    def __post_init__(self) -> None:
        if (self.kind == "report") != (self.report_id is not None) or (self.kind == "site") != (self.agent_id is None):
            raise BadCode(f"code: not the ids of a code of kind {self.kind}")
        for moment_us in (self.made_us, self.until_us):
            if moment_us % 1_000_000 or not 0 <= moment_us < 2**32 * 1_000_000:
                raise BadCode("code: times are whole seconds, before the year 2106")
        if self.until_us <= self.made_us:
            raise BadCode("code: it is good until before it was made")
        if self.kind == "site" and not self.sites:
            raise BadCode("code: a site's code names a site")
        if len(self.sites) > MAX_SITES or list(self.sites) != sorted({*self.sites}):
            raise BadCode(f"code: sites are at most {MAX_SITES}, in order, none twice")
        for site in self.sites:
            if not valid_name(site):
                raise BadCode(f"code: site {site[:64]!r} is not a name")
        if self.kind == "report" and (len(self.salt), len(self.fit)) != (SALT_BYTES, FIT_BYTES):
            raise BadCode("code: a report says whom it fits")

    @property
    def hash(self) -> str:
        """What records and notices know it by: 64 hex digits."""
        return digest("code", self.body()).hex()

    def fits(self, digits: str) -> bool:
        """Whether a report is of somebody with these digits; takes as long as one try of `fit_of`."""
        return hmac.compare_digest(fit_of(self.salt, digits), self.fit)

    def body(self) -> bytes:
        """The bytes that are signed."""
        parts = [_HEAD.pack(VERSION, _KINDS.index(self.kind) + 1, self.made_us // 10**6, self.until_us // 10**6)]
        if self.report_id is not None:
            parts.append(_raw(self.report_id, "rep"))
        if self.agent_id is not None:
            parts += [_raw(self.agent_id, "agt"), _NO_ID if self.agency_id is None else _raw(self.agency_id, "agc")]
        parts += [self.salt, self.fit, bytes([len(self.sites)])]
        parts += [bytes([len(site)]) + site.encode() for site in self.sites]
        return b"".join(parts)

    @classmethod
    def parse(cls, body: bytes) -> "Code":
        """Read `body()` back; raises BadCode."""
        reader = _Reader(body)
        version, number, made_s, until_s = _HEAD.unpack(reader.take(_HEAD.size))
        if version != VERSION:
            raise BadCode(f"code: version {version}, this one reads {VERSION}")
        if not 1 <= number <= len(_KINDS):
            raise BadCode(f"code: kind {number} is not known to this version")
        kind = _KINDS[number - 1]
        report_id = reader.id("rep") if kind == "report" else None
        agent_id, agency_id = (reader.id("agt"), reader.id("agc")) if kind != "site" else (None, None)
        salt, fit = (reader.take(SALT_BYTES), reader.take(FIT_BYTES)) if kind == "report" else (b"", b"")
        sites = tuple(reader.name() for _ in range(reader.take(1)[0]))
        if reader.left:
            raise BadCode("code: longer than it says")
        return cls(kind, made_s * 10**6, until_s * 10**6, sites, report_id, agent_id, agency_id, salt, fit)

    def seal(self, key: Signer) -> "SignedCode":
        """key: central's code key."""
        return SignedCode(self, key.sign("code", self.body()))


@dataclass(frozen=True, slots=True)
class SignedCode:
    """A code as it is shown; nothing about its signature is believed yet."""

    code: Code
    signature: bytes

    def text(self) -> str:
        return PREFIX + base64.b32encode(self.code.body() + self.signature).decode().rstrip("=")

    def signed_by(self, key: PublicKey) -> bool:
        return key.verify("code", self.code.body(), self.signature)

    @classmethod
    def parse(cls, text: str) -> "SignedCode":
        """Read `text()` back, however a scanner has typed it; raises BadCode where it is no code of ours, or torn."""
        typed = typed_text(text)
        if not is_ours(typed):
            raise BadCode(f"not a code of ours: it does not begin with {PREFIX}")
        if len(typed) > MAX_TEXT:
            raise BadCode("code: too long")
        letters = typed.removeprefix(PREFIX)
        try:
            data = base64.b32decode(letters + "=" * (-len(letters) % 8))
        except (binascii.Error, ValueError) as error:
            raise BadCode("code: not base32, or cut short") from error
        if len(data) <= SIGNATURE_BYTES:
            raise BadCode("code: cut short")
        made = cls(Code.parse(data[:-SIGNATURE_BYTES]), data[-SIGNATURE_BYTES:])
        if made.text() != typed:
            raise BadCode("code: not as it is written")
        return made


def typed_text(text: str) -> str:
    """A code's letters as they were printed: whole width undone, in capitals, without spaces.

    An input method for Chinese makes Ａ of A, Caps Lock makes a of it.
    """
    return "".join(unicodedata.normalize("NFKC", text).upper().split())


def is_ours(text: str) -> bool:
    """Whether a text means to be one of these codes, torn or not."""
    return typed_text(text[: 2 * len(PREFIX)]).startswith(PREFIX)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        if self.left < size:
            raise BadCode("code: cut short")
        self._at += size
        return self._data[self._at - size : self._at]

    def id(self, what: str) -> str | None:
        raw = self.take(ID_BYTES)
        return f"{what}-{raw.hex()}" if raw != _NO_ID else None

    def name(self) -> str:
        try:
            return self.take(self.take(1)[0]).decode("ascii")
        except UnicodeDecodeError as error:
            raise BadCode("code: a site's name is not ASCII") from error


def is_id(text: str, what: str) -> bool:
    """Whether a text is an id as central gives them out; what: `rep`, `agt`, `agc`."""
    fits = re.fullmatch(f"{what}-[0-9a-f]{{{2 * ID_BYTES}}}", text) is not None
    return fits and not text.endswith("-" + _NO_ID.hex())


def _raw(id_: str, what: str) -> bytes:
    """The bytes of an id; raises BadCode."""
    if not is_id(id_, what):
        raise BadCode(f"code: {id_[:40]!r} is not {what}- and {2 * ID_BYTES} hex digits")
    return bytes.fromhex(id_.partition("-")[2])
