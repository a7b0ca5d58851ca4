"""When a camera counts as down and as up again."""

from __future__ import annotations

from typing import Literal

DOWN_AFTER_S = 5.0
DOWN_AT_MOST_EVERY_S = 60.0


class Outage:
    """Judges one live camera by the times of its frames; all times are monotonic ns.

    "up" is said at the first frame and after every "down"; "down" after DOWN_AFTER_S without a frame, and at most once
    in DOWN_AT_MOST_EVERY_S: a camera that comes and goes is down for the record until the minute is over.
    """

    def __init__(self, started_ns: int) -> None:
        self._frame_ns = started_ns
        self._down_ns: int | None = None
        self._said: Literal["up", "down"] | None = None

    def frame(self, at_ns: int) -> bool:
        """Take a frame's time and return whether "up" is to be said."""
        self._frame_ns = at_ns
        is_news = self._said != "up"
        self._said = "up"
        return is_news

    def down_due_ns(self) -> int | None:
        """Return when "down" is to be said if no frame comes, None when it has been."""
        if self._said == "down":
            return None
        due_ns = self._frame_ns + int(DOWN_AFTER_S * 1e9)
        if self._down_ns is not None:
            due_ns = max(due_ns, self._down_ns + int(DOWN_AT_MOST_EVERY_S * 1e9))
        return due_ns

    def silence(self, now_ns: int) -> bool:
        """Take the time while no frame comes and return whether "down" is to be said."""
        due_ns = self.down_due_ns()
        if due_ns is None or now_ns < due_ns:
            return False
        self._said, self._down_ns = "down", now_ns
        return True
