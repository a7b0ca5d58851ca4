"""Whatever a desk does, in whatever order: what a page confirms is on record, and a fault confirms nothing."""

import html
import re
import secrets
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from edge.home import Home
from edge.kiosk.app import create_app
from sync.format.records import Record
from sync.verify.verify import verify
from sync.web.server import PageServer
from tests.conftest import form_token
from tests.edge.kiosk.conftest import PASSWORD, Desk, until_shown
from tests.edge.kiosk.door import Door
from tests.small_disk import SmallDisk, small_disk

CONSENT = {"consent": "visitor-2", "language": "zh"}
ACTS: dict[str, tuple[str, dict[str, Any]]] = {
    "by phone": ("checkin", {"way": "phone", "phone": "13800005678"}),
    "as a walk-in": ("checkin", {"way": "walk_in"}),
    "with consent": ("checkin", {"way": "walk_in", **CONSENT}),
    "with the party": ("checkin", {"way": "walk_in", "companion": "party"}),
    "by a number that is none": ("checkin", {"way": "phone", "phone": "12"}),
    "dismiss": ("dismiss", {"dismissal": "courier"}),
    "dismiss all": ("dismiss", {"dismissal": "workman", "together": "1"}),
    "reopen": ("reopen", {}),
    "undo": ("undo", {}),
    "split": ("split", {"leaving": "self"}),
    "join": ("join", {"everybody": "1"}),
    "withdraw": ("face", {"because": "withdrawn"}),
    "erase": ("erase", {"reason": "request", "face": "1"}),
    "ask for a correction": ("correct", {"reason": "wrong_source", "way": "walk_in"}),
}


@dataclass
class Walk:
    """One host at one desk; the first three visits are of one party, the last came alone."""

    home: Home
    client: httpx.Client
    visits: list[str]

    def records(self) -> list[Record]:
        """All that is committed, through a connection of its own."""
        with closing(self.home.open_ledger()) as ledger:
            return list(ledger.between((0, 0), (1 << 31, 0)))

    def act(self, act: str, visit: str) -> httpx.Response:
        path, form = ACTS[act]
        form = {
            name: {"party": self.visits, "self": [visit]}.get(value, value) if isinstance(value, str) else value
            for name, value in form.items()
        }
        return self.post(f"/visits/{visit}/{path}", **form)

    def post(self, path: str, **form: Any) -> httpx.Response:
        sent = {"csrf_token": form_token(self.client, "/tablets"), "request_id": secrets.token_hex(16), **form}
        return self.client.post(path, data=sent, follow_redirects=True)

    def check(self, visit: str) -> None:
        """The page of a visit says of it what the newest records say, by their numbers, and names no other record."""
        page = told(self.client.get(f"/visits/{visit}/checkin").text)
        records = self.records()
        mine = {one.seq for one in records if one.fields.get("visit") == visit}
        party = {one.seq for one in records if one.fields.get("visit") in self.visits}
        named = {int(number) for number in re.findall(r"#(\d+)", page)}
        assert named <= party, "a record that is none, or another's"
        if "已撤回同意" in page:
            assert "consent.withdrawn" in {one.kind for one in records if one.fields.get("visit") == visit}
        closings = [one for one in records if one.kind == "visit.checkin" and one.fields["visit"] == visit]
        last = closings[-1] if closings else None
        if last is not None and (last.fields["state"] != "open" or last.fields.get("reason") == "undone"):
            assert last.seq in named & mine, f"{last.fields} is not shown"
        else:
            assert not {one.seq for one in closings} & named, "shown as closed, and is open"


def told(page: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", " ", page))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 48) as disk:
        yield disk


@pytest.fixture
def walking(desk: Desk, sign_in: Callable[..., httpx.Response]) -> Iterator[Callable[[Home], Walk]]:
    with ExitStack() as stack:

        def walking(home: Home = desk.home) -> Walk:
            """Three who came together, and somebody alone, before a desk served for real."""
            app = create_app(home)
            kiosk = PageServer(app, "127.0.0.1", 0, app.state.live.close)
            kiosk.start()
            stack.callback(kiosk.stop)
            with closing(Door(home)) as door:
                visits = [door.arrive("first", party_id="g-1", party=n, ago_s=60 - n)[0] for n in (1, 2, 3)]
                visits.append(door.arrive("first", ago_s=30)[0])
            client = stack.enter_context(httpx.Client(base_url=kiosk.url, headers={"origin": kiosk.url}, timeout=30))
            assert sign_in(client, "wang", PASSWORD).status_code == 303
            until_shown(client, visits[-1])
            return Walk(home, client, visits)

        yield walking


def test_in_whatever_order_a_desk_acts_its_pages_say_what_is_on_record(walking: Callable[..., Walk]) -> None:
    walk = walking()
    done: set[str] = set()

    @settings(
        max_examples=8,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(st.tuples(st.sampled_from(sorted(ACTS)), st.integers(0, 3)), min_size=8, max_size=8))
    def acted(steps: list[tuple[str, int]]) -> None:
        for act, number in steps:
            visit = walk.visits[number]
            before = len(walk.records())
            answer = walk.act(act, visit)
            assert answer.status_code < 500, (act, answer.status_code)
            new = walk.records()[before:]
            if answer.status_code >= 400:
                assert not [one.kind for one in new if one.kind != "visit.refused"], (act, answer.status_code)
            elif new and act == "withdraw":  # its page gives no number; check() holds its words to the record
                done.add(act)
            elif new:
                done.add(act)
                page = told(answer.text) + str(answer.url)
                assert any(re.search(rf"[#-]{one.seq}\b", page) for one in new), (act, [one.kind for one in new])
            for one in walk.visits:
                walk.check(one)

    acted()
    assert len(done) >= len(ACTS) // 2, f"little was done: {sorted(done)}"
    assert verify(walk.home.path).ok


@pytest.mark.parametrize("fault", ["full", "locked"])
def test_a_full_disk_or_a_locked_database_confirms_nothing_and_the_form_may_be_sent_again(
    desk: Desk, walking: Callable[..., Walk], disk: SmallDisk, fault: str
) -> None:
    walk = walking(Home(Path(shutil.copytree(desk.home.path, disk.path / "home"))))
    for act in ("by phone", "undo", "dismiss") if fault == "full" else ("with the party",):
        visit = walk.visits[0 if fault == "locked" else -1]
        token = form_token(walk.client, "/tablets")
        before = walk.records()
        path, form = ACTS[act]
        sent = {"csrf_token": token, "request_id": secrets.token_hex(16), **form}
        if form.get("companion"):
            sent["companion"] = walk.visits[1:3]
        with closing(sqlite3.connect(walk.home.database, isolation_level=None)) as other:
            if fault == "full":
                disk.fill()
            else:
                other.execute("BEGIN IMMEDIATE")
            answer = walk.client.post(f"/visits/{visit}/{path}", data=sent)
            if fault == "full":
                disk.free()
        assert answer.status_code == 503, act
        assert "没有完成" in told(answer.text) or "不显示" in told(answer.text)
        assert not re.search(r"#\d+", told(answer.text))
        assert walk.records() == before
        walk.check(visit)
        again = walk.client.post(f"/visits/{visit}/{path}", data=sent, follow_redirects=True)
        assert again.status_code == 200
        assert len(walk.records()) > len(before)
        walk.check(visit)
    assert verify(walk.home.path).ok
