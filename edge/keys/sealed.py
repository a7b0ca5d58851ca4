"""Files that leave the box: age (age-encryption.org/v1), which anybody's `age` opens, in one envelope.

The envelope is a plain tar. Under a passphrase it holds `identity.age`, a key made for this one file and encrypted with
the passphrase, and `content.age`, encrypted to that key; for a recipient only the second. By hand:
`tar xf FILE; age -d -i identity.age content.age | tar t`. Content is a tar again; both go through in a stream.
"""

import os
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import pyrage

from edge import EdgeError
from sync.storage.files import read_text, sync_folder

IDENTITY, CONTENT = "identity.age", "content.age"
MIN_PASSPHRASE = 12  # characters, as of the accounts' passwords
_MAX_WRAPPED_BYTES = 8192
_BLOCK = 512  # of a tar


class SealError(EdgeError):
    """A sealed file, passphrase, recipient or identity that cannot be used; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Lock:
    """To whom something is encrypted: an age recipient (age1…), with the passphrase that guards its identity, if any.

    wrapped: that identity, encrypted with the passphrase; empty where the recipient's owner keeps it.
    """

    recipient: str
    wrapped: bytes = b""

    @classmethod
    def of_recipient(cls, text: str) -> "Lock":
        """Raises SealError where the text is no age recipient."""
        return cls(str(_recipient(text)))

    @classmethod
    def of_passphrase(cls, passphrase: str) -> "Lock":
        """Make an identity and guard it by the passphrase, which takes a second on purpose."""
        identity = pyrage.x25519.Identity.generate()
        wrapped = pyrage.passphrase.encrypt(str(identity).encode(), passphrase, armored=True)
        return cls(str(identity.to_public()), wrapped)

    def encrypt(self, plain: bytes) -> bytes:
        """Encrypt something small."""
        return bytes(pyrage.encrypt(plain, [_recipient(self.recipient)]))


@dataclass(frozen=True, slots=True)
class Secret:
    """What opens it again: a passphrase, or the text of an age identity (AGE-SECRET-KEY-1…)."""

    passphrase: str | None = None
    identity: str | None = None

    def opener(self, wrapped: bytes, name: str) -> "Opener":
        """The key itself; wrapped: as of Lock. Raises SealError where it is not the right one."""
        if wrapped and self.passphrase is not None:
            try:
                text = bytes(pyrage.passphrase.decrypt(wrapped, self.passphrase)).decode()
            except (pyrage.DecryptError, ValueError) as error:
                raise SealError(f"{name}: the passphrase does not open it") from error
        elif self.identity is not None:
            text = self.identity
        else:
            wanted = "a passphrase" if wrapped else "an identity"
            raise SealError(f"{name}: {wanted} opens it, and none is given")
        try:
            return Opener(pyrage.x25519.Identity.from_str(text))
        except pyrage.IdentityError as error:
            raise SealError(f"{name}: the identity is none of age's (AGE-SECRET-KEY-1…): {error}") from error


class Opener:
    """An age identity, ready to decrypt."""

    def __init__(self, identity: "pyrage.x25519.Identity") -> None:
        self._identity = identity

    def decrypt(self, data: bytes, name: str) -> bytes:
        """Decrypt something small; raises SealError."""
        try:
            return bytes(pyrage.decrypt(data, [self._identity]))
        except pyrage.DecryptError as error:
            raise SealError(f"{name}: does not open: {error}") from error

    def pump(self, source: BinaryIO, target: BinaryIO) -> None:
        pyrage.decrypt_io(source, target, [self._identity])


def read_secret(passphrase_file: Path | None, identity_file: Path | None) -> Secret:
    """Read what opens a file; raises EdgeError or SyncError unless exactly one of the two is given."""
    if (passphrase_file is None) == (identity_file is None):
        raise SealError("give --passphrase-file or --identity, one of them")
    if passphrase_file is not None:
        return Secret(passphrase=read_passphrase(passphrase_file))
    assert identity_file is not None
    lines = read_text(identity_file, "age identity").splitlines()
    keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if len(keys) != 1:
        raise SealError(f"{identity_file}: holds {len(keys)} identities, not one")
    return Secret(identity=keys[0])


def read_passphrase(path: Path) -> str:
    """The first line of a file; raises SealError where it is too short to guard anything."""
    passphrase = read_text(path, "passphrase").split("\n", 1)[0].rstrip("\r")
    if len(passphrase) < MIN_PASSPHRASE:
        raise SealError(
            f"{path}: the passphrase has {len(passphrase)} characters, at least {MIN_PASSPHRASE} are needed"
        )
    return passphrase


@contextmanager
def sealing(out: Path, lock: Lock) -> Iterator[tarfile.TarFile]:
    """Write a sealed file: what the block adds to the tar is its content; durable before it has its name.

    Raises SealError where `out` is there already or cannot be written; nothing is left then.
    """
    if out.exists():
        raise SealError(f"{out}: already there")
    part = out.with_name(f"{out.name}.part")
    try:
        with _fresh(part) as file:
            if lock.wrapped:
                _add(file, IDENTITY, lock.wrapped)
            header_at = file.tell()
            file.write(bytes(_BLOCK))  # the header: how long the content is shows at its end
            recipients = [_recipient(lock.recipient)]
            with (
                _through(lambda pipe: pyrage.encrypt_io(pipe, file, recipients)) as pipe,
                tarfile.open(fileobj=pipe, mode="w|") as tar,
            ):
                yield tar
            size = file.tell() - header_at - _BLOCK
            file.write(bytes(-size % _BLOCK + 2 * _BLOCK))
            file.seek(header_at)
            file.write(_header(CONTENT, size))
            file.flush()
            os.fsync(file.fileno())
        part.rename(out)
        sync_folder(out.parent)
    except BaseException as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise SealError(f"{out}: {error.strerror}") from error
        raise


@contextmanager
def unsealing(path: Path, secret: Secret) -> Iterator[tarfile.TarFile]:
    """Read a sealed file's content as a tar, in order; raises SealError where it is none, damaged or does not open.

    What the block has read counts only when it has ended: a file cut short shows at its end.
    """
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as envelope:
            wrapped, content = b"", None
            for member in envelope:
                if member.name == IDENTITY and content is None and member.size <= _MAX_WRAPPED_BYTES:
                    wrapped = _member(envelope, member).read()
                elif member.name == CONTENT and content is None:
                    content = member
                else:
                    raise SealError(f"{path}: not a FirstVisit backup: it holds {member.name[:64]!r}")
            if content is None:
                raise SealError(f"{path}: not a FirstVisit backup")
            opener = secret.opener(wrapped, str(path))
            source = _member(envelope, content)
            with _into(lambda pipe: opener.pump(source, pipe)) as pipe:
                with tarfile.open(fileobj=pipe, mode="r|") as tar:
                    yield tar
                while pipe.read(1 << 16):  # to the end, where age says whether all of it is here
                    pass
    except pyrage.DecryptError as error:
        raise SealError(f"{path}: does not open: {error}") from error
    except (tarfile.TarError, EOFError) as error:
        raise SealError(f"{path}: not a FirstVisit backup, or damaged: {error}") from error
    except OSError as error:
        raise SealError(f"{error.filename or path}: {error.strerror or error}") from error


@contextmanager
def _through(work: Callable[[BinaryIO], None]) -> Iterator[BinaryIO]:
    """A pipe into `work`, which reads it on a thread of its own; what it raises is raised behind the block."""
    read, write = os.pipe()
    with _working(work, os.fdopen(read, "rb")), os.fdopen(write, "wb") as pipe:
        yield pipe


@contextmanager
def _into(work: Callable[[BinaryIO], None]) -> Iterator[BinaryIO]:
    """A pipe out of `work`, which writes it on a thread of its own; what it raises is raised behind the block."""
    read, write = os.pipe()
    with _working(work, os.fdopen(write, "wb")), os.fdopen(read, "rb") as pipe:
        yield pipe


@contextmanager
def _working(work: Callable[[BinaryIO], None], end: BinaryIO) -> Iterator[None]:
    """Run `work` on its end of a pipe beside the block; its failure is the cause where both fail."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            with end:
                work(end)
        except BaseException as error:  # noqa: BLE001 -- handed to the thread that waits for it
            failed.append(error)

    thread = threading.Thread(target=run, name="age", daemon=True)
    thread.start()
    try:
        yield
    except Exception as error:
        thread.join()
        if failed and not isinstance(failed[0], BrokenPipeError):
            raise failed[0] from error
        raise
    thread.join()
    if failed:
        raise failed[0]


@contextmanager
def _fresh(path: Path) -> Iterator[BinaryIO]:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b") as file:
        yield file


def _add(file: BinaryIO, name: str, data: bytes) -> None:
    file.write(_header(name, len(data)) + data + bytes(-len(data) % _BLOCK))


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info.tobuf(tarfile.GNU_FORMAT)


def _member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> BinaryIO:
    file = tar.extractfile(member)
    if file is None:
        raise SealError(f"{member.name[:64]!r} is no file")
    return cast(BinaryIO, file)


def _recipient(text: str) -> "pyrage.x25519.Recipient":
    try:
        return pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError as error:
        raise SealError(f"recipient {text[:80]!r} is none of age's (age1…): {error}") from error
