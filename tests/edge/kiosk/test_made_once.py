"""A part that five tablets ask for at once is made once, and anew as soon as anything has changed."""

import itertools
import threading
from collections.abc import Hashable

from starlette.responses import HTMLResponse, Response

from edge.kiosk.made_once import KEPT_S, MadeOnce


class Kitchen:
    """Counts how often something is made; the clock is the test's own."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.made = 0
        self.held = threading.Event()
        self.held.set()
        self.parts = MadeOnce(lambda: self.now_s)

    def make(self) -> Response:
        self.held.wait(20)
        self.made += 1
        return HTMLResponse(f"<p>{self.made}</p>")

    def ask(self, of: Hashable, name: str = "parties") -> bytes:
        return bytes(self.parts.part(name, lambda: of, self.make).body)


def test_the_same_state_is_made_once_and_another_one_anew() -> None:
    kitchen = Kitchen()
    assert [kitchen.ask(1), kitchen.ask(1), kitchen.ask(2), kitchen.ask(2)] == [b"<p>1</p>"] * 2 + [b"<p>2</p>"] * 2
    assert kitchen.ask(2, "today") == b"<p>3</p>", "each part by itself"


def test_ages_on_it_are_never_older_than_a_second() -> None:
    kitchen = Kitchen()
    kitchen.ask(1)
    kitchen.now_s = KEPT_S + 0.01
    assert kitchen.ask(1) == b"<p>2</p>"


def test_five_who_ask_while_it_is_made_wait_for_it() -> None:
    kitchen = Kitchen()
    kitchen.held.clear()
    got: list[bytes] = []
    tablets = [threading.Thread(target=lambda: got.append(kitchen.ask(1))) for _ in range(5)]
    for tablet in tablets:
        tablet.start()
    kitchen.held.set()
    for tablet in tablets:
        tablet.join()
    assert got == [b"<p>1</p>"] * 5


def test_whoever_asks_while_a_part_is_made_shares_one_begun_after_they_had_asked() -> None:
    ticks, states = itertools.count(), itertools.count()  # something is recorded between any two looks at the state
    first_began, all_asked, go = threading.Event(), threading.Event(), threading.Event()
    made: list[int] = []

    def now_s() -> float:
        tick = next(ticks)
        if tick == 5:  # two looks at the clock of the first who asks, one of each of the other four
            all_asked.set()
        return tick / 1000

    def make() -> Response:
        made.append(len(made))
        first_began.set()
        assert go.wait(20)
        return HTMLResponse(f"<p>{len(made)}</p>")

    parts, got = MadeOnce(now_s), list[bytes]()

    def ask() -> None:
        got.append(bytes(parts.part("parties", lambda: next(states), make).body))

    tablets = [threading.Thread(target=ask) for _ in range(5)]
    tablets[0].start()
    assert first_began.wait(20)
    for tablet in tablets[1:]:
        tablet.start()
    assert all_asked.wait(20)
    go.set()
    for tablet in tablets:
        tablet.join()
    assert sorted(got) == [b"<p>1</p>"] + [b"<p>2</p>"] * 4, "not one of them may see what was made before they asked"
