"""Keys, signatures and hashes, each thing signed in a domain of its own."""

import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from sync import SyncError

Domain: TypeAlias = Literal[
    "record-hash", "record-sig", "ack", "nack", "notice", "checkpoint", "code", "receipt", "commit", "enrolment", "keys"
]
SIGNATURE_BYTES = 64
_KEY_FILE_HEADER = "firstvisit-key-v1 ed25519 "


class KeyFileError(SyncError):
    """A key file that is missing, malformed or open to others."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A verification key; its id fixes its algorithm, so no message can choose one.

    raw: 32 bytes, an Ed25519 point.
    """

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != 32:
            raise SyncError(f"an Ed25519 public key has 32 bytes, this one {len(self.raw)}")

    @property
    def key_id(self) -> str:
        """The first 32 hex digits of SHA-256 over the text form."""
        return hashlib.sha256(str(self).encode()).hexdigest()[:32]

    @property
    def fingerprint(self) -> str:
        """The key id in groups of four, for two people to read to each other."""
        digits = self.key_id
        return " ".join(digits[i : i + 4] for i in range(0, len(digits), 4))

    def __str__(self) -> str:
        return f"ed25519:{self.raw.hex()}"

    @classmethod
    def parse(cls, text: str) -> "PublicKey":
        """Read the text form `ed25519:<64 hex digits>`; raises SyncError naming what is wrong."""
        algorithm, _, digits = text.partition(":")
        if algorithm != "ed25519":
            raise SyncError(f"unknown key algorithm {algorithm!r}, expected ed25519")
        try:
            raw = bytes.fromhex(digits)
        except ValueError as error:
            raise SyncError(f"public key {text[:24]!r} is not hexadecimal") from error
        key = cls(raw)
        if str(key) != text:
            raise SyncError(f"public key {text[:24]!r} is not written in lower-case hexadecimal")
        return key

    def verify(self, domain: Domain, message: bytes, signature: bytes) -> bool:
        """Whether `signature` (64 bytes) is this key's over `message` in `domain`; small-order keys never verify."""
        if len(signature) != SIGNATURE_BYTES:
            return False
        try:
            VerifyKey(self.raw).verify(tagged(domain, message), signature)
        except BadSignatureError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key in use."""

    key: SigningKey

    @property
    def public(self) -> PublicKey:
        return PublicKey(bytes(self.key.verify_key))

    def sign(self, domain: Domain, message: bytes) -> bytes:
        """Return the 64-byte signature over `message` in `domain`."""
        return self.key.sign(tagged(domain, message)).signature

    def __repr__(self) -> str:
        return f"Signer({self.public.key_id})"  # never the seed


def tagged(domain: Domain, message: bytes) -> bytes:
    return b"firstvisit/v1/" + domain.encode() + b"\0" + message


def digest(domain: Domain, message: bytes) -> bytes:
    """Return SHA-256 (32 bytes) over `message` in `domain`."""
    return hashlib.sha256(tagged(domain, message)).digest()


def commitment(salt: bytes, value: bytes) -> bytes:
    """Return the 32-byte commitment to `value` under a salt of 32 bytes."""
    if len(salt) != 32:
        raise SyncError(f"a commitment's salt has 32 bytes, this one {len(salt)}")
    return digest("commit", salt + value)


def create_key_file(path: Path) -> Signer:
    """Make a new key at `path` (mode 0600, synced to disk); raises KeyFileError where one exists."""
    key = SigningKey(secrets.token_bytes(32))
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(f"{_KEY_FILE_HEADER}{bytes(key).hex()}\n")
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise KeyFileError(f"{path}: a key is already there") from error
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be written: {error.strerror}") from error
    return Signer(key)


def load_key_file(path: Path) -> Signer:
    """Read a key; raises KeyFileError where it is missing, malformed, or readable by everyone."""
    try:
        text = path.read_text()
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise KeyFileError(f"{path}: no key there") from error
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileError(f"{path}: cannot be read: {error}") from error
    if mode & 0o007:
        raise KeyFileError(f"{path}: a private key that everyone may read (mode {mode & 0o777:o}); chmod 600 it")
    try:
        seed = bytes.fromhex(text.removeprefix(_KEY_FILE_HEADER).strip())
    except ValueError:
        seed = b""
    if not text.startswith(_KEY_FILE_HEADER) or len(seed) != 32:
        raise KeyFileError(f"{path}: not a FirstVisit key file")
    return Signer(SigningKey(seed))
