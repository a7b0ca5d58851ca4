"""Files that a power cut leaves either as they were or whole."""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sync import SyncError


def write_durably(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file beside its place, sync it and rename it there; raises SyncError naming the file.

    A symbolic link stays one: the file it names is replaced. mode: of a new file, less the umask; an existing one
    keeps its mode and its owner. Who writes in the same folder at the same time waits.
    """
    place = path.resolve()
    beside = place.with_name(f"{place.name}.new")
    try:
        with _alone_in(place.parent) as folder:
            beside.unlink(missing_ok=True)
            handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                if place.exists():
                    before = place.stat()
                    if (before.st_uid, before.st_gid) != (os.geteuid(), os.fstat(handle).st_gid):
                        os.fchown(handle, before.st_uid, before.st_gid)
                    os.fchmod(handle, stat.S_IMODE(before.st_mode))
                file.write(text)
                file.flush()
                os.fsync(handle)
            beside.replace(place)
            os.fsync(folder)
    except OSError as error:
        raise SyncError(f"{path}: cannot be written: {error.strerror}") from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, or what is in a file; raises OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Make a folder, its own name and all that lies in it durable, whoever wrote it and when; raises OSError."""
    for place, _, names in os.walk(folder, topdown=False):
        for one in (*(Path(place, name) for name in names), Path(place)):
            sync_folder(one)
    sync_folder(folder.parent)


def read_text(path: Path, what: str) -> str:
    """Read a small text that somebody else wrote; raises SyncError where it is missing, no file or not UTF-8.

    A pipe or a device is no file: opening one may wait for ever.
    """
    try:
        if path.exists() and not path.is_file():
            raise SyncError(f"{path}: not a file")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SyncError(f"{path}: no {what} there") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SyncError(f"{path}: cannot be read: {error}") from error


def close_to_others(folder: Path) -> None:
    """Take from everybody but owner and group what they may do in a folder; raises OSError."""
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & stat.S_IRWXO:
        folder.chmod(mode & ~stat.S_IRWXO)


@contextmanager
def _alone_in(folder: Path) -> Iterator[int]:
    """The folder, open, and no other writer of ours in it for the block."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)
