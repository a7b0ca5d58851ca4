"""The reference views of a node's cameras at rest: small grey pictures of rooms, people left out."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from sqlite3 import Connection

import numpy as np
import sqlite_utils
from numpy.typing import NDArray
from sqlite_utils.migrations import Migrations

from camera.views import KeptView
from sync.format.stamp import from_us, to_us
from sync.storage.database import LEDGER_FORMAT, Patience, give_up, immediate, named, open_checked

MIGRATIONS = Migrations("camera_views")
KEEP_EVERY = timedelta(hours=1)  # what follows the light need not be newer after a restart


@MIGRATIONS()
def reference_views(db: sqlite_utils.Database) -> None:
    """installed, followed: height rows of luma, one byte each. source_hash: of the URI it was taken from."""
    columns = {"camera": str, "source_hash": str, "taken_us": int, "height": int, "installed": bytes, "followed": bytes}
    db.table("camera_views").create(columns, pk="camera", not_null=set(columns))


@dataclass(frozen=True, slots=True)
class ViewState:
    """When a camera's reference view was taken, and of which source."""

    camera_id: str
    source_hash: str
    taken_us: int


class CameraViews:
    """The reference views in a HOME's database; it holds no connection."""

    def __init__(self, database: Path, patience: Patience = give_up) -> None:
        """database: of a migrated HOME. patience: whether to wait on while somebody else holds the write lock."""
        self._database = database
        self._patience = patience
        self._kept: dict[str, datetime] = {}  # when each was last written

    def load(self, sources: Mapping[str, str]) -> dict[str, KeptView]:
        """Return the views by camera; sources: the digest of each camera's URI. Of another source, none."""
        found = {}
        with self._open() as connection:
            for camera, digest, taken_us, height, installed, followed in connection.execute(
                "SELECT camera, source_hash, taken_us, height, installed, followed FROM camera_views"
            ):
                if sources.get(camera) == digest:
                    view = KeptView(_grey(installed, height), _grey(followed, height), from_us(taken_us))
                    found[camera] = view
                    self._kept[camera] = view.taken_at
        return found

    def digests(self) -> dict[str, str]:
        """Return `view_digest` of what there is, by camera."""
        with self._open() as connection:
            rows = connection.execute("SELECT camera, source_hash, height, installed FROM camera_views").fetchall()
        return {camera: _digest(source_hash, height, installed) for camera, source_hash, height, installed in rows}

    def keep(self, camera_id: str, source_hash: str, view: KeptView, now: datetime) -> None:
        """Write a camera's view where it is new, or was last written a while ago."""
        last = self._kept.get(camera_id)
        if last is not None and now - last < KEEP_EVERY:
            return
        row = (
            camera_id, source_hash, to_us(view.taken_at), view.installed.shape[0], _bytes(view.installed),
            _bytes(view.followed),
        )  # fmt: skip
        with self._open() as connection, immediate(connection, self._patience):
            connection.execute("INSERT OR REPLACE INTO camera_views VALUES (?, ?, ?, ?, ?, ?)", row)
        self._kept[camera_id] = now

    def write_anew(self) -> None:
        """Let the next view of each camera be written, however young the last one is."""
        self._kept.clear()

    def forgotten(self) -> set[str]:
        """Return the cameras whose view somebody has deleted since this node kept it, once."""
        with self._open() as connection:
            there = {camera for (camera,) in connection.execute("SELECT camera FROM camera_views")}
        gone = set(self._kept) - there
        for camera_id in gone:
            del self._kept[camera_id]
        return gone

    def forget(self) -> int:
        """Drop every view, for a running or the next node to take them anew; returns how many there were."""
        with self._open() as connection, immediate(connection, self._patience):
            return connection.execute("DELETE FROM camera_views").rowcount

    def states(self) -> list[ViewState]:
        """Return what there is, by camera; nothing in a HOME that an older version ran last."""
        with self._open() as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'camera_views'").fetchone():
                return []
            rows = connection.execute("SELECT camera, source_hash, taken_us FROM camera_views ORDER BY camera")
            return [ViewState(*row) for row in rows]

    @contextmanager
    def _open(self) -> Iterator[Connection]:
        with closing(open_checked(self._database, LEDGER_FORMAT)) as connection, named(self._database):
            yield connection


def view_digest(source_hash: str, view: KeptView) -> str:
    """64 hex over a view as installed and the digest of the URI it was taken from; of no person, so without a salt."""
    return _digest(source_hash, view.installed.shape[0], _bytes(view.installed))


def _digest(source_hash: str, height: int, installed: bytes) -> str:
    return hashlib.sha256(f"{source_hash} {height} ".encode() + installed).hexdigest()


def _bytes(grey: NDArray[np.float32]) -> bytes:
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8).tobytes()


def _grey(luma: bytes, height: int) -> NDArray[np.float32]:
    return np.frombuffer(luma, np.uint8).reshape(height, -1).astype(np.float32)
