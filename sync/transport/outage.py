"""When to try again after a session was lost, and what is said of it: once on loss, once on return."""

import logging
import random
import time

from sync.transport.tls import TlsFiles, own_fault, utc_now

FIRST_RETRY_S = 0.5
MAX_RETRY_S = 10.0
STEADY_S = 5.0  # a session that lasted this long was a good one: the next retry is quick again


class Outage:
    """Whether a session is up, since when not, and when the next attempt is due; times are monotonic seconds."""

    def __init__(
        self, log: logging.Logger, what: str, address: object, rng: random.Random, tls: TlsFiles | None
    ) -> None:
        """what: "broker" or "server", as the log calls it. rng: spreads retries. tls: our certificates, if any."""
        self._log, self._what, self._address, self._rng, self._tls = log, what, address, rng, tls
        self._up_s: float | None = None
        self._lost_s: float | None = None
        self._retry_s = FIRST_RETRY_S
        self._retry_at_s = 0.0
        self._reason: str | None = None
        self.sessions = 0  # how many have come up so far

    @property
    def connected(self) -> bool:
        return self._up_s is not None

    @property
    def lost_reason(self) -> str | None:
        """Why there is no session now; None while there is one."""
        return self._reason if not self.connected else None

    def waited(self, timeout_s: float) -> bool:
        """Sleep where the next attempt is not due, at most `timeout_s`; returns whether it did."""
        left_s = self._retry_at_s - time.monotonic()
        if left_s <= 0:
            return False
        time.sleep(min(timeout_s, left_s))
        return True

    def come_up(self) -> None:
        self._up_s = time.monotonic()
        self._reason = None
        self.sessions += 1
        if self._lost_s is None:
            self._log.info("%s connected address=%s", self._what, self._address)
        else:
            self._log.info("%s back address=%s away_s=%.0f", self._what, self._address, self._up_s - self._lost_s)
        self._lost_s = None

    def lose(self, reason: str) -> None:
        if not self.connected and (fault := own_fault(self._tls, utc_now())) is not None:
            reason = fault  # in TLS 1.3 the other side refuses without a word that reaches us
        now_s = time.monotonic()
        if self._lost_s is None:
            self._lost_s = now_s
            self._log.warning("%s unreachable address=%s reason=%s", self._what, self._address, reason)
        if self._up_s is not None and now_s - self._up_s > STEADY_S:
            self._retry_s = FIRST_RETRY_S
        self._retry_at_s = now_s + self._rng.uniform(0.5, 1.0) * self._retry_s
        self._retry_s = min(self._retry_s * 2, MAX_RETRY_S)
        self._up_s = None
        self._reason = reason

    def end(self) -> None:
        """The session was closed on purpose."""
        self._up_s = None
