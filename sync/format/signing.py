"""Keys, signatures and hashes, each thing signed in a domain of its own."""

import hashlib
import os
import secrets
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, get_args

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from sync import SyncError

Domain: TypeAlias = Literal[
    "record-hash",
    "record-sig",
    "ack",
    "nack",
    "notice",
    "checkpoint",
    "code",
    "receipt",
    "commit",
    "enrolment",
    "keys",
    "rotation",
    "statement",
    "possession",
    "sidecar",
    "sidecar-ack",
    "access",
]
Algorithm: TypeAlias = Literal["ed25519", "es256"]
SIGNATURE_BYTES = 64
_RAW_BYTES: dict[Algorithm, int] = {"ed25519": 32, "es256": 33}
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # SEC 2 2.4.2
_ES256 = ec.ECDSA(SHA256())
_KEY_FILE_HEADER = "firstvisit-key-v1 ed25519 "


class KeyFileError(SyncError):
    """A key file that is missing, malformed or open to others."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A verification key; its id fixes its algorithm, so no message can choose one.

    raw: for ed25519 a point of 32 bytes; for es256 (ECDSA on P-256 with SHA-256) SEC1's compressed point, 33 bytes.
    """

    raw: bytes
    algorithm: Algorithm = "ed25519"

    def __post_init__(self) -> None:
        wanted = _RAW_BYTES[self.algorithm]
        if len(self.raw) != wanted:
            raise SyncError(f"a public key of {self.algorithm} has {wanted} bytes, this one {len(self.raw)}")
        if self.algorithm == "es256":
            _p256(self.raw)

    @property
    def key_id(self) -> str:
        """The first 32 hex digits of SHA-256 over the text form."""
        return _key_id(self.raw, self.algorithm)

    @property
    def fingerprint(self) -> str:
        """The key id in groups of four, for two people to read to each other."""
        digits = self.key_id
        return " ".join(digits[i : i + 4] for i in range(0, len(digits), 4))

    def __str__(self) -> str:
        return _key_text(self.raw, self.algorithm)

    @classmethod
    def parse(cls, text: str) -> "PublicKey":
        """Read the text form, `ed25519:<64 hex digits>` or `es256:<66>`; raises SyncError naming what is wrong."""
        name, _, digits = text.partition(":")
        algorithm: Algorithm
        match name:
            case "ed25519" | "es256" as algorithm:
                pass
            case _:
                raise SyncError(f"unknown key algorithm {name!r}, expected one of {', '.join(get_args(Algorithm))}")
        try:
            raw = bytes.fromhex(digits)
        except ValueError as error:
            raise SyncError(f"public key {text[:24]!r} is not hexadecimal") from error
        key = cls(raw, algorithm)
        if str(key) != text:
            raise SyncError(f"public key {text[:24]!r} is not written in lower-case hexadecimal")
        return key

    def verify(self, domain: Domain, message: bytes, signature: bytes) -> bool:
        """Whether `signature` (64 bytes) is this key's over `message` in `domain`.

        Small-order Ed25519 keys never verify; of the two ECDSA signatures that one makes the other, only the one with
        the lower s does: what is signed once has one signature.
        """
        if len(signature) != SIGNATURE_BYTES:
            return False
        data = tagged(domain, message)
        if self.algorithm == "es256":
            return _es256_verifies(self.raw, data, signature)
        try:
            VerifyKey(self.raw).verify(data, signature)
        except BadSignatureError:
            return False
        return True


class Signer(Protocol):
    """A private key in use, wherever it lies."""

    @property
    def public(self) -> PublicKey: ...

    def sign(self, domain: Domain, message: bytes) -> bytes:
        """Return the 64-byte signature over `message` in `domain`."""
        ...


@dataclass(frozen=True, slots=True)
class Ed25519Signer:
    """A private key in this process's memory."""

    key: SigningKey

    @property
    def public(self) -> PublicKey:
        return PublicKey(bytes(self.key.verify_key))

    def sign(self, domain: Domain, message: bytes) -> bytes:
        return self.key.sign(tagged(domain, message)).signature

    def __repr__(self) -> str:
        return f"Ed25519Signer({self.public.key_id})"  # never the seed


def tagged(domain: Domain, message: bytes) -> bytes:
    return b"firstvisit/v1/" + domain.encode() + b"\0" + message


def digest(domain: Domain, message: bytes) -> bytes:
    """Return SHA-256 (32 bytes) over `message` in `domain`."""
    return hashlib.sha256(tagged(domain, message)).digest()


def es256_signature(der: bytes) -> bytes:
    """Return r‖s (64 bytes, the lower s) of an ECDSA signature in DER; raises SyncError."""
    try:
        r, s = decode_dss_signature(der)
    except ValueError as error:
        raise SyncError("not an ECDSA signature in DER") from error
    if not (0 < r < _P256_ORDER and 0 < s < _P256_ORDER):
        raise SyncError("an ECDSA signature outside the order of P-256")
    return r.to_bytes(32, "big") + min(s, _P256_ORDER - s).to_bytes(32, "big")


def commitment(salt: bytes, value: bytes) -> bytes:
    """Return the 32-byte commitment to `value` under a salt of 32 bytes."""
    if len(salt) != 32:
        raise SyncError(f"a commitment's salt has 32 bytes, this one {len(salt)}")
    return digest("commit", salt + value)


def create_key_file(path: Path) -> Ed25519Signer:
    """Make a new key at `path` (mode 0600, synced to disk); raises KeyFileError where one exists."""
    key = SigningKey(secrets.token_bytes(32))
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(key_file_text(key))
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise KeyFileError(f"{path}: a key is already there") from error
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be written: {error.strerror}") from error
    return Ed25519Signer(key)


def load_key_file(path: Path) -> Ed25519Signer:
    """Read a key; raises KeyFileError where it is missing, malformed, or readable by everyone."""
    return parse_key_file(private_text(path), path)


def private_text(path: Path) -> str:
    """Read the file of a private key; raises KeyFileError where it is missing or readable by everyone."""
    try:
        text = path.read_text()
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise KeyFileError(f"{path}: no key there") from error
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileError(f"{path}: cannot be read: {error}") from error
    if mode & 0o007:
        raise KeyFileError(f"{path}: a private key that everyone may read (mode {mode & 0o777:o}); chmod 600 it")
    return text


def key_file_text(key: SigningKey) -> str:
    """The text of a key file: its seed, in hexadecimal."""
    return f"{_KEY_FILE_HEADER}{bytes(key).hex()}\n"


def parse_key_file(text: str, path: Path) -> Ed25519Signer:
    """Read `key_file_text` back; raises KeyFileError naming the file."""
    try:
        seed = bytes.fromhex(text.removeprefix(_KEY_FILE_HEADER).strip())
    except ValueError:
        seed = b""
    if not text.startswith(_KEY_FILE_HEADER) or len(seed) != 32:
        raise KeyFileError(f"{path}: not a FirstVisit key file")
    return Ed25519Signer(SigningKey(seed))


def _key_text(raw: bytes, algorithm: Algorithm) -> str:
    return f"{algorithm}:{raw.hex()}"


@lru_cache(maxsize=65_536)  # asked for with every record
def _key_id(raw: bytes, algorithm: Algorithm) -> str:
    return hashlib.sha256(_key_text(raw, algorithm).encode()).hexdigest()[:32]


@lru_cache(maxsize=1024)  # unpacking a point costs half as much as verifying with it
def _p256(raw: bytes) -> ec.EllipticCurvePublicKey:
    if raw[0] not in (2, 3):
        raise SyncError("public key of es256 is not a compressed point")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)
    except ValueError as error:
        raise SyncError("public key of es256 is not a point of P-256") from error


def _es256_verifies(raw: bytes, data: bytes, signature: bytes) -> bool:
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if not (0 < r < _P256_ORDER and 0 < s <= _P256_ORDER // 2):
        return False
    try:
        _p256(raw).verify(encode_dss_signature(r, s), data, _ES256)
    except InvalidSignature:
        return False
    return True
