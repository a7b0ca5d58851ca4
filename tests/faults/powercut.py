"""The power cut: a folder that loses, at a cut, what was written to it and not yet synced.

powercut.c logs what a process does to the folder; `Disk` replays the log against what the disk is known to hold. A
write counts once its file was synced, a name (created, renamed, removed) once its folder was. Of the rest a cut keeps
nothing, or, as disks do, some of it: any subset of the sectors written, and the names' changes up to some point.
"""

import random
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from sync import SyncError

SECTOR_BYTES = 512
SYNC_US = 8_000  # of a good SSD without a capacitor; while it lasts a cut finds writes that are not on the disk
_HEAD = struct.Struct("<IBIqI")
_MAGIC = 0x54554350
_CREATE, _WRITE, _TRUNCATE, _SYNC, _UNLINK, _RENAME, _DIRSYNC = range(1, 8)
_NOT_EVIDENCE = ("-shm", "run.lock")

Operation: TypeAlias = tuple[int, int, bytes]
"""What was done to a file's content: _WRITE or _TRUNCATE, offset or size, data."""


def build(folder: Path) -> Path:
    """Compile the shim with the system's gcc; returns the library. Raises SyncError where there is no gcc."""
    library = folder / "powercut.so"
    source = Path(__file__).with_suffix(".c")
    try:
        subprocess.run(
            ["gcc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise SyncError(f"{source.name}: cannot be compiled: {error}") from error
    return library


@dataclass(slots=True)
class _File:
    mode: int
    held: bytearray = field(default_factory=bytearray)  # what the disk is known to hold
    waiting: list[Operation] = field(default_factory=list)

    def sync(self) -> None:
        for operation in self.waiting:
            _apply(self.held, *operation)
        self.waiting.clear()


@dataclass(frozen=True, slots=True)
class Loss:
    """What a cut took: operations and bytes written that were not synced, and changes of names."""

    operations: int
    bytes: int
    names: int


class Disk:
    """One folder on a disk of its own, and the log of the one process that writes to it."""

    def __init__(self, folder: Path, library: Path, log: Path) -> None:
        """folder: as it is now is what the disk holds. log: outside of it."""
        self._folder, self._library, self._log = folder.resolve(), library, log
        self._files: dict[str, _File] = {}
        self._take()

    def environment(self) -> dict[str, str]:
        """What the process is to be started with."""
        return {
            "LD_PRELOAD": str(self._library),
            "POWERCUT_DIR": str(self._folder),
            "POWERCUT_LOG": str(self._log),
            "POWERCUT_SYNC_US": str(SYNC_US),
        }

    def cut(self, rng: random.Random) -> Loss:
        """The process has been killed: put the folder back to what a disk without power may hold."""
        names, pending = dict(self._files), list[tuple[int, str, str, _File | None]]()
        operations = lost = 0
        for op, path, offset, data in _entries(self._log):
            match op:
                case 1:  # _CREATE
                    names[path] = made = _File(offset)
                    pending.append((op, path, "", made))
                case 2 | 3:  # _WRITE, _TRUNCATE
                    if path in names:
                        names[path].waiting.append((op, offset, data))
                case 4:  # _SYNC
                    if path in names:
                        names[path].sync()
                case 5:  # _UNLINK
                    names.pop(path, None)
                    pending.append((op, path, "", None))
                case 6:  # _RENAME
                    to = data.decode()
                    if path in names:
                        names[to] = names.pop(path)
                        pending.append((op, path, to, None))
                case 7:  # _DIRSYNC
                    here = [change for change in pending if str(Path(change[1]).parent) == path]
                    self._rename(here)
                    pending = [change for change in pending if change not in here]
        kept = 0 if rng.random() < 0.5 else rng.randrange(len(pending) + 1)
        self._rename(pending[:kept])
        for file in {id(file): file for file in (*self._files.values(), *names.values())}.values():
            operations += len(file.waiting)
            lost += sum(len(data) for _, _, data in file.waiting)
            _tear(file, rng)
        self._restore()
        return Loss(operations, lost, len(pending) - kept)

    def keep(self) -> None:
        """The process has ended in peace: everything it wrote gets to the disk in time."""
        self._take()

    def _rename(self, changes: list[tuple[int, str, str, _File | None]]) -> None:
        for op, path, to, made in changes:
            if op == _CREATE and made is not None:
                self._files[path] = made
            elif op == _UNLINK:
                self._files.pop(path, None)
            elif op == _RENAME and path in self._files:
                self._files[to] = self._files.pop(path)

    def _take(self) -> None:
        self._files = {
            str(path): _File(path.stat().st_mode & 0o7777, bytearray(path.read_bytes()))
            for path in sorted(self._folder.rglob("*"))
            if path.is_file() and not path.name.endswith(_NOT_EVIDENCE)
        }
        self._log.unlink(missing_ok=True)

    def _restore(self) -> None:
        for path in self._folder.rglob("*"):
            if path.is_file():
                path.unlink()
        for name, file in self._files.items():
            path = Path(name)
            path.write_bytes(file.held)
            path.chmod(file.mode)
        self._log.unlink(missing_ok=True)


def _tear(file: _File, rng: random.Random) -> None:
    """Let the disk have some of what waits, or none of it: half of all cuts find a disk that wrote nothing early."""
    share = 0.0 if rng.random() < 0.5 else rng.random()
    for op, offset, data in file.waiting:
        if op == _TRUNCATE:
            if rng.random() < share:
                _apply(file.held, op, offset, data)
            continue
        at = 0
        while at < len(data):
            step = SECTOR_BYTES - (offset + at) % SECTOR_BYTES
            if rng.random() < share:
                _apply(file.held, op, offset + at, data[at : at + step])
            at += step
    file.waiting.clear()


def _apply(content: bytearray, op: int, offset: int, data: bytes) -> None:
    if op == _TRUNCATE:
        del content[offset:]
        content.extend(bytes(offset - len(content)))
        return
    if offset > len(content):
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def _entries(log: Path) -> Iterator[tuple[int, str, int, bytes]]:
    """Every whole entry; the last may be torn, where the process was killed inside it: then it was not synced."""
    data = log.read_bytes() if log.exists() else b""
    at = 0
    while at + _HEAD.size <= len(data):
        magic, op, path_len, offset, data_len = _HEAD.unpack_from(data, at)
        if magic != _MAGIC:
            raise SyncError(f"{log}: no entry at byte {at}")
        body = at + _HEAD.size
        if body + path_len + data_len > len(data):
            return
        yield op, data[body : body + path_len].decode(), offset, data[body + path_len : body + path_len + data_len]
        at = body + path_len + data_len
