"""What a visit leaves in the vault, and with it in the gallery: a template, a picture, why it was decided so."""

from datetime import datetime

from camera.pipeline import Arrival
from camera.quality import MIN_QUALITY_ALONE
from edge.people.vault import Vault
from edge.recognition.gallery import Gallery
from models.faces import Template
from sync.node.append import Transaction
from sync.node.ledger import Ledger


class Traces:
    """Keeps what decisions leave, and knows of each track which template it left until the track ends."""

    def __init__(self, ledger: Ledger, vault: Vault, gallery: Gallery, pack_id: str) -> None:
        self._ledger = ledger
        self._vault = vault
        self._gallery = gallery
        self._pack_id = pack_id
        self._of_track: dict[tuple[str, int], int] = {}

    def keep(
        self,
        transaction: Transaction,
        visit_id: str,
        person_id: str,
        arrival: Arrival,
        probe: Template,
        explanation: bytes,
        now: datetime,
        *,
        new: bool,
        found: bool,
    ) -> int | None:
        """Keep a visit's template, picture and explanation; returns the template's id, None where it is not kept.

        found: whether searches are to find somebody new.
        """
        connection, vector = transaction.connection, probe.vector
        template_id: int | None
        if new:
            template_id = self._vault.add_person(connection, person_id, self._pack_id, vector, now, found)
        elif arrival.shots[0].quality < MIN_QUALITY_ALONE:
            template_id = None  # it would draw others to this person, and the one that was recognised stays
        else:
            template_id = self._vault.templates.add(connection, person_id, self._pack_id, vector, now)
        self._vault.of_visits.add_crop(connection, visit_id, person_id, arrival.shots[0].crop, now)
        self._vault.of_visits.add_explanation(connection, visit_id, person_id, explanation, now)
        return template_id

    def find(self, template_id: int | None, arrival: Arrival | None = None) -> None:
        """Let searches find a template just kept; arrival: whose track left it, where better pictures may come."""
        stored = self._vault.templates.one(template_id) if template_id is not None else None
        if stored is not None:
            self._gallery.add(stored)
            if arrival is not None:
                self._of_track[arrival.camera_id, arrival.track_id] = stored.template_id

    def left_by(self, arrival: Arrival) -> bool:
        """Whether the decision on this track left a template."""
        return (arrival.camera_id, arrival.track_id) in self._of_track

    def better(self, arrival: Arrival, probe: Template, upper: float) -> None:
        """Put the template of better pictures in the place of the one that the decision on this track left.

        upper: the similarity from which the two are surely one person's; under it nothing changes.
        """
        template_id = self._of_track.pop((arrival.camera_id, arrival.track_id))
        left = self._vault.templates.one(template_id)
        if left is None or float(left.vector @ probe.vector) < upper:
            return
        with self._ledger.transaction() as transaction:
            self._vault.templates.replace(transaction.connection, template_id, probe.vector)
        self._gallery.refresh()

    def ended(self, camera_id: str, track_id: int) -> None:
        """A track is over: nothing better comes of it."""
        self._of_track.pop((camera_id, track_id), None)
