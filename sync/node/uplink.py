"""The sending end of the protocol: which frame may leave next, and what an answer means. No I/O; time is passed in."""

import random
from collections import deque
from typing import Literal, TypeAlias

from sync.format.messages import NackCode

Position: TypeAlias = tuple[int, int]
"""(epoch, seq) of a record; (0, 0) lies before the first."""

Answer: TypeAlias = Literal["progress", "same", "rollback", "resend", "stop", "ignored"]
"""What an ack or a nack meant: more is held, nothing new, central lost what it had acknowledged, send again, give up
sending, or nothing that changes what is sent."""

ACK_TIMEOUT_S = 5.0
MAX_ACK_TIMEOUT_S = 60.0
STALE_PATIENCE_S = 600.0
"""How long one session must send without a new answer before an old one counts: central's clock was set back then."""


class Uplink:
    """Go-back-N over the records of one chain.

    Frames leave in order from the last acknowledged record on, at most `window` of them unanswered. What is not
    acknowledged within a timeout that doubles is sent again from there. The caller reads the frames from the ledger
    and carries them; this class only knows their last positions. Times are monotonic seconds.
    """

    def __init__(self, acked: Position, newest_us: int | None, rng: random.Random, floor: Position = (0, 0)) -> None:
        """acked: the last record whose ack is on this disk. newest_us: central's time in the newest ack there, if any.

        rng: spreads the timeouts of many nodes. floor: the last record that central is not to be sent any more.
        """
        self._acked = acked
        self._newest_us = newest_us
        self._unanswered_since_s: float | None = None
        self._floor = floor
        self._sent = max(acked, floor)
        self._in_flight: deque[Position] = deque()
        self._window = 1
        self._timeout_s = ACK_TIMEOUT_S
        self._deadline_s: float | None = None
        self._rewound: tuple[Position, float] | None = None
        self._connected = False
        self._stopped: NackCode | None = None
        self._rng = rng

    @property
    def acked(self) -> Position:
        """The last record that central holds, as far as its newest ack says."""
        return self._acked

    @property
    def stopped(self) -> NackCode | None:
        """The refusal after which nothing is sent any more, or None."""
        return self._stopped

    def connect(self) -> None:
        """The link is up: begin again from the record after the last acknowledged.

        With one frame, until central's first ack says how many it can take: all nodes may come back at once.
        """
        self._connected = True
        self._window = 1
        self._timeout_s = ACK_TIMEOUT_S
        self._rewound = None
        self._unanswered_since_s = None
        self._rewind(self._acked)

    def disconnect(self) -> None:
        self._connected = False
        self._rewind(self._acked)

    def send_after(self) -> Position | None:
        """The position behind which the next frame begins, or None while nothing may be sent."""
        if not self._connected or self._stopped or len(self._in_flight) >= self._window:
            return None
        return self._sent

    def sent(self, last: Position, now_s: float) -> None:
        """A frame that ends with the record `last` has left."""
        self._sent = last
        self._in_flight.append(last)
        if self._unanswered_since_s is None:
            self._unanswered_since_s = now_s
        if self._deadline_s is None:
            self._arm(now_s)

    def believes(self, central_time_us: int, now_s: float, upto: Position | None = None) -> bool:
        """Whether a verified answer of central's is to be followed, or is an old one played again.

        upto: of an ack, None for a nack. An ack of more is followed whatever its time: central did hold that record.
        A nack may be as old as the newest answer: central gives both the time of one commit.
        """
        if self._newest_us is None or central_time_us > self._newest_us:
            return True
        if central_time_us == self._newest_us if upto is None else upto > self._acked:
            return True
        return self._unanswered_since_s is not None and now_s >= self._unanswered_since_s + STALE_PATIENCE_S

    def on_ack(self, upto: Position, window: int, central_time_us: int, now_s: float) -> Answer:
        """A verified ack that `believes` let pass and whose head is this chain's own record at `upto`."""
        self._heard(central_time_us)
        self._window = window
        if upto < self._acked:
            self._acked = upto
            self._rewind(upto)
            return "rollback"
        if upto == self._acked:
            if self._deadline_s is not None:  # central is there: do not sit out a timeout that had grown long
                self._deadline_s = min(self._deadline_s, now_s + ACK_TIMEOUT_S)
            return "same"
        self._acked = upto
        self._sent = max(self._sent, upto)
        while self._in_flight and self._in_flight[0] <= upto:
            self._in_flight.popleft()
        self._timeout_s = ACK_TIMEOUT_S
        self._arm(now_s)
        return "progress"

    def pass_over(self, end: Position, central_time_us: int, now_s: float) -> None:
        """Central holds, or will never take, what this chain has up to `end`, the end of an epoch: send what follows.

        It holds more of it after a restore, and takes nothing of it that a retired key signed. That says nothing of
        this chain's own records; the ack of the next epoch, which begins with the hash of the last of them, will.
        """
        self._heard(central_time_us)
        self._floor = max(self._floor, end)
        if end > self._sent:
            self._rewind(end)
            self._arm(now_s)

    def on_nack(self, code: NackCode, at: Position, ours: bool, central_time_us: int, now_s: float) -> Answer:
        """A verified refusal of the record `at`, let pass by `believes`; for GAP, `at` is the record central misses.

        ours: whether what it refuses is this chain's own record at that place.
        """
        self._heard(central_time_us)
        if code in ("BAD_SIG", "TOO_BIG") or (code == "REVOKED" and not (ours and at > self._acked)):
            # whatever central got, somebody else may have sent it; ours goes again when it is overdue, ever slower
            return "ignored"
        if code != "GAP":
            self._stopped = code
            self._rewind(self._acked)
            return "stop"
        before = (at[0], at[1] - 1)
        self._floor = min(self._floor, before)  # it was wrong, or has lost since what it had
        if at <= self._acked:
            self._acked = before
            self._rewind(before)
            return "rollback"
        if before > self._sent:
            return "ignored"
        # One lost frame draws a GAP for each frame behind it; only the first of them rewinds.
        if self._rewound and self._rewound[0] == at and now_s < self._rewound[1] + ACK_TIMEOUT_S:
            return "ignored"
        self._rewind(max(before, self._acked))
        self._rewound = (at, now_s)
        self._arm(now_s)
        return "resend"

    def tick(self, now_s: float) -> bool:
        """Whether the answer is overdue; then everything unacknowledged is due again, with twice the patience."""
        if self._deadline_s is None or now_s < self._deadline_s:
            return False
        self._timeout_s = min(self._timeout_s * 2, MAX_ACK_TIMEOUT_S)
        self._rewind(self._acked)
        return True

    def postpone(self, now_s: float) -> None:
        """The frames have not left this machine yet, so the answer cannot be overdue."""
        if self._deadline_s is not None:
            self._deadline_s = max(self._deadline_s, now_s + ACK_TIMEOUT_S)

    def _heard(self, central_time_us: int) -> None:
        self._newest_us = central_time_us
        self._unanswered_since_s = None

    def _rewind(self, to: Position) -> None:
        self._sent = max(to, self._floor)
        self._in_flight.clear()
        self._deadline_s = None

    def _arm(self, now_s: float) -> None:
        waiting = self._sent > self._acked
        self._deadline_s = now_s + self._timeout_s * self._rng.uniform(0.8, 1.2) if waiting else None
