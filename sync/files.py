"""Files that a power cut leaves either as they were or whole."""

import os
import stat
from pathlib import Path

from sync import SyncError


def write_durably(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file beside its place, sync it and rename it there; raises SyncError naming the file.

    A symbolic link stays one: the file it names is replaced. mode: of a new file, less the umask; an existing one
    keeps its mode and its owner.
    """
    place = path.resolve()
    beside = place.with_name(f"{place.name}.new")
    try:
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
        folder = os.open(place.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise SyncError(f"{path}: cannot be written: {error.strerror}") from error
