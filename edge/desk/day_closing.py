"""Every day that has ended is closed once: its numbers under the desk key, as `day.closed`."""

import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from edge.desk.arrivals import Arrivals
from edge.desk.day import Day, closed_fields, count, read_closed
from edge.desk.shifts import Shifts
from edge.desk.shown import KINDS
from edge.proven import proven
from sync.format.records import Record
from sync.format.stamp import to_us
from sync.format.visit_fields import DECISION_OF_KIND
from sync.node.ledger import Ledger

_log = logging.getLogger(__name__)
KIND = "day.closed"
_FIRST_DAYS = 31  # looked back on the first night: a HOME older than this command has no numbers for the desk before it
_MOST_DAYS = 400  # caught up at once: a wall clock far in the future would fill the chain with empty days


class DayClosing:
    """Closes the days of one HOME; whoever runs it, and however often, there is one record a day."""

    def __init__(self, open_ledger: Callable[[], Ledger], folder: Path, shifts: Shifts, close_at: str) -> None:
        """open_ledger: opens it under the desk key. folder: HOME. close_at: HH:MM, when the day before is closed."""
        self._open_ledger = open_ledger
        self._folder = folder
        self._shifts = shifts
        self._close_at = time.fromisoformat(close_at)

    def close_due(self, now: datetime | None = None) -> list[Record]:
        """Close each day that has ended and is not closed; returns the records, oldest first.

        Raises KeyNotInForce where the desk's key may sign no more; the days stay due then.
        """
        with closing(self._open_ledger()) as ledger:
            head = ledger.head()  # before anything is read: whatever another process closes lies behind it
            due = list(self._due(ledger, now or datetime.now(UTC)))
            if head is None or not due:
                return []
            upto = head.epoch, head.seq
            arrivals = _arrived(ledger, self._shifts.span_us(due[0])[0])
            counted = [count(arrivals.since(0), day, self._shifts) for day in due]
            with ledger.transaction() as transaction:
                meanwhile = {record.fields.get("day") for record in ledger.records((KIND,), upto)}
                records = [
                    transaction.append(KIND, closed_fields(day, self._shifts, upto))
                    for day in counted
                    if day.day.isoformat() not in meanwhile
                ]
        for record in records:
            _log.info("day closed day=%s seq=%d unclosed=%d", *(record.fields[k] for k in ("day", "seq", "unclosed")))
        return records

    def _due(self, ledger: Ledger, now: datetime) -> Iterator[date]:
        local = self._shifts.local(to_us(now))
        last = local.date() - timedelta(days=1 if local.time() >= self._close_at else 2)
        closed = {day.day for day, _ in closed_days(self._folder, ledger)}
        if closed:
            first = min(closed)
        else:
            begun = next(ledger.records(("epoch.started",)), None)
            born = self._shifts.day(begun.stamp.wall_us) if begun is not None else last
            first = max(born, last - timedelta(days=_FIRST_DAYS))
        if (last - first).days > _MOST_DAYS:
            first = last - timedelta(days=_MOST_DAYS)
        while first <= last:
            if first not in closed:
                yield first
            first += timedelta(days=1)


def closed_days(folder: Path, ledger: Ledger) -> list[tuple[Day, Record]]:
    """Every day closed so far, in the order of the days; only what the desk's key signed while in force counts.

    folder: HOME, where the enrolments of its keys lie.
    """
    found: dict[date, tuple[Day, Record]] = {}
    for record in proven(folder, ledger, ledger.records((KIND,))):
        try:
            day = read_closed(record.fields)
        except ValueError as error:  # of a later version; signed, so it stays
            _log.warning("day not read seq=%d: %s", record.seq, error)
            continue
        found.setdefault(day.day, (day, record))
    return [found[day] for day in sorted(found)]


def _arrived(ledger: Ledger, from_us: int) -> Arrivals:
    """Everybody who arrived since a moment, with all that was recorded of them until now."""
    arrivals = Arrivals()
    # by the door's time, not by a place among the stamps: after a start with a wrong clock these do not ascend
    first = ledger.connection.execute(
        f"SELECT epoch, seq - 1 FROM ledger WHERE kind IN ({','.join('?' * len(DECISION_OF_KIND))})"
        " AND json_extract(CAST(body AS TEXT), '$.arrived_us') >= ? ORDER BY epoch, seq LIMIT 1",
        (*DECISION_OF_KIND, from_us),
    ).fetchone()
    for record in ledger.records(KINDS, first) if first is not None else ():
        try:
            arrivals.add(record)
        except (KeyError, TypeError) as error:
            _log.warning("record not counted seq=%d kind=%s missing=%s", record.seq, record.kind, error)
    return arrivals
