"""The locks of a central's directory: one server a shard, and commands that must not meet any."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sync import SyncError
from sync.central.shard import WHOLE, Shard


@contextmanager
def only_one(directory: Path, shard: Shard) -> Iterator[None]:
    """Refuse a second server on one DIR, or on one shard of it: two writers would acknowledge for each other."""
    with _held(directory, "run.lock" if shard == WHOLE else f"run-{shard.number}-of-{shard.count}.lock"):
        yield


@contextmanager
def none_running(directory: Path) -> Iterator[None]:
    """Hold every lock of DIR; raises SyncError where a server has one."""
    with ExitStack() as stack:
        for name in {"run.lock", *(path.name for path in directory.glob("run-*-of-*.lock"))}:
            stack.enter_context(_held(directory, name))
        yield


@contextmanager
def _held(directory: Path, name: str) -> Iterator[None]:
    path = directory / name
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise SyncError(f"{path}: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise SyncError(f"{directory}: another central is running on it") from error
    try:
        yield
    finally:
        os.close(handle)
