"""What becomes a record of a camera itself: that it is up or down, and that its view is blind or moved."""

import logging
from collections.abc import Mapping
from datetime import datetime

from camera.views import ViewChange
from edge.full_disk import FullDisk
from edge.visits.visit_records import SourceFacts
from sync.format.canonical import Fields
from sync.format.stamp import to_us
from sync.node.ledger import Ledger

log = logging.getLogger(__name__)


class CameraLog:
    """Writes it down; the newest word of each camera that finds no room waits until there is some."""

    def __init__(self, ledger: Ledger, disk: FullDisk, sources: Mapping[str, SourceFacts]) -> None:
        self._ledger = ledger
        self._disk = disk
        self._sources = sources
        self._unsaid: dict[str, tuple[str, Fields]] = {}

    def append(self, kind: str, camera_id: str, at: datetime, reason: str, more: Fields | None = None) -> None:
        """Record something of a camera that was so at a moment; raises DiskFull."""
        source = self._sources[camera_id]
        fields: Fields = {
            "camera": camera_id,
            "source": source.kind,
            "source_hash": source.digest,
            "at_us": to_us(at),
        }
        if reason:
            fields["reason"] = reason
        fields |= more or {}
        topic = f"{camera_id} moved" if kind == "camera.moved" else camera_id  # whatever else becomes of it
        self._unsaid[topic] = (kind, fields)
        if not self._disk.refusing:
            self._ledger.append(kind, fields)
            del self._unsaid[topic]

    def view(self, camera_id: str, change: ViewChange) -> None:
        """Record what began or ended of a camera's view; raises DiskFull."""
        log.warning("view changed camera=%s kind=%s reason=%s", camera_id, change.kind, change.reason)
        if change.kind == "blind" and change.reason == "clear":
            self.append("camera.up", camera_id, change.since, "clear")
            return
        fields: Fields = {"state": "clear" if change.reason == "clear" else change.kind}
        if change.displacement is not None:
            found = change.displacement
            fields |= {"right_e6": round(found.right * 1e6), "down_e6": round(found.down * 1e6)}
            fields |= {"roll_e6": round(found.roll_deg * 1e6), "zoom_e6": round(found.zoom * 1e6)}
        self.append(f"camera.{change.kind}", camera_id, change.since, change.reason, fields)

    def catch_up(self) -> None:
        """Record what has found no room so far; raises DiskFull."""
        while self._unsaid:
            topic = next(iter(self._unsaid))
            self._ledger.append(*self._unsaid[topic])
            del self._unsaid[topic]
