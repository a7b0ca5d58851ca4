"""Keys that are made in a TPM and never leave it, through tpm2-tools: ES256 under a persistent handle.

The key file holds no secret of the signature, only what this TPM needs to use its own key: `firstvisit-key-v1 tpm2`,
the public key, the handle, and the password without which nobody else who may open the device can sign with it.
Which TPM: as tpm2-tools choose, /dev/tpmrm0 mostly; the environment's TPM2TOOLS_TCTI names another.
"""

import hashlib
import logging
import os
import re
import secrets
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from edge import EdgeError
from sync import SyncError
from sync.format.signing import Domain, PublicKey, es256_signature, tagged
from sync.storage.files import write_durably

log = logging.getLogger(__name__)

_HEADER = "firstvisit-key-v1 tpm2"
_TIMEOUT_S = 20.0  # a slow discrete TPM needs a second or two for a key, a busy one waits its turn
_PRIMARY = ("-C", "o", "-G", "ecc256:aes128cfb", "-g", "sha256")
_ATTRIBUTES = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|sign"
_HANDLE = re.compile(r"persistent-handle: (0x[0-9a-f]{8})")


class TpmError(EdgeError):
    """A TPM, or the tools for it, that did not do what was asked; one line."""


@dataclass(frozen=True, slots=True)
class TpmSigner:
    """A key in the TPM; each signature is one run of tpm2_sign."""

    public: PublicKey
    handle: str
    password: str

    def sign(self, domain: Domain, message: bytes) -> bytes:
        """Return the 64-byte signature; raises TpmError."""
        digest = hashlib.sha256(tagged(domain, message)).digest()
        der = _run(
            ("tpm2_sign", "-c", self.handle, "-g", "sha256", "-s", "ecdsa", "-f", "plain", "-d"),
            ("-o", "/dev/stdout", "-Q"),
            password=self.password,
            stdin=digest,
        )
        try:
            return es256_signature(der)
        except SyncError as error:
            raise TpmError(f"tpm2_sign: {error}") from error

    def __repr__(self) -> str:
        return f"TpmSigner({self.public.key_id})"  # never the password


def create_tpm_key(path: Path) -> TpmSigner:
    """Make a key in the TPM and the file that names it (mode 0600, durable); raises TpmError or SyncError."""
    password = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="firstvisit-tpm-") as folder:
        primary, public, private, context = (f"{folder}/{name}" for name in ("primary", "public", "private", "key"))
        _run(("tpm2_createprimary", *_PRIMARY, "-c", primary, "-Q"))
        with _flushed():
            _run(
                ("tpm2_create", "-C", primary, "-G", "ecc256:ecdsa-sha256", "-g", "sha256", "-a", _ATTRIBUTES),
                ("-u", public, "-r", private, "-Q"),
                password=password,
            )
        with _flushed():
            _run(("tpm2_load", "-C", primary, "-u", public, "-r", private, "-c", context, "-Q"))
        with _flushed():
            told = _run(("tpm2_evictcontrol", "-C", "o", "-c", context)).decode(errors="replace")
    found = _HANDLE.search(told)
    if found is None:
        raise TpmError(f"tpm2_evictcontrol: no handle in its answer {told.strip()[:80]!r}")
    signer = TpmSigner(_public_of(found[1]), found[1], password)
    write_durably(path, f"{_HEADER} {signer.public} {signer.handle} {password}\n", 0o600)
    return signer


def load_tpm_key(path: Path) -> TpmSigner:
    """Read the file of a TPM key and look that the TPM still holds that very key; raises TpmError naming the file."""
    try:
        text, mode = path.read_text(), path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise TpmError(f"{path}: cannot be read: {error}") from error
    if mode & 0o007:
        raise TpmError(f"{path}: the password of a key that everyone may read (mode {mode & 0o777:o}); chmod 600 it")
    parts = text.removeprefix(_HEADER).split()
    if not text.startswith(_HEADER) or len(parts) != 3:
        raise TpmError(f"{path}: not a FirstVisit key file of a TPM")
    public, handle, password = parts
    try:
        held = _public_of(handle)
        signer = TpmSigner(PublicKey.parse(public), handle, password)
    except (SyncError, TpmError) as error:
        raise TpmError(f"{path}: {error}") from error
    if held != signer.public:
        raise TpmError(f"{path}: the TPM holds another key under {handle}: was it replaced or cleared?")
    return signer


def retire_tpm_key(path: Path) -> Callable[[], None]:
    """Return what makes the TPM forget the key of a file, for when the file is gone.

    A TPM that was replaced or cleared has forgotten it already; one that is away keeps it, and nobody the password.
    """
    try:
        handle = load_tpm_key(path).handle
    except TpmError as error:
        log.warning("key not to be removed from the TPM reason=%s", error)
        return lambda: None

    def forget() -> None:
        try:
            _run(("tpm2_evictcontrol", "-C", "o", "-c", handle, "-Q"))
        except TpmError as error:
            log.warning("key not removed from the TPM reason=%s", error)

    return forget


def _public_of(handle: str) -> PublicKey:
    data = _run(("tpm2_readpublic", "-c", handle, "-f", "der", "-o", "/dev/stdout", "-Q"))
    try:
        key = load_der_public_key(data)
    except ValueError as error:
        raise TpmError(f"tpm2_readpublic: no public key under {handle}") from error
    if not isinstance(key, EllipticCurvePublicKey):
        raise TpmError(f"the TPM's key under {handle} is not on P-256")
    return PublicKey(key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint), "es256")


@contextmanager
def _flushed() -> Iterator[None]:
    """Leave no object behind: a TPM without a resource manager holds three."""
    _run(("tpm2_flushcontext", "-t"))
    try:
        yield
    finally:
        _run(("tpm2_flushcontext", "-t"))


def _run(command: Sequence[str], rest: Sequence[str] = (), password: str | None = None, stdin: bytes = b"") -> bytes:
    """Run one of tpm2-tools and return what it wrote; raises TpmError with its last words.

    password: of the key, handed over in memory: on the command line every user of the machine could read it.
    """
    with ExitStack() as stack:
        words, passed = [*command], list[int]()
        if password is not None:
            handle = os.memfd_create("password")
            stack.callback(os.close, handle)
            os.write(handle, password.encode())
            os.lseek(handle, 0, os.SEEK_SET)
            words += ["-p", f"file:/dev/fd/{handle}"]
            passed.append(handle)
        try:
            done = subprocess.run(
                [*words, *rest], input=stdin, capture_output=True, timeout=_TIMEOUT_S, pass_fds=passed, check=False
            )
        except FileNotFoundError as error:
            raise TpmError(f"{command[0]}: not installed (Debian package tpm2-tools)") from error
        except subprocess.TimeoutExpired as error:
            raise TpmError(f"{command[0]}: no answer from the TPM in {_TIMEOUT_S:.0f} s") from error
    if done.returncode:
        raise TpmError(f"{command[0]}: {_why(done.stderr.decode(errors='replace'))}")
    return done.stdout


def _why(told: str) -> str:
    """The first complaint that is not of the tools' own source lines."""
    lines = [line.removeprefix("ERROR: ").strip() for line in told.splitlines() if line.startswith("ERROR: ")]
    return lines[0] if lines else (told.strip().splitlines() or ["it gave no reason"])[-1]
