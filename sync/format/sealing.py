"""Central's sealing key, X25519: what nodes seal to it (NaCl's SealedBox) only its private half can read."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, SealedBox
from nacl.public import PublicKey as BoxKey

from sync import SyncError
from sync.format.canonical import hex_bytes
from sync.format.signing import KeyFileError, private_text

_ALGORITHM = "x25519"
_KEY_BYTES = 32
_FILE_HEADER = "firstvisit-key-v1 x25519 "


class SealBroken(SyncError):
    """A box that this key does not open: it was sealed to another, or damaged."""


@dataclass(frozen=True, slots=True)
class SealingKey:
    """The public half; raw: 32 bytes, a point of Curve25519."""

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != _KEY_BYTES:
            raise SyncError(f"a sealing key has {_KEY_BYTES} bytes, this one {len(self.raw)}")

    def __str__(self) -> str:
        return f"{_ALGORITHM}:{self.raw.hex()}"

    @property
    def key_id(self) -> str:
        """The first 32 hex digits of SHA-256 over the text form, as of keys that sign."""
        return hashlib.sha256(str(self).encode()).hexdigest()[:32]

    @classmethod
    def parse(cls, text: str) -> "SealingKey":
        """Read the text form, `x25519:<64 hex digits>`; raises SyncError naming what is wrong."""
        name, _, digits = text.partition(":")
        if name != _ALGORITHM:
            raise SyncError(f"unknown sealing algorithm {name[:24]!r}, expected {_ALGORITHM}")
        try:
            return cls(hex_bytes(digits))
        except SyncError as error:
            raise SyncError(f"sealing key {text[:24]!r}: {error}") from error

    def seal(self, plain: bytes) -> bytes:
        """Return `plain` so that only the private half reads it, 48 bytes longer; each time another text."""
        return SealedBox(BoxKey(self.raw)).encrypt(plain)


@dataclass(frozen=True, slots=True)
class UnsealingKey:
    """The private half, in this process's memory."""

    key: PrivateKey

    @property
    def public(self) -> SealingKey:
        return SealingKey(bytes(self.key.public_key))

    def open(self, sealed: bytes) -> bytes:
        """Read what `SealingKey.seal` gave; raises SealBroken."""
        try:
            return SealedBox(self.key).decrypt(sealed)
        except (CryptoError, ValueError, TypeError) as error:
            raise SealBroken(f"not sealed to key {self.public.key_id}, or damaged") from error

    def __repr__(self) -> str:
        return f"UnsealingKey({self.public.key_id})"  # never the secret


def create_sealing_key(folder: Path) -> UnsealingKey:
    """Make a new key as `seal-<key id>.key` in a folder (mode 0600, synced): an older one beside it stays readable."""
    key = UnsealingKey(PrivateKey.generate())
    path = sealing_key_path(folder, key.public)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(f"{_FILE_HEADER}{bytes(key.key).hex()}\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be written: {error.strerror}") from error
    return key


def sealing_key_path(folder: Path, key: SealingKey | str) -> Path:
    """Where the private half of a key, or of a key id, lies."""
    return folder / f"seal-{key if isinstance(key, str) else key.key_id}.key"


def load_sealing_key(path: Path) -> UnsealingKey:
    """Read a key; raises KeyFileError where it is missing, malformed, or readable by everyone."""
    text = private_text(path)
    try:
        return UnsealingKey(PrivateKey(hex_bytes(text.removeprefix(_FILE_HEADER).strip())))
    except (SyncError, ValueError, TypeError, CryptoError) as error:
        raise KeyFileError(f"{path}: not a FirstVisit sealing key") from error
