"""The place as records may name it: configured, and only certain while the surroundings are those attested."""

import logging

from edge.place.attestation import Attestation, Standing, unattested
from sync.format.canonical import Fields
from sync.node.ledger import Ledger

log = logging.getLogger(__name__)


class Site:
    """The place of one running node."""

    def __init__(self, configured: Fields | None, attestation: Attestation) -> None:
        """configured: a record's `place` as the installer gave it, None where there is none."""
        self._configured = configured
        self._attestation = attestation
        self._standing = Standing()

    def place(self, ledger: Ledger) -> Fields | None:
        """Look around, record what changed, and return the place for records from here on."""
        standing = self._attestation.check(ledger)
        if standing.holds != self._standing.holds:
            if standing.holds:
                log.info("place attested again")
            else:
                log.warning("surroundings changed parts=%s; the place is unknown", ",".join(standing.changed))
        self._standing = standing
        if self._configured is None or standing.holds:
            return self._configured
        return unattested(self._configured)
