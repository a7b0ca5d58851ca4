"""What nodes bring over HTTPS, handed to the one thread that judges, and its answers handed back."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field

from sync.central.ingest import Answer, Greeting
from sync.format.messages import Status
from sync.format.wire import MAX_ANSWERS, MAX_WINDOW_FRAMES, Channel

AWAY_S = 45.0  # without a word, after which a node counts as gone: it speaks every fifteen
_BUSY_S = 1.0

Answers = list[tuple[Channel, bytes]]


class Full(Exception):
    """A node has as many questions unanswered as its window has frames: it asks again later."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A frame, a status or sidecars of a node, one of them, and where its answer is waited for."""

    node_id: str
    frame: bytes | None
    status: Status | None
    side: bytes | None
    answer: "Future[Answers]" = field(default_factory=Future)


class Inbox:
    """A queue from the API's threads to the ingest's, and for each node what it is to be told when it next asks.

    `put` is for any thread; the rest belongs to the ingest's.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._parcels: deque[Parcel] = deque()
        self._waiting: dict[str, int] = {}
        self._mail: dict[str, deque[tuple[Channel, bytes]]] = {}
        self._seen_s: dict[str, float] = {}
        self._closed = False

    def put(
        self, node_id: str, frame: bytes | None, status: Status | None = None, side: bytes | None = None
    ) -> "Future[Answers]":
        """Hand something in; the future ends with the answers, or with what kept the ingest. Raises Full."""
        parcel = Parcel(node_id, frame, status, side)
        with self._lock:
            if self._closed or self._waiting.get(node_id, 0) >= MAX_WINDOW_FRAMES:
                raise Full
            self._waiting[node_id] = self._waiting.get(node_id, 0) + 1
            self._parcels.append(parcel)
        return parcel.answer

    @property
    def busy(self) -> bool:
        """Whether something waits or has just come: then the ingest looks here often."""
        now_s = self._monotonic()
        return bool(self._parcels) or any(now_s - seen_s < _BUSY_S for seen_s in self._seen_s.values())

    def take(self) -> list[Parcel]:
        """All that has come, in order."""
        with self._lock:
            parcels = list(self._parcels)
            self._parcels.clear()
        now_s, taken = self._monotonic(), list[Parcel]()
        for parcel in parcels:
            if not parcel.answer.set_running_or_notify_cancel():
                self._end(parcel)  # whoever asked has hung up
                continue
            taken.append(parcel)
            self._seen_s[parcel.node_id] = now_s
            self._mail.setdefault(parcel.node_id, deque(maxlen=MAX_ANSWERS))
        return taken

    def gone(self) -> list[Greeting]:
        """For each node that has fallen silent the word that it is offline; what it was to be told is forgotten."""
        now_s = self._monotonic()
        silent = [node_id for node_id, seen_s in self._seen_s.items() if now_s - seen_s > AWAY_S]
        for node_id in silent:
            self.forget(node_id)
        return [Greeting(Status(node_id, online=False, epoch=0, seq=0, acked=0)) for node_id in silent]

    def forget(self, node_id: str) -> None:
        """A node that is silent, or has come by the broker instead."""
        self._seen_s.pop(node_id, None)
        self._mail.pop(node_id, None)

    def keep(self, answer: Answer) -> bool:
        """Keep an answer until its node asks; False where the node does not come here."""
        mail = self._mail.get(answer.node_id)
        if mail is None:
            return False
        mail.append((answer.channel, answer.payload))
        return True

    def answer(self, parcels: Iterable[Parcel]) -> None:
        """End these questions, each with all there is for its node."""
        for parcel in parcels:
            mail = self._mail.get(parcel.node_id, deque())
            self._end(parcel)
            parcel.answer.set_result(list(mail))
            mail.clear()

    def fail(self, parcels: Iterable[Parcel], error: Exception) -> None:
        """End these questions with what kept the ingest from answering."""
        for parcel in parcels:
            self._end(parcel)
            parcel.answer.set_exception(error)

    def close(self) -> None:
        """Take nothing more, and answer what waits with nothing."""
        with self._lock:
            self._closed = True
        self.answer(self.take())

    def _end(self, parcel: Parcel) -> None:
        with self._lock:
            self._waiting[parcel.node_id] -= 1
            if not self._waiting[parcel.node_id]:
                del self._waiting[parcel.node_id]
