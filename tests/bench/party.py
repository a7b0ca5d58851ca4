"""A whole party at the desk, in Chromium: how long it takes a host who looks, types and taps as people do.

From the front page with the party on it to the page of the next: every tap, every digit, every answer of the kiosk and
every picture that Chromium has to draw. The host's own pauses are the constants below and are part of the figure.
"""

import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from edge.home import create_home
from sync.web.accounts import Accounts
from tests.bench.desk import served
from tests.bench.desk_home import PASSWORD
from tests.bench.report import Row
from tests.edge.kiosk.door import CONFIG, Door

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

GOAL_S = 20.0
MOST_TAPS = 5
LOOK_S = 1.0  # at a page that has just appeared, before anything is done on it
TAP_S = 0.3  # until the finger is there
DIGIT_S = 0.15  # a digit on the tablet's own keyboard
SCAN_MS = 8.0  # a letter from a scanner
PHONE = "13800005678"
FOREIGN = "X-4711-REPORT-2026"  # another system's code, which needs no central


class Host:
    """One host at one tablet; keeps what was done and when it was over."""

    def __init__(self, page: "Page") -> None:
        self.page = page
        self.taps = 0
        self.steps: list[str] = []
        self.told_s = 0.0  # when the last of them was over, since the host began
        self._began_s = time.perf_counter()

    def tap(self, what: str, selector: str, shown: str) -> None:
        """Find a button and tap it; over when what comes of it is shown."""
        time.sleep(TAP_S)
        self.page.click(selector)
        self.taps += 1
        self._see(what, shown)

    def type_phone(self) -> None:
        for digit in PHONE:
            time.sleep(DIGIT_S)
            self.page.keyboard.type(digit)
        self._told("11 digits")

    def scan(self, text: str, shown: str) -> None:
        self.page.keyboard.type(f"{text}\n", delay=SCAN_MS)
        self._see("scan", shown)

    def _see(self, what: str, shown: str) -> None:
        self.page.wait_for_selector(shown)
        self._told(what)
        time.sleep(LOOK_S)

    def _told(self, what: str) -> None:
        self.told_s = time.perf_counter() - self._began_s
        self.steps.append(f"{what} {self.told_s:.1f}")


def by_phone(host: Host) -> None:
    host.tap("card", ".party .serve", "#register input[name=phone]:focus")
    host.type_phone()
    host.tap("register", "button[value=phone]", ".notice.good.told")
    host.tap("next party", ".next a", "#register input[name=phone]:focus")


def by_code_and_consent(host: Host) -> None:
    host.tap("card", ".party .serve", "#register input[name=phone]:focus")
    host.scan(FOREIGN, ".scanned")
    host.type_phone()
    host.tap("consent", "input[name=consent]", "[data-sign]:not([hidden])")
    host.tap("register", "button[value=code]", ".notice.good.told")
    host.tap("next party", ".next a", "#register input[name=phone]:focus")


def as_a_group(host: Host) -> None:
    host.tap("card", ".party .serve", "#register input[name=phone]:focus")
    host.tap("more of them?", ".joins summary", "button[name=everybody]")
    host.tap("all", "button[name=everybody]", "form.notice.good")
    host.type_phone()
    host.tap("register", "button[value=phone]", ".notice.good.told")
    host.tap("to the next", ".next a", ".party, .empty")


WAYS: tuple[tuple[str, Callable[[Host], None], tuple[int, ...]], ...] = (
    ("three by phone", by_phone, (3, 1)),
    ("three by a code, a phone and a consent", by_code_and_consent, (3, 1)),
    ("twelve joined to one group, by phone", as_a_group, (3, 3, 3, 3)),
)


def bench(runs: int) -> list[Row]:
    """The median of each way, over `runs` parties; no row where there is no Chromium."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        print("no row of a whole party: no chromium on this machine")
        return []
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        rows = [_row(browser, what, way, parties, runs) for what, way, parties in WAYS]
        browser.close()
    return rows


def _serve(browser: "Browser", way: Callable[[Host], None], parties: tuple[int, ...]) -> Host:
    """One host serves the first of the parties that wait, whose sizes are given; the others are still there."""
    with tempfile.TemporaryDirectory(prefix="firstvisit-bench-") as folder:
        home = create_home(Path(folder) / "home", CONFIG, None)
        Accounts(home.database).add("host", PASSWORD, "front_desk")
        with closing(Door(home)) as door:
            for number, size in enumerate(parties):
                for one in range(size):
                    ago_s = 120 - 20 * number - one
                    door.arrive("first", party_id=f"g-{number}", party=one + 1, ago_s=ago_s)
        with served(home) as (url, _):
            context = browser.new_context(viewport={"width": 1280, "height": 800}, base_url=url)
            page = context.new_page()
            page.goto("/login")
            page.fill("input[name=name]", "host")
            page.fill("input[name=password]", PASSWORD)
            page.press("input[name=password]", "Enter")
            page.wait_for_selector(f".party:nth-child({len(parties)}) .serve")
            host = Host(page)
            way(host)
            context.close()
        return host


def _row(browser: "Browser", what: str, way: Callable[[Host], None], parties: tuple[int, ...], runs: int) -> Row:
    hosts = sorted((_serve(browser, way, parties) for _ in range(runs)), key=lambda host: host.told_s)
    median = hosts[len(hosts) // 2]
    pauses = f"a host who looks {LOOK_S:g} s at a page, taps in {TAP_S:g} s and types a digit in {DIGIT_S:g} s"
    detail = f"{median.taps} taps; {', '.join(median.steps)} s; longest of {runs} {hosts[-1].told_s:.1f} s"
    assert median.taps <= MOST_TAPS, f"{what}: {median.taps} taps"
    return Row(f"desk: a party of {what}, Chromium", pauses, median.told_s, " s", "<=", GOAL_S, detail)
