"""Every day that has ended is closed once: its numbers under the desk key, as `day.closed`.

By what time it surely is, not by the wall clock alone: set forward, that would close days before they have begun, and
whoever arrives on them would never count. A day that arrivals were recorded on after it was closed was closed under a
wrong clock: once it has ended it is closed anew, by a record that names the one before, and both stay.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import date, datetime, time, timedelta
from pathlib import Path

from edge.clock import KernelTime, read_kernel
from edge.desk.arrivals import Arrivals
from edge.desk.day import Day, closed_fields, count, read_closed
from edge.desk.folding import KINDS
from edge.desk.shifts import Shifts
from edge.proven import proven
from edge.sure_time import SureTime
from sync.format.canonical import Fields
from sync.format.records import Record
from sync.format.stamp import from_us, to_us
from sync.format.visit_fields import DECISION_OF_KIND
from sync.node.ledger import Ledger

_log = logging.getLogger(__name__)
KIND = "day.closed"
_FIRST_DAYS = 31  # looked back on the first night: a HOME older than this command has no numbers for the desk before it
_MOST_DAYS = 400  # caught up at once: a wall clock far in the future would fill the chain with empty days


class DayClosing:
    """Closes the days of one HOME; whoever runs it, and however often, there is one record a day that stands."""

    def __init__(
        self,
        open_ledger: Callable[[], Ledger],
        folder: Path,
        shifts: Shifts,
        close_at: str,
        read: Callable[[], KernelTime] = read_kernel,
    ) -> None:
        """open_ledger: opens it under the desk key. folder: HOME. close_at: HH:MM, when the day before is closed."""
        self._sure = SureTime(read)
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
            moment = now or from_us(self._sure.now(ledger).sure_us)
            due = dict(self._due(ledger, moment))
            if head is None or not due:
                return []
            upto = head.epoch, head.seq
            arrivals = _arrived(ledger, self._shifts.span_us(min(due))[0])
            counted = [count(arrivals.since(0), day, self._shifts) for day in sorted(due)]
            with ledger.transaction() as transaction:
                meanwhile = {record.fields.get("day") for record in ledger.records((KIND,), upto)}
                records = [
                    transaction.append(KIND, closed_fields(day, self._shifts, upto) | due[day.day])
                    for day in counted
                    if day.day.isoformat() not in meanwhile
                ]
        for record in records:
            _log.info("day closed day=%s seq=%d unclosed=%d", *(record.fields[k] for k in ("day", "seq", "unclosed")))
        return records

    def _due(self, ledger: Ledger, now: datetime) -> Iterator[tuple[date, Fields]]:
        """The days to close, and what their records say beside the numbers."""
        local = self._shifts.local(to_us(now))
        last = local.date() - timedelta(days=1 if local.time() >= self._close_at else 2)
        closed = {day.day: record for day, record in closed_days(self._folder, ledger)}
        if closed:
            first = min(closed)
        else:
            begun = next(ledger.records(("epoch.started",)), None)
            born = self._shifts.day(begun.stamp.wall_us) if begun is not None else last
            first = max(born, last - timedelta(days=_FIRST_DAYS))
        if (last - first).days > _MOST_DAYS:
            first = last - timedelta(days=_MOST_DAYS)
        recent = last - timedelta(days=_FIRST_DAYS)
        late = self._late(ledger, [record for day, record in closed.items() if day >= recent])
        while first <= last:
            if first not in closed:
                yield first, {}
            elif count := late.get(first):
                yield first, {"anew": closed[first].hash.hex(), "late": count}
            first += timedelta(days=1)

    def _late(self, ledger: Ledger, closed: Iterable[Record]) -> dict[date, int]:
        """How many arrivals of each closed day were recorded behind the last record that its numbers counted."""
        counted = {str(record.fields["day"]): _upto(record) for record in closed}
        found: dict[date, int] = {}
        if not counted:
            return found
        for epoch, seq, arrived_us in ledger.connection.execute(
            "SELECT epoch, seq, json_extract(CAST(body AS TEXT), '$.arrived_us') FROM ledger"
            f" WHERE kind IN ({','.join('?' * len(DECISION_OF_KIND))}) AND (epoch, seq) > (?, ?)"
            " AND json_extract(CAST(body AS TEXT), '$.seen') IS NULL",  # which only names whom a record before has seen
            (*DECISION_OF_KIND, *min(counted.values())),
        ):
            day = self._shifts.day(arrived_us) if isinstance(arrived_us, int) else None
            if day is not None and (epoch, seq) > counted.get(day.isoformat(), (epoch, seq)):
                found[day] = found.get(day, 0) + 1
        return found


def _upto(record: Record) -> tuple[int, int]:
    """The last record that a day's numbers counted; its own place where it does not say."""
    upto = record.fields.get("upto")
    epoch, seq = (upto.get("epoch"), upto.get("seq")) if isinstance(upto, dict) else (None, None)
    return (epoch, seq) if isinstance(epoch, int) and isinstance(seq, int) else (record.epoch, record.seq)


def closed_days(folder: Path, ledger: Ledger) -> list[tuple[Day, Record]]:
    """Every day closed so far, in the order of the days: the record that stands of each.

    folder: HOME, where the enrolments of its keys lie. Only what the desk's key signed while in force counts. The first
    record of a day stands, until another names it (`anew`): `closings` has those before it too.
    """
    return [told[-1] for told in closings(folder, ledger)]


def closings(folder: Path, ledger: Ledger) -> list[list[tuple[Day, Record]]]:
    """Of every day closed so far its records, each named by the next; as `closed_days`."""
    found: dict[date, list[tuple[Day, Record]]] = {}
    for record in proven(folder, ledger, ledger.records((KIND,))):
        try:
            day = read_closed(record.fields)
        except ValueError as error:  # of a later version; signed, so it stays
            _log.warning("day not read seq=%d: %s", record.seq, error)
            continue
        told = found.setdefault(day.day, [])
        if not told or record.fields.get("anew") == told[-1][1].hash.hex():
            told.append((day, record))
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
