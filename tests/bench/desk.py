"""What the desk waits for: p95 of each action on the node, with a month behind it and a bus at the door.

A HOME with sixty arrivals an hour, ten hours a day, each closed; today's too, a few still open; and a bus of forty that
has just come in by threes. `firstvisit kiosk` as its own process, five tablets signed in that follow its events as a
browser does, and a door that records somebody every second meanwhile. No broker and no central.
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

from edge.clock import read_kernel
from edge.home import Home, create_home
from sync.format.records import Role
from sync.format.stamp import Stamp
from sync.node.append import Writer
from sync.node.ledger import Ledger
from sync.web.accounts import Accounts
from tests.bench.process import QUIET
from tests.bench.report import Row
from tests.edge.kiosk.door import CONFIG, Door

GOAL_MS = 200.0
TABLETS = 5
DAYS, HOURS, AN_HOUR = 30, 10, 60
BUS = 40
PASSWORD = "a password for the bench"
_US = 1_000_000
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
            Row(f"desk: {what}, p95", beside, _p95(times), " ms", "<=", GOAL_MS, _detail(times, self.processor[what]))
            for what, times in self.times.items()
        ]


class Tablet:
    """One signed-in browser without its screen: it follows the events and fetches what they call for."""

    def __init__(self, url: str, name: str) -> None:
        self.client = httpx.Client(base_url=url, headers={"origin": url}, timeout=60)
        form = {"csrf_token": self.token("/login"), "name": name, "password": PASSWORD}
        assert self.client.post("/login", data=form).status_code == 303
        self.csrf_token = self.token("/")
        self._ended = threading.Event()
        self._changed = threading.Event()
        self._following = threading.Thread(target=self._follow)
        self._following.start()
        threading.Thread(target=self._hear, daemon=True).start()

    def token(self, path: str) -> str:
        found = re.search(r'name="csrf_token" value="([^"]+)"', self.client.get(path).text)
        assert found, path
        return found[1]

    def post(self, path: str, **form: Any) -> httpx.Response:
        sent = {"csrf_token": self.csrf_token, "request_id": secrets.token_hex(16), **form}
        return self.client.post(path, data=sent)

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
        home = _lived_in(Path(folder))
        with _kiosk(home) as (url, pid):
            tablets = [Tablet(url, f"host{number}") for number in range(TABLETS)]
            ended = threading.Event()
            door = threading.Thread(target=_arrive_each_second, args=(home, ended))
            door.start()
            found = Bench(pid)
            try:
                for _ in range(runs):
                    _serve(home, tablets, found)
            finally:
                ended.set()
                door.join()
                for tablet in tablets:
                    tablet.stop()
        beside = f"{DAYS} days of {AN_HOUR} an hour behind it, a bus of {BUS}, {TABLETS} tablets"
        return found.rows(beside)


def _serve(home: Home, tablets: list[Tablet], found: Bench) -> None:
    turn = itertools.cycle(tablets)
    with closing(Door(home)) as door:
        run = secrets.token_hex(4)
        bus = [door.arrive("first", party_id=f"g-{run}-bus-{number // 3}")[0] for number in range(BUS)]
        known = door.arrive("first", ago_s=4000)[1]
        singles = [door.arrive("first")[0] for _ in range(10)]
        couples = [[door.arrive("first", party_id=f"g-{run}-{number}")[0] for _ in range(2)] for number in range(20)]
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
        found.timed("arrivals", tablet.client.get, "/arrivals")
        found.timed("manager's page", tablets[0].client.get, "/manager")
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


def _until_shown(tablet: Tablet, visit_id: str) -> None:
    deadline_s = time.monotonic() + 60
    while tablet.client.get(f"/fragments/arrival/{visit_id}").status_code != 200:
        assert time.monotonic() < deadline_s, "the kiosk does not see what the door records"
        time.sleep(0.05)


def _arrive_each_second(home: Home, ended: threading.Event) -> None:
    with closing(Door(home)) as door:
        while not ended.wait(1.0):
            door.see()


@contextmanager
def _kiosk(home: Home) -> Iterator[tuple[str, int]]:
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


# -- the month behind it ---------------------------------------------------------------------------------------------


def _lived_in(folder: Path) -> Home:
    home = create_home(folder / "home", CONFIG, None)
    accounts = Accounts(home.database)
    hosts = [
        accounts.add(f"host{number}", PASSWORD, "manager" if number == 0 else "front_desk") for number in range(TABLETS)
    ]
    now_us = time.time_ns() // 1000
    clock = [now_us]
    node, desk = _writing(home, "node", clock), _writing(home, "desk", clock)
    drawn = random.Random(1)
    for day in range(DAYS, -1, -1):
        opened_us = now_us - day * 86_400 * _US - HOURS * 3600 * _US
        seen: list[tuple[str, int]] = []
        with node.transaction() as transaction:
            for number in range(HOURS * AN_HOUR):
                clock[0] = opened_us + number * 3600 * _US // AN_HOUR
                visit = f"v{secrets.token_hex(8)}"
                seen.append((visit, clock[0]))
                transaction.append("visit.seen", _arrival(visit, clock[0], number))
        with desk.transaction() as transaction:
            for visit, arrived_us in seen[: -8 if day == 0 else None]:
                clock[0] = arrived_us + 60 * _US
                said = {"state": "registered", "way": "walk_in"} if drawn.random() < 0.6 else {"state": "left"}
                host = drawn.choice(hosts).account_id
                body = {"visit": visit, "request": secrets.token_hex(16), "account": host, "arrived_us": arrived_us}
                transaction.append("visit.checkin", {**body, "since_us": 60 * _US, **said})
    node.close()
    desk.close()
    return home


def _writing(home: Home, role: Role, now: list[int]) -> Ledger:
    boot_id = read_kernel().boot_id

    def stamp(_before: Stamp | None) -> Stamp:
        return Stamp(now[0], now[0] % 10**12, boot_id, 1500, "synced", 0)

    return Ledger(home.database, Writer("puxi-01-a", role, home.signer(role), stamp))


def _arrival(visit_id: str, arrived_us: int, number: int) -> dict[str, Any]:
    return {
        "visit": visit_id, "site": "puxi-01", "camera": "entrance", "source": "rtsp", "source_hash": "0" * 64,
        "arrived_us": arrived_us, "shots": 3, "quality_e6": 600_000, "party": 1, "grade": "C",
        "party_id": f"g-{arrived_us // (86_400 * _US)}-{number // 2}",
    }  # fmt: skip


def _p95(times: list[float]) -> float:
    return sorted(times)[min(len(times) - 1, int(0.95 * len(times)))]


def _processor_ms(pid: int) -> float:
    """What all threads of a process have computed so far, other tablets' requests included (sched-stats.rst)."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6


def _detail(times: list[float], processor: list[float]) -> str:
    waited = f"median {statistics.median(times):.0f} ms, longest {max(times):.0f} ms, {len(times)} times"
    return f"{waited}; the kiosk computed {statistics.median(processor):.0f} ms meanwhile"
