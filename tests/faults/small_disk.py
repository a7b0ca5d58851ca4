"""A disk of a few megabytes, mounted for the length of a test, and something to fill it with."""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.site import Failed

MIB = 1024**2
_BLOCK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """A tmpfs; full for whoever writes to it beside the ballast."""

    folder: Path

    @property
    def ballast(self) -> Path:
        return self.folder / "ballast"

    def free_bytes(self) -> int:
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    def fill(self, leave_bytes: int = 0) -> None:
        """Take all room but so much."""
        with self.ballast.open("ab", buffering=0) as file:
            while self.free_bytes() > leave_bytes:
                try:
                    file.write(bytes(min(_BLOCK_BYTES, self.free_bytes() - leave_bytes)))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    return

    def make_room(self) -> None:
        self.ballast.unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[SmallDisk]:
    """Mount one at a new folder; raises Failed where this machine does not let us mount."""
    folder.mkdir(parents=True)
    options = f"size={size_bytes},mode=0755"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"no small disk, mounting one needs root: {done.stderr.strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
