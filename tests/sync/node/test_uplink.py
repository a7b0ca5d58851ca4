"""Go-back-N without I/O: a model central, a channel that loses, repeats and breaks, and time by hand."""

import random
from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync.format.messages import NackCode
from sync.format.wire import MAX_WINDOW_FRAMES
from sync.node.uplink import ACK_TIMEOUT_S, MAX_ACK_TIMEOUT_S, STALE_PATIENCE_S, Position, Uplink

START: Position = (0, 0)
NEWEST_US = 1_760_000_000_000_000
NEWER_US = NEWEST_US + 1_000_000


def connected(acked: Position = START) -> Uplink:
    uplink = Uplink(acked, NEWEST_US, random.Random(1))
    uplink.connect()
    uplink.on_ack(acked, MAX_WINDOW_FRAMES, NEWEST_US, 0.0)  # what central says to whoever comes online
    return uplink


def send(uplink: Uplink, *lasts: int, now_s: float = 0.0) -> None:
    for last in lasts:
        assert uplink.send_after() is not None
        uplink.sent((1, last), now_s)


def test_nothing_is_sent_before_a_connection() -> None:
    assert Uplink(START, None, random.Random(1)).send_after() is None


def test_a_session_begins_with_one_frame_until_central_has_said_how_many_it_takes() -> None:
    uplink = Uplink(START, NEWEST_US, random.Random(1))
    uplink.connect()
    send(uplink, 10)
    assert uplink.send_after() is None
    uplink.on_ack(START, 3, NEWER_US, 0.0)
    send(uplink, 20, 30)
    assert uplink.send_after() is None
    uplink.disconnect()
    uplink.connect()
    send(uplink, 10)
    assert uplink.send_after() is None


def test_frames_follow_each_other_without_waiting_until_the_window_is_full() -> None:
    uplink = connected()
    for number in range(MAX_WINDOW_FRAMES):
        assert uplink.send_after() == ((1, number * 10) if number else START)
        uplink.sent((1, number * 10 + 10), 0.0)
    assert uplink.send_after() is None


def test_a_cumulative_ack_frees_every_frame_it_covers() -> None:
    uplink = connected()
    send(uplink, *range(10, 90, 10))
    assert uplink.on_ack((1, 30), MAX_WINDOW_FRAMES, NEWER_US, 1.0) == "progress"
    assert uplink.acked == (1, 30)
    send(uplink, 90, 100, 110)
    assert uplink.send_after() is None


def test_central_may_narrow_the_window() -> None:
    uplink = connected()
    send(uplink, 10)
    uplink.on_ack((1, 10), 1, NEWER_US, 0.0)
    send(uplink, 20)
    assert uplink.send_after() is None


def test_an_answer_that_stays_away_sends_everything_unacknowledged_again() -> None:
    uplink = connected((1, 5))
    send(uplink, 10, 20)
    assert not uplink.tick(ACK_TIMEOUT_S * 0.79)
    assert uplink.tick(ACK_TIMEOUT_S * 1.21)
    assert uplink.send_after() == (1, 5)


def test_patience_doubles_up_to_a_limit_and_is_reset_by_an_ack() -> None:
    uplink, now_s, waits = connected(), 0.0, []
    for _ in range(8):
        send(uplink, 10, now_s=now_s)
        began_s = now_s
        while not uplink.tick(now_s):
            now_s += 0.1
        waits.append(now_s - began_s)
    assert waits[1] > waits[0] * 1.2
    assert MAX_ACK_TIMEOUT_S * 0.79 < max(waits) < MAX_ACK_TIMEOUT_S * 1.21
    send(uplink, 10, now_s=now_s)
    uplink.on_ack((1, 10), 8, NEWER_US, now_s)
    send(uplink, 20, now_s=now_s)
    assert uplink.tick(now_s + ACK_TIMEOUT_S * 1.21)


def test_an_ack_of_what_was_known_shortens_a_long_wait() -> None:
    uplink, now_s = connected((1, 5)), 0.0
    for _ in range(6):
        send(uplink, 10, now_s=now_s)
        now_s += MAX_ACK_TIMEOUT_S * 1.3
        assert uplink.tick(now_s)
    send(uplink, 10, now_s=now_s)
    assert uplink.on_ack((1, 5), 8, NEWER_US, now_s) == "same"
    assert uplink.tick(now_s + ACK_TIMEOUT_S)


def test_nothing_is_overdue_while_the_link_is_still_carrying_it() -> None:
    uplink = connected()
    send(uplink, 10)
    uplink.postpone(ACK_TIMEOUT_S * 2)
    assert not uplink.tick(ACK_TIMEOUT_S * 2.5)
    assert uplink.tick(ACK_TIMEOUT_S * 3)


def test_after_a_reconnect_sending_begins_behind_the_last_ack() -> None:
    uplink = connected()
    send(uplink, 10, 20, 30)
    uplink.on_ack((1, 15), 8, NEWER_US, 0.0)
    uplink.disconnect()
    assert uplink.send_after() is None
    uplink.connect()
    assert uplink.send_after() == (1, 15)


def test_an_ack_below_an_earlier_one_is_a_rollback_and_sends_again_from_there() -> None:
    uplink = connected((1, 50))
    send(uplink, 60)
    assert uplink.on_ack((1, 20), 8, NEWER_US, 0.0) == "rollback"
    assert uplink.send_after() == (1, 20)
    assert uplink.acked == (1, 20)


def test_a_gap_sends_again_from_the_missing_record_once_for_a_burst_of_gaps() -> None:
    uplink = connected((1, 5))
    send(uplink, 10, 20, 30)
    assert uplink.on_nack("GAP", (1, 11), False, NEWER_US, 1.0) == "resend"
    assert uplink.send_after() == (1, 10)
    send(uplink, 20, 30)
    assert uplink.on_nack("GAP", (1, 11), False, NEWER_US, 1.1) == "ignored"
    assert uplink.send_after() == (1, 30)


def test_a_gap_at_or_below_the_last_ack_is_a_rollback() -> None:
    uplink = connected((1, 50))
    assert uplink.on_nack("GAP", (1, 1), False, NEWER_US, 0.0) == "rollback"
    assert uplink.send_after() == (1, 0)


def test_a_gap_beyond_what_was_sent_is_ignored() -> None:
    uplink = connected((1, 5))
    send(uplink, 10)
    assert uplink.on_nack("GAP", (1, 100), False, NEWER_US, 0.0) == "ignored"
    assert uplink.send_after() == (1, 10)


def test_a_gap_answered_by_frames_that_are_lost_too_still_times_out() -> None:
    uplink = connected((1, 5))
    send(uplink, 10, 20)
    uplink.on_nack("GAP", (1, 11), False, NEWER_US, 0.0)
    assert uplink.tick(ACK_TIMEOUT_S * 1.21)
    assert uplink.send_after() == (1, 5)


@pytest.mark.parametrize("code", ["FORK", "REVOKED"])
def test_a_fork_or_a_revocation_stops_sending_for_good(code: NackCode) -> None:
    uplink = connected()
    send(uplink, 10)
    assert uplink.on_nack(code, (1, 3), True, NEWER_US, 0.0) == "stop"
    uplink.connect()
    assert uplink.send_after() is None
    assert uplink.stopped == code


def test_a_revocation_stops_nothing_where_it_refuses_what_somebody_else_signed_or_what_is_held() -> None:
    uplink = connected((2, 5))
    assert uplink.on_nack("REVOKED", (1, 4), False, NEWER_US, 0.0) == "ignored"
    assert uplink.on_nack("REVOKED", (2, 6), False, NEWER_US, 0.0) == "ignored"
    assert uplink.on_nack("REVOKED", (2, 5), True, NEWER_US, 0.0) == "ignored"
    assert uplink.send_after() == (2, 5)


@pytest.mark.parametrize("code", ["BAD_SIG", "TOO_BIG"])
def test_a_refusal_that_others_can_draw_is_met_with_the_same_again_ever_slower(code: NackCode) -> None:
    uplink, now_s, waits = connected((1, 5)), 0.0, []
    for _ in range(7):
        send(uplink, 10, now_s=now_s)
        began_s = now_s
        for _ in range(3):
            assert uplink.on_nack(code, (1, 6), True, NEWER_US, now_s) == "ignored"
        while not uplink.tick(now_s):
            now_s += 0.1
        waits.append(now_s - began_s)
        assert uplink.send_after() == (1, 5)
    assert uplink.stopped is None
    assert waits[1] > waits[0] * 1.2
    assert MAX_ACK_TIMEOUT_S * 0.79 < max(waits) < MAX_ACK_TIMEOUT_S * 1.21


# -- old answers played again ------------------------------------------------------------------------------------


def test_an_answer_no_newer_than_the_newest_is_not_believed() -> None:
    uplink = connected((1, 50))
    assert not uplink.believes(NEWEST_US, 0.0, (1, 20))
    assert not uplink.believes(NEWEST_US, 0.0, (1, 50))
    assert not uplink.believes(NEWEST_US - 1, 0.0)
    assert uplink.believes(NEWEST_US, 0.0)  # a nack of the commit that the newest ack is of
    assert uplink.believes(NEWEST_US + 1, 0.0, (1, 20))
    uplink.on_nack("GAP", (1, 51), False, NEWER_US, 0.0)
    assert not uplink.believes(NEWER_US - 1, 0.0)
    assert not uplink.believes(NEWER_US, 0.0, (1, 20))


def test_an_ack_of_more_is_believed_whatever_its_time_and_the_clock_of_central_is_learnt_from_it() -> None:
    uplink, hour_us = connected((1, 50)), 3_600_000_000
    send(uplink, 60)
    back_us = NEWEST_US - hour_us
    assert uplink.believes(back_us, 0.0, (1, 60))
    assert uplink.on_ack((1, 60), 8, back_us, 0.0) == "progress"
    assert uplink.believes(back_us + 1, 0.0, (1, 20))  # a rollback after the clock was set back
    assert uplink.believes(back_us + 1, 0.0)


def test_a_central_set_back_that_lost_records_too_is_believed_after_patience_within_one_session() -> None:
    uplink, back_us = connected((1, 50)), NEWEST_US - 3_600_000_000
    assert not uplink.believes(back_us, STALE_PATIENCE_S * 5)  # nothing was sent that it could have answered
    send(uplink, 60, now_s=0.0)
    assert not uplink.believes(back_us, STALE_PATIENCE_S - 1)
    uplink.connect()
    send(uplink, 60, now_s=STALE_PATIENCE_S)
    assert not uplink.believes(back_us, STALE_PATIENCE_S + 1)
    assert uplink.believes(back_us, STALE_PATIENCE_S * 2)
    assert uplink.on_nack("GAP", (1, 21), False, back_us, STALE_PATIENCE_S * 2) == "rollback"
    assert not uplink.believes(back_us - 1, STALE_PATIENCE_S * 2)
    assert uplink.believes(back_us + 1, STALE_PATIENCE_S * 2)


def test_patience_begins_anew_with_every_new_answer() -> None:
    uplink = connected((1, 50))
    send(uplink, 60, now_s=0.0)
    uplink.on_ack((1, 50), 8, NEWER_US, STALE_PATIENCE_S - 1)
    assert not uplink.believes(NEWEST_US - 1, STALE_PATIENCE_S + 1)
    send(uplink, 70, now_s=STALE_PATIENCE_S)
    assert not uplink.believes(NEWEST_US - 1, STALE_PATIENCE_S * 2 - 1)


def test_a_new_epoch_follows_the_last_record_of_the_one_before() -> None:
    uplink = connected((1, 50))
    assert uplink.send_after() == (1, 50)
    uplink.sent((2, 7), 0.0)
    assert uplink.on_ack((2, 7), 8, NEWER_US, 0.0) == "progress"
    assert uplink.send_after() == (2, 7)


@dataclass
class ModelCentral:
    """Takes frames (first, last) of one epoch in order only; answers an ack, or a GAP naming what it misses."""

    head: int = 0
    taken: list[int] = field(default_factory=list)

    def take(self, first: int, last: int) -> tuple[str, int]:
        if first > self.head + 1:
            return "gap", self.head + 1
        self.taken += range(self.head + 1, last + 1)
        self.head = max(self.head, last)
        return "ack", self.head


EVENTS = st.sampled_from(["send", "deliver", "lose", "repeat", "swap", "answer", "lose_answer", "break", "time"])


@settings(max_examples=400, deadline=None)
@given(
    total=st.integers(1, 60),
    frame=st.integers(1, 9),
    events=st.lists(EVENTS, max_size=200),
    seed=st.integers(0, 2**32),
)
def test_whatever_the_channel_does_central_takes_each_record_once_in_order_and_all_is_acknowledged_in_the_end(
    total: int, frame: int, events: list[str], seed: int
) -> None:
    uplink = Uplink(START, None, random.Random(seed))
    central, now_s = ModelCentral(), 0.0
    up, down = deque[tuple[int, int]](), deque[tuple[str, int]]()
    uplink.connect()

    def step(event: str) -> None:
        nonlocal now_s
        if event == "send":
            after = uplink.send_after()
            if after is not None and after[1] < total:
                last = min(after[1] + frame, total)
                up.append((after[1] + 1, last))
                uplink.sent((1, last), now_s)
        elif event == "deliver" and up:
            down.append(central.take(*up.popleft()))
        elif event == "lose" and up:
            up.popleft()
        elif event == "repeat" and up:
            up.append(up[0])
        elif event == "swap" and len(up) > 1:
            up.rotate(1)
        elif event == "answer" and down:
            what, seq = down.popleft()
            if what == "gap":
                uplink.on_nack("GAP", (1, seq), False, NEWER_US, now_s)
            elif (1, seq) >= uplink.acked:  # acks of one session arrive in order; only a rollback goes back
                assert uplink.on_ack((1, seq), 8, NEWER_US, now_s) in ("progress", "same")
        elif event == "lose_answer" and down:
            down.popleft()
        elif event == "break":
            up.clear()
            down.clear()
            uplink.disconnect()
            uplink.connect()
        elif event == "time":
            now_s += ACK_TIMEOUT_S
            uplink.tick(now_s)
        assert len(up) < 400
        assert uplink.acked[1] <= central.head

    for event in events:
        step(event)
    for _ in range(40 * (total + 1)):  # then the channel heals
        if uplink.acked == (1, total):
            break
        for event in ("send", "deliver", "answer"):
            step(event)
        now_s += 1.0
        uplink.tick(now_s)
    assert uplink.acked == (1, total)
    assert central.taken == list(range(1, total + 1))


def test_what_central_holds_more_of_is_passed_over_however_full_the_window_is() -> None:
    uplink = connected()
    send(uplink, *range(10, 90, 10))
    assert uplink.send_after() is None
    uplink.pass_over((1, 500), NEWER_US, 1.0)
    assert uplink.send_after() == (1, 500)
    assert uplink.acked == START  # nothing is known of this chain's own records yet
    uplink.disconnect()
    uplink.connect()
    assert uplink.send_after() == (1, 500)
    uplink.sent((2, 3), 2.0)
    assert uplink.on_ack((2, 3), MAX_WINDOW_FRAMES, NEWER_US + 1, 3.0) == "progress"
    assert uplink.acked == (2, 3)


def test_a_central_that_misses_what_was_passed_over_gets_it_after_all() -> None:
    uplink = connected()
    send(uplink, 10)
    uplink.pass_over((1, 500), NEWER_US, 1.0)
    uplink.sent((2, 1), 1.0)
    assert uplink.on_nack("GAP", (1, 11), False, NEWER_US, 2.0) == "resend"
    assert uplink.send_after() == (1, 10)


def test_what_a_fork_made_worthless_at_central_is_never_sent() -> None:
    uplink = Uplink((1, 30), NEWEST_US, random.Random(1), floor=(1, 45))
    uplink.connect()
    assert uplink.send_after() == (1, 45)
    uplink.sent((3, 1), 0.0)
    assert uplink.tick(100.0)
    assert uplink.send_after() == (1, 45)
