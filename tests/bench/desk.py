"""What the desk waits for: p95 of each action on the node, with a month behind it and a bus at the door.

A HOME with sixty arrivals an hour, ten hours a day, each closed and each day too, today's but for a few; and a bus of
forty that has just come in by threes. `firstvisit kiosk` as its own process, five tablets signed in that follow its
events as a browser does, a sixth that changes hands, and a door that goes on with its sixty an hour: one a minute by
the clock, so that a slow run finds no more of them open than a quick one. What else stands open when all has been done
once (41 arrivals) is dismissed, untimed, before the next time. The node has joined a central of which nothing is
there: no broker, nobody who answers.
"""

import itertools
import random
import re
import secrets
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from edge.home import Home
from tests.bench.desk_home import AN_HOUR, DAYS, PASSWORD, PIN, TABLETS, LivedIn, lived_in
from tests.bench.process import QUIET
from tests.bench.report import Row
from tests.edge.kiosk.door import Door

GOAL_MS, SWITCH_MS = 200.0, 2000.0
BUS = 40
SWITCH = "another user by PIN, three requests"
_EVENTS = ("/fragments/today", "/fragments/parties", "/fragments/panels")  # what the front page fetches at an arrival


@dataclass
class Bench:
    """Times of each action, in ms, in the order they were first done; pid: the kiosk's."""

    pid: int
    times: dict[str, list[float]] = field(default_factory=dict)
    processor: dict[str, list[float]] = field(default_factory=dict)

    def timed(self, what: str, action: Callable[..., httpx.Response], *given: Any, **form: Any) -> None:
        began_s, worked_ms = time.perf_counter(), _processor_ms(self.pid)
        answer = action(*given, **form)
        took_ms = 1000 * (time.perf_counter() - began_s)
        self.processor.setdefault(what, []).append(_processor_ms(self.pid) - worked_ms)
        assert answer.status_code in (200, 303), f"{what}: {answer.status_code} {answer.text[:300]}"
        self.times.setdefault(what, []).append(took_ms)

    def rows(self, beside: str) -> list[Row]:
        return [
            Row(f"desk: {what}, p95", beside, _p95(times), " ms", "<=", _goal_ms(what), self._detail(what))
            for what, times in self.times.items()
        ]

    def _detail(self, what: str) -> str:
        times, computed = self.times[what], statistics.median(self.processor[what])
        waited = f"median {statistics.median(times):.0f} ms, longest {max(times):.0f} ms, {len(times)} times"
        return f"{waited}; the kiosk computed {computed:.0f} ms meanwhile"


class Browser:
    """Somebody signed in by password."""

    def __init__(self, url: str, name: str) -> None:
        # uvicorn closes what was idle for 5 s: a request sent at that moment would be lost
        limits = httpx.Limits(keepalive_expiry=2)
        self.client = httpx.Client(base_url=url, headers={"origin": url}, timeout=60, limits=limits)
        form = {"csrf_token": self.token("/login"), "name": name, "password": PASSWORD}
        assert self.client.post("/login", data=form).status_code == 303
        self.csrf_token = self.token("/")

    def token(self, path: str) -> str:
        found = re.search(r'name="csrf_token" value="([^"]+)"', self.client.get(path).text)
        assert found, path
        return found[1]

    def post(self, path: str, **form: Any) -> httpx.Response:
        sent = {"csrf_token": self.csrf_token, "request_id": secrets.token_hex(16), **form}
        return self.client.post(path, data=sent)


class Shared(Browser):
    """A tablet that a manager has registered, and that changes hands."""

    def __init__(self, url: str, manager: str) -> None:
        super().__init__(url, manager)
        assert self.post("/tablets", name="counter").status_code == 303
        assert self.post("/logout").status_code == 303  # this session began before the device was a tablet

    def switch(self, account_id: str) -> httpx.Response:
        """Another user taps their name, types their PIN and sees the front page."""
        form = {"csrf_token": self.token("/login?switch=1"), "account": account_id, "pin": PIN}
        answer = self.client.post("/login/pin", data=form)
        return self.client.get("/") if answer.status_code == 303 else answer


class Tablet(Browser):
    """One signed-in browser without its screen: it follows the events and fetches what they call for."""

    def __init__(self, url: str, name: str) -> None:
        super().__init__(url, name)
        self._ended = threading.Event()
        self._changed = threading.Event()
        self._following = threading.Thread(target=self._follow)
        self._following.start()
        threading.Thread(target=self._hear, daemon=True).start()

    def stop(self) -> None:
        self._ended.set()
        self._changed.set()
        self._following.join()

    def _hear(self) -> None:
        cookies = dict(self.client.cookies)
        with (
            suppress(httpx.TransportError),  # the kiosk has been stopped
            httpx.Client(base_url=self.client.base_url, cookies=cookies, timeout=None) as ears,
            ears.stream("GET", "/events") as events,
        ):
            for line in events.iter_lines():
                if self._ended.is_set():
                    return
                if line == "event: arrival":
                    self._changed.set()

    def _follow(self) -> None:
        seen: set[str] = set()
        with httpx.Client(base_url=self.client.base_url, cookies=dict(self.client.cookies), timeout=60) as eyes:
            while not self._ended.is_set():
                self._changed.wait()
                time.sleep(0.08)  # as live.js gathers a burst
                self._changed.clear()
                for path in _EVENTS:
                    html = eyes.get(path, headers={"x-requested-with": "fetch"}).text
                    faces = set(re.findall(r"/crops/[^\"]+", html)) - seen  # those it has stay where they are
                    seen |= faces
                    for face in faces:
                        eyes.get(face)


def bench(runs: int) -> list[Row]:
    """runs: how often each action is done, times ten; the bus is served once a run."""
    with tempfile.TemporaryDirectory(prefix="firstvisit-bench-") as folder:
        lived = lived_in(Path(folder))
        home = lived.home
        with served(home) as (url, pid):
            tablets, shared = [Tablet(url, f"host{number}") for number in range(TABLETS)], Shared(url, "host0")
            ended = threading.Event()
            door = threading.Thread(target=_go_on_arriving, args=(home, ended))
            door.start()
            found = Bench(pid)
            try:
                for _ in range(runs):
                    _serve(lived, tablets, shared, found)
            finally:
                ended.set()
                door.join()
                for tablet in tablets:
                    tablet.stop()
        beside = f"{DAYS} days of {AN_HOUR} an hour behind it, a bus of {BUS}, {TABLETS} tablets, no central"
        return found.rows(beside)


def _serve(lived: LivedIn, tablets: list[Tablet], shared: Shared, found: Bench) -> None:
    turn, hosts = itertools.cycle(tablets), itertools.cycle(lived.hosts)
    with closing(Door(lived.home)) as door:
        run = secrets.token_hex(4)
        bus = [door.arrive("first", party_id=f"g-{run}-bus-{number // 3}")[0] for number in range(BUS)]
        long_here, known = door.arrive("first", ago_s=4000)
        singles = [door.arrive("first")[0] for _ in range(10)]
        couples = [[door.arrive("first", party_id=f"g-{run}-{number}")[0] for _ in range(2)] for number in range(20)]
        coded = [door.arrive("first")[0] for _ in range(10)]
        asked = [door.arrive("unsure", candidates=((known, 0.46),), similarity=0.46)[0] for _ in range(10)]
    for visit in (bus[-1], asked[-1]):
        _until_shown(tablets[0], visit)
    for number in range(10):
        tablet, phone = next(turn), f"139{random.randrange(10**8):08}"
        found.timed("front page", tablet.client.get, "/")
        found.timed("parties anew", tablet.client.get, "/fragments/parties")
        one, (lead, friend), (stays, leaves) = singles[number], couples[number], couples[number + 10]
        found.timed("check-in page", tablet.client.get, f"/visits/{one}/checkin")
        found.timed("dismiss", tablet.post, f"/visits/{one}/dismiss", dismissal="courier")
        found.timed("take back", tablet.post, f"/visits/{one}/reopen")
        found.timed("register by phone", tablet.post, f"/visits/{one}/checkin", way="phone", phone=phone)
        found.timed("split", tablet.post, f"/visits/{stays}/split", leaving=[leaves])
        found.timed("register a party", tablet.post, f"/visits/{lead}/checkin", way="walk_in", companion=[friend])
        found.timed("unsure, answer", tablet.post, f"/questions/{asked[number]}", person=known)
        found.timed("been here?", tablet.post, "/lookback", phone=phone)
        code, agreed = lived.report(phone), {"consent": "visitor-2", "language": "zh"}
        found.timed(
            "register by a report's code",
            tablet.post,
            f"/visits/{coded[number]}/code",
            way="code",
            code=code,
            phone=phone,
            **agreed,
        )
        found.timed("assign a consultant", tablet.post, f"/visits/{coded[number]}/assign", consultant=next(hosts))
        found.timed("withdraw a consent", tablet.post, f"/visits/{coded[number]}/face", because="withdrawn")
        found.timed("undo", tablet.post, f"/visits/{coded[number]}/undo")
        found.timed("arrivals", tablet.client.get, "/arrivals")
        found.timed("manager's page", tablets[0].client.get, "/manager")
        found.timed(SWITCH, shared.switch, next(hosts))
    tablet = next(turn)
    found.timed("join a bus", tablet.post, f"/visits/{bus[0]}/join", everybody="1")
    found.timed("check-in page of a bus", tablet.client.get, f"/visits/{bus[0]}/checkin")
    found.timed(
        "register a bus",
        tablet.post,
        f"/visits/{bus[0]}/checkin",
        way="walk_in",
        companion=bus[1:],
        heads=str(BUS),
    )
    found.timed("check-in page, all closed", tablet.client.get, f"/visits/{bus[0]}/checkin")
    for visit in (long_here, *coded, *asked, *itertools.chain(*couples[10:])):  # what was undone, answered and split
        assert tablet.post(f"/visits/{visit}/dismiss", dismissal="left").status_code == 303, visit


def _until_shown(tablet: Tablet, visit_id: str) -> None:
    deadline_s = time.monotonic() + 60
    while tablet.client.get(f"/fragments/arrival/{visit_id}").status_code != 200:
        assert time.monotonic() < deadline_s, "the kiosk does not see what the door records"
        time.sleep(0.05)


def _go_on_arriving(home: Home, ended: threading.Event) -> None:
    with closing(Door(home)) as door:
        door.see()
        while not ended.wait(3600 / AN_HOUR):
            door.see()


@contextmanager
def served(home: Home) -> Iterator[tuple[str, int]]:
    """`firstvisit kiosk` as its own process: where it answers, and its pid."""
    command = [sys.executable, "-m", "edge", "kiosk", "--home", str(home.path), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=QUIET)
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        found = re.search(r"https?://\S+", said)
        assert found, said
        url = found[0]
        while True:
            try:
                httpx.get(f"{url}/login")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(30)


def _p95(times: list[float]) -> float:
    return sorted(times)[min(len(times) - 1, int(0.95 * len(times)))]


def _processor_ms(pid: int) -> float:
    """What all threads of a process have computed so far, other tablets' requests included (sched-stats.rst)."""
    computed_ns = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended meanwhile
            computed_ns += int((task / "schedstat").read_text().split()[0])
    return computed_ns / 1e6


def _goal_ms(what: str) -> float:
    return SWITCH_MS if what == SWITCH else GOAL_MS
