"""When to try again after a session was lost, and what is said of it: once on loss, once on return."""

import logging
import random
import time

FIRST_RETRY_S = 0.5
MAX_RETRY_S = 10.0
STEADY_S = 5.0  # a session that lasted this long was a good one: the next retry is quick again


class Outage:
    """Whether a session is up, since when not, and when the next attempt is due; times are monotonic seconds."""

    def __init__(self, log: logging.Logger, what: str, address: object, rng: random.Random) -> None:
        """what: "broker" or "server", as the log calls it. rng: spreads retries."""
        self._log, self._what, self._address, self._rng = log, what, address, rng
        self._lost_s: float | None = None
        self._retry_s = FIRST_RETRY_S
        self.up_s: float | None = None
        self.retry_at_s = 0.0
        self.reason: str | None = None

    def come_up(self) -> None:
        self.up_s = time.monotonic()
        self.reason = None
        if self._lost_s is None:
            self._log.info("%s connected address=%s", self._what, self._address)
        else:
            self._log.info("%s back address=%s away_s=%.0f", self._what, self._address, self.up_s - self._lost_s)
        self._lost_s = None

    def lose(self, reason: str) -> None:
        now_s = time.monotonic()
        if self._lost_s is None:
            self._lost_s = now_s
            self._log.warning("%s unreachable address=%s reason=%s", self._what, self._address, reason)
        if self.up_s is not None and now_s - self.up_s > STEADY_S:
            self._retry_s = FIRST_RETRY_S
        self.retry_at_s = now_s + self._rng.uniform(0.5, 1.0) * self._retry_s
        self._retry_s = min(self._retry_s * 2, MAX_RETRY_S)
        self.up_s = None
        self.reason = reason
