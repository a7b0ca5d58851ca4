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

    def part(self, name: Hashable, state: Callable[[], Hashable], make: Callable[[], Response]) -> Response:
        """The part `name`, the same for everybody who may see it, with no token in it: as of the asking or later.

        state: another value after anything that the part shows has changed.
        """
        asked_s = self._now_s()
        with self._lock:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:  # whoever asks meanwhile waits, and shares what was begun after they had asked
            kept = self._made.get(name)
            if kept is None or not self._still_good(kept, asked_s, state):
                at_s, of = self._now_s(), state()  # before it is made: what is recorded meanwhile makes it old
                kept = self._made[name] = _Made(of, at_s, bytes(make().body))
        return HTMLResponse(kept.body)

    def _still_good(self, kept: _Made, asked_s: float, state: Callable[[], Hashable]) -> bool:
        if kept.at_s > asked_s:
            return True  # however much has been recorded since: all that stood at the asking is in it
        return asked_s - kept.at_s <= KEPT_S and kept.of == state()
