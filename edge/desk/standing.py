"""How the arrivals of a day stand: which the desk has closed, as what, and who did."""

from collections import Counter, defaultdict
from collections.abc import Iterable

from edge.desk.shown import ShownVisit


def states(today: Iterable[ShownVisit]) -> Counter[str]:
    """How the day's arrivals stand: open, registered, dismissed."""
    return Counter(_standing(visit) for visit in today)


def closed_by(today: Iterable[ShownVisit]) -> list[tuple[str, Counter[str]]]:
    """What each account has closed of them, by account id."""
    closed: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for visit in today:
        if visit.checkin is not None and visit.state != "open":
            closed[visit.checkin.account_id][_standing(visit)] += 1
    return sorted(closed.items())


def _standing(visit: ShownVisit) -> str:
    return visit.state if visit.state in ("open", "registered") else "dismissed"
