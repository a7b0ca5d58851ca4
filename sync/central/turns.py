"""What has come and waits to be judged, in the order in which it came."""

from collections import deque
from dataclasses import dataclass, field

from sync.central.inbox import Parcel
from sync.central.ingest import Greeting
from sync.central.readers import Reading

TURN_BYTES = 512 * 1024  # some 500 records: one turn's answers leave before the next is judged
FULL_BYTES = 1024 * 1024  # the readers have enough to do meanwhile


@dataclass(slots=True)
class Turn:
    """What is judged and committed together; parcels: who waits for that over HTTPS."""

    frames: list[Reading] = field(default_factory=list)
    greetings: list[Greeting] = field(default_factory=list)
    parcels: list[Parcel] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Waiting:
    what: Reading | Greeting
    parcel: Parcel | None

    @property
    def ready(self) -> bool:
        return isinstance(self.what, Greeting) or self.what.ready

    @property
    def size(self) -> int:
        return 0 if isinstance(self.what, Greeting) else len(self.what.payload)


class Turns:
    """A queue whose front is what the next commit holds.

    That is half of what waits, and what is read by then besides: while it is kept, the other half is read.
    """

    def __init__(self) -> None:
        self._waiting: deque[_Waiting] = deque()
        self._size = 0  # bytes of frames

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def full(self) -> bool:
        """Whether no more should be fetched for now."""
        return self._size >= FULL_BYTES

    def add(self, what: Reading | Greeting, parcel: Parcel | None = None) -> None:
        """Queue something up; parcel: in which it came over HTTPS."""
        one = _Waiting(what, parcel)
        self._waiting.append(one)
        self._size += one.size

    def next(self) -> Turn:
        """Take the front off the queue, cut where a commit is worth its cost."""
        turn, size, half = Turn(), 0, self._size / 2
        while self._waiting and size < TURN_BYTES and (size < half or self._waiting[0].ready):
            one = self._waiting.popleft()
            size += one.size
            if isinstance(one.what, Greeting):
                turn.greetings.append(one.what)
            else:
                turn.frames.append(one.what)
            if one.parcel is not None:
                turn.parcels.append(one.parcel)
        self._size -= size
        return turn

    def clear(self) -> list[Parcel]:
        """Forget everything; returns the parcels that were waiting."""
        parcels = [one.parcel for one in self._waiting if one.parcel is not None]
        self._waiting.clear()
        self._size = 0
        return parcels
