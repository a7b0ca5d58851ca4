"""Watches the ledger, which others write, and tells open pages what is new."""

import logging
import threading
from collections.abc import Callable

from edge.kiosk import arrivals as visits
from edge.kiosk import health as vitals
from edge.kiosk.arrivals import Arrivals
from edge.kiosk.health import Health
from sync import SyncError
from sync.ledger import Ledger
from sync.web.live import Live

_log = logging.getLogger(__name__)
_LOOK_S = 0.3


class LedgerWatch:
    """One thread that follows the chain from its first record on."""

    def __init__(
        self, open_ledger: Callable[[], Ledger], arrivals: Arrivals, health: Health, live: Live, look_s: float = _LOOK_S
    ) -> None:
        self._open_ledger = open_ledger
        self._arrivals = arrivals
        self._health = health
        self._live = live
        self._look_s = look_s
        self._after = (0, 0)
        self._acked = (0, 0)
        self._first = True
        self._caught_up = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="ledger-watch", daemon=True)

    def start(self) -> None:
        """Begin, and return once everything recorded so far has been read."""
        self._thread.start()
        self._caught_up.wait(60)

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(5)

    def _watch(self) -> None:
        lost = False
        ledger: Ledger | None = None
        while not self._stopping.is_set():
            try:
                ledger = ledger or self._open_ledger()
                self._look(ledger)
                if lost:
                    _log.info("ledger readable again")
                lost = False
            except SyncError as error:
                if not lost:
                    _log.error("ledger not readable reason=%s", error)
                lost = True
                if ledger is not None:
                    ledger.close()
                    ledger = None
            self._caught_up.set()
            self._stopping.wait(self._look_s)
        if ledger is not None:
            ledger.close()

    def _look(self, ledger: Ledger) -> None:
        changed: dict[str, None] = {}
        node = False
        for record in ledger.records((*visits.KINDS, *vitals.KINDS), after=self._after):
            self._after = (record.epoch, record.seq)
            try:
                if record.kind in vitals.KINDS:
                    self._health.add(record)
                    node = True
                else:
                    changed |= dict.fromkeys(self._arrivals.add(record))
            except (KeyError, TypeError) as error:  # a record of a later version: left out, not the end of the page
                _log.warning("record not shown seq=%d kind=%s missing=%s", record.seq, record.kind, error)
        acked = ledger.acked_upto()
        first, self._first = self._first, False
        if first:
            self._acked = acked
            return
        for visit_id in changed:
            self._live.publish("arrival", visit_id)
        if node:
            self._live.publish("node", "")
        if acked != self._acked:
            self._acked = acked
            self._live.publish("acked", f"{acked[0]}.{acked[1]}")
