"""A day at the desk in numbers: how many arrived, how each was closed and by whom, and how many were missed."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date
from itertools import pairwise

from edge.desk.shifts import Shifts
from edge.desk.shown import DISMISSED, ShownVisit
from sync.format.canonical import Fields
from sync.format.visit_fields import number_of

MOST_HOSTS = 24  # named in one record, to keep its body far under 8 KiB


@dataclass(frozen=True, slots=True)
class Tally:
    """How many arrivals the desk has closed as what, and how many nobody has closed."""

    registered: int = 0
    companion: int = 0
    not_customer: int = 0
    refused: int = 0
    left: int = 0
    unclosed: int = 0

    @property
    def arrivals(self) -> int:
        return sum(getattr(self, field.name) for field in fields(self))

    @property
    def customers(self) -> int:
        """Arrivals that nobody has said to be no customers."""
        return self.arrivals - self.not_customer

    @property
    def dismissed(self) -> int:
        return self.companion + self.not_customer + self.refused + self.left

    @property
    def missed(self) -> float | None:
        """漏登率: the share of customers that nobody has closed, 0..1; None where there were none."""
        return self.unclosed / self.customers if self.customers else None

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    def counted(self) -> dict[str, int]:
        """Each number by its name, as records hold them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def read(cls, body: Fields) -> "Tally":
        """Of a record; what it does not hold is none."""
        return cls(**{field.name: number_of(body, field.name) or 0 for field in fields(cls)})


_STANDINGS = frozenset(field.name for field in fields(Tally))


@dataclass(frozen=True, slots=True)
class HostTally:
    """One account's part of a day; account_id: None for what nobody was at the desk for. taken_back: dismissals."""

    account_id: str | None
    tally: Tally
    taken_back: int


@dataclass(frozen=True, slots=True)
class ShiftTally:
    """One shift's part of a day; starts_min: minutes since midnight."""

    shift_id: str
    starts_min: int
    tally: Tally


@dataclass(frozen=True, slots=True)
class Day:
    """What a day came to. unseen: heads of groups that no camera saw, as the desk counted them."""

    day: date
    total: Tally
    unseen: int
    taken_back: int
    shifts: tuple[ShiftTally, ...]
    hosts: tuple[HostTally, ...]

    @property
    def heads(self) -> int:
        return self.total.arrivals + self.unseen


def count(visits: Iterable[ShownVisit], day: date, shifts: Shifts) -> Day:
    """Count the visits that arrived on a day, as they stand now.

    An arrival that nobody has closed is put to whoever was at the desk: in its shift the last to have closed anything
    before it came, else the first after; nobody, where nobody has.
    """
    from_us, until_us = shifts.span_us(day)
    arrived = sorted((v for v in visits if from_us <= v.arrived_us < until_us), key=lambda v: (v.arrived_us, v.at))
    at_desk = _AtDesk(arrived, day, shifts)
    of_shift: dict[str, Counter[str]] = {shift_id: Counter() for shift_id, _ in shifts}
    of_host: dict[str | None, Counter[str]] = {}
    taken_back: Counter[str | None] = Counter()
    for visit in arrived:
        standing, shift_id, closing = _standing(visit), shifts.at(visit.arrived_us), visit.checkin
        if closing is None or closing.state == "open":
            host = at_desk.host(shift_id, visit.arrived_us)
        else:
            host = closing.account_id
        of_shift[shift_id][standing] += 1
        of_host.setdefault(host, Counter())[standing] += 1
        for told, then in pairwise(visit.closings):
            if told.state in DISMISSED and then.reason != "undone":
                taken_back[told.account_id] += 1
    accounts = sorted({*of_host, *taken_back}, key=lambda account: (account is None, account or ""))
    by_shift = {shift_id: Tally(**counted) for shift_id, counted in of_shift.items()}
    return Day(
        day=day,
        total=sum(by_shift.values(), Tally()),
        unseen=_unseen(arrived),
        taken_back=taken_back.total(),
        shifts=tuple(ShiftTally(shift_id, starts_min, by_shift[shift_id]) for shift_id, starts_min in shifts),
        hosts=tuple(HostTally(one, Tally(**of_host.get(one, Counter())), taken_back[one]) for one in accounts),
    )


class _AtDesk:
    """Who was at the desk when on a day, as far as what they closed tells."""

    def __init__(self, arrived: Iterable[ShownVisit], day: date, shifts: Shifts) -> None:
        self._acts: dict[str, list[tuple[int, str]]] = {}
        for at_us, account_id in sorted((told.at_us, told.account_id) for v in arrived for told in v.closings):
            if shifts.day(at_us) == day:
                self._acts.setdefault(shifts.at(at_us), []).append((at_us, account_id))

    def host(self, shift_id: str, at_us: int) -> str | None:
        acts = self._acts.get(shift_id, [])
        behind = bisect_right(acts, at_us, key=lambda act: act[0])
        return acts[max(0, behind - 1)][1] if acts else None


def _standing(visit: ShownVisit) -> str:
    state = visit.state
    return state if state in _STANDINGS else "unclosed"


def _unseen(arrived: Sequence[ShownVisit]) -> int:
    """Heads that the desk counted in groups beyond those that the cameras saw of them."""
    seen: dict[str, int] = {}
    for visit in arrived:
        seen[visit.party_id or visit.visit_id] = seen.get(visit.party_id or visit.visit_id, 0) + 1
    told: dict[str, int] = {}
    for visit in arrived:
        if visit.state == "registered" and visit.checkin is not None and visit.checkin.heads:
            party = visit.party_id or visit.visit_id
            told[party] = max(told.get(party, 0), visit.checkin.heads)
    return sum(max(0, heads - seen[party]) for party, heads in told.items())


def closed_fields(day: Day, shifts: Shifts, upto: tuple[int, int]) -> Fields:
    """The body of a day's `day.closed`; upto: (epoch, seq) of the last record that was counted."""
    from_us, until_us = shifts.span_us(day.day)
    busiest = sorted(day.hosts, key=lambda host: -host.tally.arrivals)
    named, rest = busiest[:MOST_HOSTS], busiest[MOST_HOSTS:]
    if rest:
        both = sum((host.tally for host in rest), Tally()), sum(host.taken_back for host in rest)
        named.append(HostTally(None, *both))
    return {
        "day": day.day.isoformat(),
        "from_us": from_us,
        "until_us": until_us,
        "heads": day.heads,
        "arrivals": day.total.arrivals,
        **day.total.counted(),
        "taken_back": day.taken_back,
        "shifts": [
            {"shift": one.shift_id, "starts_min": one.starts_min, **_without_none(one.tally.counted())}
            for one in day.shifts
        ],
        "hosts": [
            ({} if one.account_id is None else {"account": one.account_id})
            | _without_none({**one.tally.counted(), "taken_back": one.taken_back})
            for one in named
        ],
        "upto": {"epoch": upto[0], "seq": upto[1]},
    }


def read_closed(body: Fields) -> Day:
    """A day as its `day.closed` says it; raises ValueError where it names none."""
    total = Tally.read(body)
    return Day(
        day=date.fromisoformat(str(body.get("day"))),
        total=total,
        unseen=max(0, (number_of(body, "heads") or 0) - total.arrivals),
        taken_back=number_of(body, "taken_back") or 0,
        shifts=tuple(
            ShiftTally(str(one.get("shift", "?")), number_of(one, "starts_min") or 0, Tally.read(one))
            for one in _listed(body, "shifts")
        ),
        hosts=tuple(
            HostTally(one.get("account"), Tally.read(one), number_of(one, "taken_back") or 0)
            for one in _listed(body, "hosts")
        ),
    )


def _listed(body: Fields, name: str) -> list[Fields]:
    listed = body.get(name)
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def _without_none(counted: Mapping[str, int]) -> dict[str, int]:
    return {name: number for name, number in counted.items() if number}
