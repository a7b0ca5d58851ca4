"""Parts of pages that every tablet asks for at the same moment, made once for all of them."""

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from starlette.responses import HTMLResponse, Response

KEPT_S = 1.0  # ages on it are a second old at most


@dataclass(frozen=True, slots=True)
class _Made:
    of: Hashable
    at_s: float
    body: bytes


class MadeOnce:
    """The newest of each part, for whoever asks while nothing has changed; any thread may ask."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._lock = threading.Lock()
        self._locks: dict[Hashable, threading.Lock] = {}
        self._made: dict[Hashable, _Made] = {}

    def part(self, name: Hashable, of: Hashable, make: Callable[[], Response]) -> Response:
        """The part `name` as made of `of`, or made now: the same for everybody who may see it, with no token in it."""
        with self._lock:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:  # the second to ask waits for the first
            kept = self._made.get(name)
            if kept is None or kept.of != of or self._now_s() - kept.at_s > KEPT_S:
                at_s = self._now_s()
                kept = self._made[name] = _Made(of, at_s, bytes(make().body))
        return HTMLResponse(kept.body)
