"""Room kept on the databases' disk, so that a full disk can still be put on record."""

import os
from pathlib import Path

from edge import EdgeError

MIB = 1024**2
LEAST_FREE_BYTES = MIB // 2  # under this much beside a whole reserve, a start could not even be written down


class ReserveError(EdgeError):
    """A reserve file that cannot be made or removed, for another reason than a full disk; the text names it."""


class Reserve:
    """A preallocated file: given up when the disk is full, taken again once there is room enough for two of it.

    That it takes twice as much to begin again as to stop keeps a disk that wavers around full from flapping.
    """

    def __init__(self, path: Path, size_bytes: int) -> None:
        """path: on the databases' own disk. size_bytes: how much to keep; nothing is touched yet."""
        self._path = path
        self._size = size_bytes

    @property
    def size_bytes(self) -> int:
        return self._size

    @property
    def held(self) -> bool:
        """Whether the whole reserve is on the disk."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise ReserveError(f"{self._path}: {error.strerror}") from error
        # st_blocks counts 512 bytes (stat(2)): a sparse file of the right length keeps no room at all
        return found.st_size == self._size and found.st_blocks * 512 >= self._size

    def free_bytes(self) -> int:
        """What others than root may still write on this disk."""
        found = os.statvfs(self._path.parent)
        return found.f_bavail * found.f_frsize

    def begin(self) -> bool:
        """At a start: make sure of the reserve; False, and the room it took is free, where the disk is full."""
        if self.held:
            if self.free_bytes() >= LEAST_FREE_BYTES:
                return True
            self.release()
            return False
        self.release()  # of another size, or left half made
        return self.free_bytes() >= self._size + LEAST_FREE_BYTES and self._allocate()

    def retake(self) -> bool:
        """While it is given up: take it again where there is room for two; returns whether it is held."""
        return self.held or (self.free_bytes() >= 2 * self._size and self._allocate())

    def release(self) -> None:
        """Give the room up, durably."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise ReserveError(f"{self._path}: {error.strerror}") from error

    def _allocate(self) -> bool:
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                os.posix_fallocate(handle, 0, self._size)
                os.ftruncate(handle, self._size)
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError:  # somebody else was faster with the room; what the failed call took goes back
            self.release()
            return False
        return True
