"""Checkpoints: central's signed word on how long its log is and what it holds, as C2SP signed notes.

    firstvisit/v1/checkpoint/{central}
    {size, decimal}
    {root, base64}

    — firstvisit/v1/checkpoint/{central} {base64 of 4 bytes of key hash and 64 bytes of signature}

Every line ends with a newline. The form is that of c2sp.org/tlog-checkpoint and c2sp.org/signed-note, without extension
lines and with this one signature: Ed25519 over the bytes up to the empty line.
"""

import base64
import hashlib
import re
from dataclasses import dataclass

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from sync import SyncError
from sync.format.merkle import HASH_BYTES
from sync.format.signing import Ed25519Signer, PublicKey

MAX_NOTE_BYTES = 512  # the longest, of a central whose name has 64 characters, is under 360
_ED25519 = 1  # c2sp.org/signed-note: the signature type
_SIZE = re.compile("0|[1-9][0-9]{0,15}")
_MAX_SIZE = 2**53 - 1  # a size stands in canonical JSON too


class BadCheckpoint(SyncError):
    """A checkpoint that is malformed, of another log, or not signed by the key it needs."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's first line, its size in leaves, and the root over them (32 bytes)."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    def seal(self, key: Ed25519Signer) -> str:
        """Return the signed note."""
        # no tag before it, as C2SP has it; the first line can begin no tagged text, in which a NUL ends the domain
        signature = key.key.sign(self.text().encode()).signature
        return self._note(key.public, signature)

    @classmethod
    def parse(cls, note: str, origin: str, key: PublicKey) -> "Checkpoint":
        """Verify and read a note of the log `origin`, written in the one way it can be; raises BadCheckpoint."""
        if len(note.encode(errors="replace")) > MAX_NOTE_BYTES:
            raise BadCheckpoint(f"checkpoint: longer than {MAX_NOTE_BYTES} bytes")
        lines = note.split("\n")
        if len(lines) != 6 or lines[3] or lines[5]:
            raise BadCheckpoint("checkpoint: not three lines, an empty one and one signature")
        if lines[0] != origin:
            raise BadCheckpoint(f"checkpoint: of the log {lines[0]!r}, not of {origin!r}")
        if not _SIZE.fullmatch(lines[1]) or int(lines[1]) > _MAX_SIZE:
            raise BadCheckpoint(f"checkpoint: {lines[1]!r} is not a size")
        root, signed = _unbase64(lines[2]), _unbase64(lines[4].rpartition(" ")[2])
        if len(root) != HASH_BYTES or len(signed) != 4 + 64:
            raise BadCheckpoint("checkpoint: root or signature has the wrong length")
        found = cls(origin, int(lines[1]), root)
        if key.algorithm != "ed25519" or found._note(key, signed[4:]) != note:
            raise BadCheckpoint(f"checkpoint: not signed by key {key.key_id}, or not in the one form")
        try:
            VerifyKey(key.raw).verify(found.text().encode(), signed[4:])
        except BadSignatureError as error:
            raise BadCheckpoint(f"checkpoint: not signed by key {key.key_id}") from error
        return found

    def _note(self, key: PublicKey, signature: bytes) -> str:
        signed = base64.b64encode(key_hash(self.origin, key) + signature).decode()
        return f"{self.text()}\n— {self.origin} {signed}\n"


def origin_of(central_id: str) -> str:
    """The first line of a central's checkpoints, which is its key's name too."""
    return f"firstvisit/v1/checkpoint/{central_id}"


def key_hash(name: str, key: PublicKey) -> bytes:
    """c2sp.org/signed-note: the 4 bytes by which a signature line names its key."""
    return hashlib.sha256(name.encode() + b"\n" + bytes([_ED25519]) + key.raw).digest()[:4]


def verifier_key(name: str, key: PublicKey) -> str:
    """c2sp.org/signed-note: the key as other tools for signed notes read it."""
    return f"{name}+{key_hash(name, key).hex()}+{base64.b64encode(bytes([_ED25519]) + key.raw).decode()}"


def _unbase64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise BadCheckpoint("checkpoint: not base64") from error
