"""A real filesystem of a few megabytes, to be filled up."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class SmallDisk:
    """A mounted tmpfs; `fill` leaves as much room as said, `free` gives it back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def free_bytes(self) -> int:
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def fill(self, leave_bytes: int = 0) -> None:
        """Take all room but `leave_bytes`, to within a page."""
        with self._ballast.open("ab") as file:
            while (left := self.free_bytes() - leave_bytes) >= os.sysconf("SC_PAGESIZE"):
                try:
                    file.write(bytes(min(left, 1 << 16)))
                    file.flush()
                except OSError:
                    return

    def free(self) -> None:
        self._ballast.unlink()


@contextmanager
def small_disk(path: Path, size_mb: int) -> Iterator[SmallDisk]:
    """Mount it at `path` for the block; the test skips where mounting is forbidden."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=755", "tmpfs", str(path)]
    try:
        subprocess.run(mount, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a filesystem of its own cannot be mounted here: {getattr(error, 'stderr', None) or error}")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)
