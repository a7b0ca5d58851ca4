"""The reference views of a running node's cameras, held to what its own signed heartbeats say of them.

A row of the database is no proof: whoever deletes or replaces it would choose what a camera is held against. The digest
of each view stands in every `node.alive`; another view counts once somebody has attested to the place, which is a
record too.
"""

import logging
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from camera.views import KeptView
from edge.cameras.camera_views import CameraViews
from edge.proven import proven
from sync.node.ledger import Ledger

log = logging.getLogger(__name__)


class ReferenceViews:
    """What lies in HOME, what the chain says of it, and what has been attested to since."""

    def __init__(self, folder: Path, ledger: Ledger, rows: CameraViews) -> None:
        """folder: HOME, where the enrolments of its keys lie."""
        self._folder = folder
        self._ledger = ledger
        self._rows = rows
        self._attested = (0, 0)
        self._lost: list[str] = []
        self.attested_anew()

    def load(self, sources: Mapping[str, str]) -> dict[str, KeptView]:
        """Return the views by camera; sources: the digest of each camera's URI. One that is not the chain's is lost."""
        said, held = self._said(sources), self._rows.digests()
        self._lost = sorted(camera_id for camera_id in said if held.get(camera_id) != said[camera_id])
        return self._rows.load({camera_id: sources[camera_id] for camera_id in sources.keys() - set(self._lost)})

    def lost(self) -> list[str]:
        """The cameras whose view is not the one that the chain names, once."""
        lost, self._lost = self._lost, []
        return lost

    def attested_anew(self) -> bool:
        """Whether somebody has attested to the place since this was asked last."""
        found = self._ledger.records(("place.changed",), self._attested)
        attested = [record for record in found if record.fields.get("reason") == "attested"]
        counted = proven(self._folder, self._ledger, attested)
        if counted:
            self._attested = counted[-1].epoch, counted[-1].seq
            self._rows.write_anew()
        return bool(counted)

    def keep(self, camera_id: str, source_hash: str, view: KeptView, now: datetime) -> None:
        """Write a camera's view where it is new, not there any more, or was last written a while ago."""
        for gone in self._rows.forgotten():
            log.warning("view deleted by somebody who did not attest, kept again camera=%s", gone)
        self._rows.keep(camera_id, source_hash, view, now)

    def _said(self, sources: Mapping[str, str]) -> dict[str, str]:
        """The digests of these cameras' views by the newest heartbeat; none once somebody has attested since."""
        alive = self._ledger.last_of("node.alive")
        if alive is None or (alive.epoch, alive.seq) < self._attested:
            return {}
        if not proven(self._folder, self._ledger, [alive]):
            return dict.fromkeys(sources, "of a heartbeat that is not the node's own")
        cameras = {one["camera"]: one.get("view") for one in alive.fields["cameras"]}
        return {camera_id: view for camera_id in sources if isinstance(view := cameras.get(camera_id), str)}
