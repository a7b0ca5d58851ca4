"""Watches the ledger, which others write, and tells open pages what is new."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile

from edge.desk import folding
from edge.desk.arrivals import FEED, Arrivals
from edge.desk.shown import ShownVisit
from edge.kiosk import health as vitals
from edge.kiosk.health import Health
from edge.kiosk.history import begin_behind, last_boot, last_visit, waiting_before, window_us
from edge.sure_time import SureTime
from sync import SyncError
from sync.format.notices import KeyRevoked
from sync.format.records import Record
from sync.format.void import voided_by
from sync.node.ledger import Ledger
from sync.web.live import Live

_log = logging.getLogger(__name__)
_LOOK_S = 0.3
_KINDS = (*folding.KINDS, *vitals.KINDS)
_START_S = 60


@dataclass(frozen=True, slots=True)
class Delivery:
    """How far the chain has come, here and at central; acked: (epoch, seq), last_ack_us: central's time."""

    head_seq: int = 0
    backlog: int = 0
    acked: tuple[int, int] = (0, 0)
    last_ack_us: int | None = None


class LedgerWatch:
    """One thread that follows the chain from a few days back, and asks nothing while nobody writes."""

    def __init__(
        self,
        open_ledger: Callable[[], Ledger],
        arrivals: Arrivals,
        health: Health,
        live: Live,
        look_s: float = _LOOK_S,
        sure: SureTime | None = None,
    ) -> None:
        """sure: by what time visits that are some days old leave memory, shared by whoever else follows this chain."""
        self._open_ledger = open_ledger
        self._arrivals = arrivals
        self._health = health
        self._live = live
        self._look_s = look_s
        self._window_us = 0
        self._sure = sure or SureTime()
        self._after: tuple[int, int] | None = None  # before the first look
        self._version: int | None = None
        self._recalled: set[tuple[str, str]] = set()
        self._delivery = Delivery()
        self._revoked: tuple[KeyRevoked, ...] = ()
        self._caught_up = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="ledger-watch", daemon=True)

    @property
    def delivery(self) -> Delivery:
        """As of the last look."""
        return self._delivery

    def void(self, visit: ShownVisit) -> KeyRevoked | None:
        """Central's word, as of the last look, by which the visit's decision proves nothing."""
        return voided_by(self._revoked, visit.decided.key_id, visit.decided_at)

    def start(self) -> None:
        """Begin, and return once the last days recorded have been read."""
        self._thread.start()
        self._caught_up.wait(_START_S)

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(5)

    def _watch(self) -> None:
        lost = recalling = False
        ledger: Ledger | None = None
        while not self._stopping.is_set():
            try:
                ledger = ledger or self._open_ledger()
                if self._look(ledger) or recalling:
                    self._caught_up.set()
                    recalling = self._recall(ledger)
                if lost:
                    _log.info("ledger readable again")
                lost = False
            except SyncError as error:
                if not lost:
                    _log.error("ledger not readable reason=%s", error)
                lost = True
                self._version = None
                if ledger is not None:
                    ledger.close()
                    ledger = None
                self._caught_up.set()  # the pages say what they know, which is nothing yet
            if not recalling or lost:
                self._stopping.wait(self._look_s)
        if ledger is not None:
            ledger.close()

    def _look(self, ledger: Ledger) -> bool:
        """Read what is new; returns whether anything was."""
        version = ledger.data_version()
        if version == self._version:
            return False
        before, head = self._delivery, ledger.head()
        self._delivery = Delivery(head.seq if head else 0, ledger.backlog(), ledger.acked_upto(), ledger.last_ack_us())
        revoked, self._revoked = self._revoked, ledger.revoked()
        if self._after is None:
            self._begin(ledger)
        else:
            self._tell(ledger, *self._read(ledger.records(_KINDS, self._after)))
            acked = self._delivery.acked
            if acked != before.acked:
                self._live.publish("acked", f"{acked[0]}.{acked[1]}")
            if self._revoked != revoked:
                self._tell(ledger, [visit.visit_id for visit in self._arrivals.newest(FEED) if self.void(visit)])
        self._version = version
        return True

    def _begin(self, ledger: Ledger) -> None:
        """Read the node's health since its last start, the visits of the last days, and older ones that ask still."""
        began_s = time.monotonic()
        self._window_us = window_us(ledger)
        place, boot = begin_behind(ledger, self._window_us), last_boot(ledger)
        if boot < place:
            lasting = ledger.records(vitals.LASTING, boot)
            self._read(takewhile(lambda record: (record.epoch, record.seq) <= place, lasting))
        self._after = place
        for record in waiting_before(ledger, place):
            self._fold(record)
        self._read(ledger.records(_KINDS, place))
        _log.info("ledger read from=%d.%d took_ms=%.0f", *place, 1000 * (time.monotonic() - began_s))

    def _read(self, records: Iterable[Record]) -> tuple[list[str], bool, list[str]]:
        """Fold records in; returns the ids of the visits they change, whether the node told of itself, and who came.

        Who came: the ids of visits that nothing was known of before.
        """
        changed: dict[str, None] = {}
        arrived: dict[str, None] = {}
        node = False
        for record in records:
            self._after = (record.epoch, record.seq)
            visit_id = record.fields.get("visit")
            new = isinstance(visit_id, str) and self._arrivals.get(visit_id) is None
            folded = self._fold(record)
            changed |= dict.fromkeys(folded)
            if new and visit_id in folded:
                arrived[str(visit_id)] = None
            node = node or record.kind in vitals.KINDS
        return list(changed), node, list(arrived)

    def _fold(self, record: Record) -> list[str]:
        try:
            if record.kind not in vitals.KINDS:
                return self._arrivals.add(record)
            self._health.add(record)
        except (KeyError, TypeError) as error:  # a record of a later version: left out, not the end of the page
            _log.warning("record not shown seq=%d kind=%s missing=%s", record.seq, record.kind, error)
        return []

    def _tell(self, ledger: Ledger, changed: list[str], node: bool = False, arrived: Sequence[str] = ()) -> None:
        for visit_id in arrived:
            self._live.publish("arrived", visit_id)
        for visit_id in changed:
            self._live.publish("arrival", visit_id)
        if node:
            self._live.publish("node", "")
        if changed:
            self._arrivals.drop(self._sure.now(ledger).sure_us - self._window_us)

    def _recall(self, ledger: Ledger) -> bool:
        """Read the last visit of somebody an open question asks about, where it lies further back than the rest.

        Returns whether it has read one: there may be more, which wait for a look at what is new.
        """
        for question in self._arrivals.questions():
            for candidate in question.candidates:
                asked = (question.visit_id, candidate.person_id)
                if asked in self._recalled:
                    continue
                self._recalled.add(asked)
                if self._arrivals.last_of(candidate.person_id, question.arrived_us) is None:
                    for record in last_visit(ledger, candidate.person_id, question.at):
                        self._fold(record)
                    self._live.publish("arrival", question.visit_id)
                    return True
        return False
