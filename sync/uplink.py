"""The sending end of the protocol: which frame may leave next, and what an answer means. No I/O; time is passed in."""

import random
from collections import deque
from typing import Literal, TypeAlias

from sync.messages import NackCode
from sync.wire import MAX_WINDOW_FRAMES

Position: TypeAlias = tuple[int, int]
"""(epoch, seq) of a record; (0, 0) lies before the first."""

Answer: TypeAlias = Literal["progress", "same", "rollback", "resend", "stop", "ignored"]
"""What an ack or a nack meant: more is held, nothing new, central lost what it had acknowledged, send again, give up
sending, or nothing to do with what was sent."""

ACK_TIMEOUT_S = 5.0
MAX_ACK_TIMEOUT_S = 60.0


class Uplink:
    """Go-back-N over the records of one chain.

    Frames leave in order from the last acknowledged record on, at most `window` of them unanswered. What is not
    acknowledged within a timeout that doubles is sent again from there. The caller reads the frames from the ledger
    and carries them; this class only knows their last positions. Times are monotonic seconds.
    """

    def __init__(self, acked: Position, rng: random.Random) -> None:
        """acked: the last record whose ack is on this disk. rng: spreads the timeouts of many nodes."""
        self._acked = acked
        self._sent = acked
        self._in_flight: deque[Position] = deque()
        self._window = MAX_WINDOW_FRAMES
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
        """The link is up: begin again from the record after the last acknowledged."""
        self._connected = True
        self._timeout_s = ACK_TIMEOUT_S
        self._rewound = None
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
        if self._deadline_s is None:
            self._arm(now_s)

    def on_ack(self, upto: Position, window: int, now_s: float) -> Answer:
        """A verified, fresh ack whose head is this chain's own record at `upto`."""
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

    def on_nack(self, code: NackCode, at: Position, now_s: float) -> Answer:
        """A verified refusal of the record `at`; for GAP, `at` is the record central misses."""
        if code != "GAP":
            self._stopped = code
            self._rewind(self._acked)
            return "stop"
        before = (at[0], at[1] - 1)
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

    def _rewind(self, to: Position) -> None:
        self._sent = to
        self._in_flight.clear()
        self._deadline_s = None

    def _arm(self, now_s: float) -> None:
        waiting = self._sent > self._acked
        self._deadline_s = now_s + self._timeout_s * self._rng.uniform(0.8, 1.2) if waiting else None
