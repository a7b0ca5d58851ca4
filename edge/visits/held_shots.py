"""The pictures of arrivals whose visitors have not been asked yet: in this process's memory, for an hour at most."""

from dataclasses import dataclass, replace
from datetime import datetime

from camera.pipeline import Arrival
from edge.consent import HELD_S
from sync.format.records import Record

MOST_HELD = 200  # arrivals; of 112 px chips 41 MB. A bus of forty at sixty an hour is half of it


@dataclass(slots=True, eq=False)
class Held:
    """An arrival that nobody has been asked about. record: its visit.seen. beside: visits seen in one frame with it."""

    record: Record
    arrival: Arrival
    beside: set[str]
    until_s: float

    @property
    def visit_id(self) -> str:
        return str(self.record.fields["visit"])


class HeldShots:
    """Arrivals by visit, the longest held first. now_s is monotonic."""

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, visit_id: str) -> bool:
        return visit_id in self._held

    def hold(self, record: Record, arrival: Arrival, now: datetime, now_s: float) -> None:
        """Keep an arrival's chips and its best picture until an hour after the first of them was taken.

        Beyond MOST_HELD the one held longest goes.
        """
        taken = min(shot.captured_at for shot in arrival.shots)
        age_s = max(0.0, (now - taken).total_seconds())
        company = set(record.fields.get("company", ()))
        held = Held(record, _lean(arrival), company, now_s + max(0.0, HELD_S - age_s))
        for other in held.beside & self._held.keys():
            self._held[other].beside.add(held.visit_id)
        self._held[held.visit_id] = held
        while len(self._held) > MOST_HELD:
            del self._held[next(iter(self._held))]

    def better(self, arrival: Arrival) -> None:
        """Put better pictures of a track in the place of those that are held, for no longer than they were."""
        for held in self._held.values():
            if (held.arrival.camera_id, held.arrival.track_id) == (arrival.camera_id, arrival.track_id):
                held.arrival = _lean(replace(arrival, first_seen_at=held.arrival.first_seen_at))

    def get(self, visit_id: str) -> Held | None:
        return self._held.get(visit_id)

    def drop(self, visit_id: str) -> None:
        """Let go of an arrival; its memory is overwritten as it is freed."""
        self._held.pop(visit_id, None)

    def drop_all(self) -> None:
        self._held.clear()

    def sweep(self, now_s: float) -> int:
        """Let go of those whose hour is over; returns how many."""
        over = [visit_id for visit_id, held in self._held.items() if held.until_s <= now_s]
        for visit_id in over:
            del self._held[visit_id]
        return len(over)


def _lean(arrival: Arrival) -> Arrival:
    """An arrival with the picture of its best shot only; the chips are what is compared."""
    best, *others = arrival.shots
    return replace(arrival, shots=(best, *(replace(shot, crop=b"") for shot in others)))
