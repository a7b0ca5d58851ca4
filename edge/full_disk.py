"""A full disk: the node refuses new visits, says so, and goes on by itself once there is room."""

import logging
from datetime import UTC, datetime

from edge.clock import wall_us
from edge.reserve import Reserve
from sync.format.canonical import Fields
from sync.format.stamp import from_us, rfc3339, to_us
from sync.node.alarms import Alarms
from sync.node.ledger import Ledger
from sync.storage.database import DiskFull

log = logging.getLogger(__name__)

ALARM = "STORAGE_FULL"


class FullDisk:
    """Whether the node refuses, since when, and what the chain says of it.

    Two `storage.full` tell of one refusal: its beginning (`since_us`), and its end (`since_us`, `until_us`).
    """

    def __init__(self, reserve: Reserve, ledger: Ledger, alarms: Alarms) -> None:
        self._reserve = reserve
        self._ledger = ledger
        self._alarms = alarms
        self._since: datetime | None = None
        self._told = False

    @property
    def refusing(self) -> bool:
        """Whether new visits are not recorded."""
        return self._since is not None

    def begin(self) -> None:
        """At a start: refuse where there is no reserve, and end the refusal that an earlier run died in."""
        last = self._ledger.last_of("storage.full")
        open_since_us = last.fields.get("since_us") if last and "until_us" not in last.fields else None
        if not self._reserve.held:
            self.strike(datetime.now(UTC))
            self.tell()
        elif isinstance(open_since_us, int):
            self._since = from_us(open_since_us)
            self._end()

    def strike(self, now: datetime) -> None:
        """A write found no room: refuse from now on, and give up the reserve for what must still be said."""
        if self._since is None:
            self._since, self._told = now, False
            log.error("disk full: new visits are not recorded until there is room")
        self._reserve.release()

    def tell(self) -> None:
        """Write `storage.full` and the alarm, unless they are written; without room for even that, try again later."""
        if self._since is None or self._told:
            return
        since_us = to_us(self._since)
        try:
            self._ledger.append("storage.full", {"since_us": since_us, **self._figures()})
            self._told = True
            self._alarms.raise_alarm(ALARM, f"no room: nothing recorded since {rfc3339(since_us)}", wall_us())
        except DiskFull:
            log.debug("no room to say that there is no room")

    def over(self) -> bool:
        """Look whether there is room again; returns True once, when the refusal is over and on record."""
        if not self._reserve.retake():
            self.tell()
            return False
        self._end()
        return True

    def _end(self) -> None:
        assert self._since is not None
        since_us, until_us = to_us(self._since), wall_us()
        self._ledger.append("storage.full", {"since_us": since_us, "until_us": until_us, **self._figures()})
        self._since = None
        self._alarms.forget(ALARM)  # `doctor` and the pages go on telling of it, by the record
        log.warning("room on the disk again: recording; nothing recorded from=%s", rfc3339(since_us))

    def _figures(self) -> Fields:
        return {"free_bytes": self._reserve.free_bytes(), "reserve_bytes": self._reserve.size_bytes}
