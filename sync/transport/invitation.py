"""An invitation: the one text that a node needs to find its central, to know it again, and to be let in once."""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field

from sync import SyncError

PREFIX = "fv1-invite:"
VALID_S = 15 * 60
TOKEN_BYTES = 32
_VERSION = b"\x01"
_CHECK_BYTES = 4
_ROOT_BYTES = 16  # a key id is the first half of SHA-256
_FIXED = len(_VERSION) + TOKEN_BYTES + 32 + _ROOT_BYTES
_SERVER = re.compile(r"https://[^/@\s]+")
MAX_CHARS = 2000


@dataclass(frozen=True, slots=True)
class Invitation:
    """Where central's API is, who central is, and the token that lets one node ask.

    server: `https://host:port`. token: 32 secret bytes, good once. ca_sha256: of the certificate (DER) of central's
    authority. root: key id of central's root key. uplink: what becomes uplink.broker.
    """

    server: str
    token: bytes = field(repr=False)
    ca_sha256: bytes
    root: str
    uplink: str

    @property
    def token_sha256(self) -> bytes:
        """What central keeps of the token, and what the node asks by afterwards."""
        return hashlib.sha256(self.token).digest()

    def text(self) -> str:
        """`fv1-invite:` and base64url, without padding, of

            01 | token, 32 | ca_sha256, 32 | root, 16 | server, UTF-8 | 0a | uplink, UTF-8 | check, 4

        check: the first bytes of SHA-256 over all before it, so that a text cut short is told from a wrong one.
        """
        head = _VERSION + self.token + self.ca_sha256 + bytes.fromhex(self.root)
        body = head + f"{self.server}\n{self.uplink}".encode()
        return PREFIX + base64.urlsafe_b64encode(body + _check(body)).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> "Invitation":
        """Read `text()`, blanks and line breaks within it ignored; raises SyncError, never quoting the token."""
        text = "".join(text.split())
        if not text.startswith(PREFIX) or len(text) > MAX_CHARS:
            raise SyncError(f"invitation: it begins with {PREFIX} (firstvisit central invite prints one)")
        encoded = text.removeprefix(PREFIX)
        try:
            data = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise SyncError("invitation: damaged: not base64url") from error
        body, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
        if check != _check(body):
            raise SyncError("invitation: damaged or not all of it")
        if body[:1] != _VERSION:
            raise SyncError("invitation: of a version that this one does not read")
        try:
            server, uplink = body[_FIXED:].decode().split("\n")
        except ValueError as error:
            raise SyncError("invitation: malformed") from error
        if not _SERVER.fullmatch(server) or not uplink:
            raise SyncError("invitation: names no server")
        at = len(_VERSION)
        token, ca, root = body[at : at + 32], body[at + 32 : at + 64], body[at + 64 : _FIXED]
        invitation = cls(server, token, ca, root.hex(), uplink)
        if invitation.text() != text:
            raise SyncError("invitation: malformed")
        return invitation


def _check(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:_CHECK_BYTES]
