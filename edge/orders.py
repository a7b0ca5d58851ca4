"""What central has ordered, and this site has learnt, as the running node follows it."""

import time
from datetime import datetime

from edge.consent import CapturePolicy, Horizon, declare
from edge.home import Home
from edge.people.sealed_phones import seal_waiting
from edge.people.vault import Vault
from edge.recognition.site_calibration import in_force
from edge.rights.retention import erase_ordered
from edge.rights.volume import faces_stored, watch
from edge.settings import Settings
from models.calibration import Calibration
from models.pack import Pack
from sync.format.stamp import to_us
from sync.node.alarms import Alarms
from sync.node.ledger import Ledger
from sync.node.trust import Trust

INCOMPLETE_AGAIN_S = 60.0  # a key that a reader holds in the log: each attempt waits for that reader for seconds


class Orders:
    """The orders of one HOME, read anew each time they are asked for: the uplink's thread writes them."""

    def __init__(self, home: Home, settings: Settings) -> None:
        """settings: the node's own, which no order makes laxer."""
        self._home = home
        self._settings = settings
        self._trust = Trust(home.path) if home.joined else None
        self._incomplete: set[int] = set()
        self._again_at_s = 0.0
        self._sealed_upto = -1  # the database as it was when nothing waited to be sealed
        self._learnt: tuple[tuple[int, str], Calibration] | None = None

    def policy(self) -> CapturePolicy:
        """The capture policy in force."""
        return self._home.policy(self._settings)

    def declared(self, policy: CapturePolicy, ledger: Ledger) -> Horizon:
        """Let the chain say that this policy is in force, where it does not yet; returns what "first" reaches back."""
        declare(policy, ledger, self._home.path)
        return Horizon(policy, ledger, self._home.path)

    def calibration(self, ledger: Ledger, pack: Pack) -> Calibration:
        """The table that thresholds of a pack come from, read anew once somebody else has written to the database.

        ledger: the node's own, always the same; it records no table itself.
        """
        written = ledger.data_version()
        if self._learnt is None or self._learnt[0] != (written, pack.pack_id):
            table = in_force(self._home, ledger, pack.pack_id, pack.calibration.of_tracks())
            self._learnt = (written, pack.pack_id), table
        return self._learnt[1]

    def count_faces(self, ledger: Ledger, now: datetime) -> None:
        """Raise the alarm where so many faces are stored that a filing is due, or soon will be."""
        watch(Alarms(self._home.database), faces_stored(ledger.connection), to_us(now))

    def seal_phones(self, ledger: Ledger, vault: Vault) -> int:
        """Seal the phones given at the desk to central, where it has a key for that; returns how many."""
        if self._trust is None or (version := ledger.data_version()) == self._sealed_upto:
            return 0
        key = self._trust.keys().seal
        sealed = 0 if key is None else seal_waiting(ledger, vault, key)
        self._sealed_upto = version if sealed == 0 else -1  # there may be more: only a few are sealed at a time
        return sealed

    def erase(self, ledger: Ledger, vault: Vault, now: datetime) -> int:
        """Forget whom central wants forgotten; returns how many were known here."""
        if self._trust is None:
            return 0
        waiting = time.monotonic() < self._again_at_s
        ordered = [one for one in self._trust.erasures() if not (waiting and one.nseq in self._incomplete)]
        if not ordered:
            return 0
        forgotten = erase_ordered(ledger, vault, ordered, now)
        tried = self._incomplete | {one.nseq for one in ordered}  # one that came meanwhile need not wait
        self._incomplete = tried & {one.nseq for one in self._trust.erasures()}
        self._again_at_s = time.monotonic() + INCOMPLETE_AGAIN_S
        return forgotten
