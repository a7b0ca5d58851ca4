import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing

import httpx

from edge.access_log import KIND, AccessLog, newest, sign
from edge.clock import Clock
from edge.kiosk.app import create_app
from sync.web.server import PageServer
from tests.conftest import form_token
from tests.edge.kiosk.conftest import Desk, until, until_shown
from tests.edge.kiosk.door import Door

Visitor = Callable[..., httpx.Client]
VERIFY = [sys.executable, "-c", "from edge.cli import main; main()", "verify"]


def _verify(desk: Desk, *more: str) -> subprocess.CompletedProcess[str]:
    command = [*VERIFY, str(desk.home.path), *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def _noted(desk: Desk) -> list[tuple[str, str, str]]:
    with closing(desk.home.open_ledger()) as ledger:
        return [(row.account_id, row.action, row.subject) for row in reversed(newest(ledger.connection, 100))]


def test_every_page_that_shows_a_person_writes_down_who_looked(visitor: Visitor, door: Door, desk: Desk) -> None:
    visit_id, _ = door.arrive("first")
    li, auditor = visitor("li"), visitor("auditor")
    until_shown(li, visit_id)
    assert _noted(desk) == [], "a card without its face is no look at a person"
    li.get(f"/crops/{visit_id}.jpg")
    li.get(f"/crops/{visit_id}.jpg")
    li.get(f"/visits/{visit_id}/why")
    li.get(f"/visits/{visit_id}/checkin")
    li.get(f"/certificates/{visit_id}")
    form = {"csrf_token": form_token(li, "/"), "request_id": "a" * 32, "way": "phone", "phone": "13812345678"}
    assert li.post(f"/visits/{visit_id}/checkin", data=form).status_code == 303
    li.post("/lookback", data={"csrf_token": form_token(li, "/"), "phone": "13812345678"})
    visitor("wang").get("/cameras/entrance/live.mjpeg")
    auditor.get(f"/visits/{visit_id}/why")
    auditor_id = _noted(desk)[-1][0]
    looks = ("face", "why", "checkin", "certificate", "lookback")
    assert _noted(desk) == [
        *((desk.li.account_id, look, visit_id) for look in looks),
        (desk.wang.account_id, "camera", "entrance"),
        (auditor_id, "why", visit_id),
    ]


def test_a_part_of_a_page_is_a_look_too_and_each_number_tried_in_vain_is_one(
    visitor: Visitor, door: Door, desk: Desk
) -> None:
    visit_id, other = door.arrive("first")[0], door.arrive("first")[0]
    li = visitor("li")
    until_shown(li, other)
    li.get(f"/fragments/who/{visit_id}")
    li.get(f"/visits/{other}/correct")
    assert [row[1:] for row in _noted(desk)] == [("checkin", visit_id), ("checkin", other)]
    for digits in ("1380000", "1380001", "1380001"):
        li.post("/lookback", data={"csrf_token": form_token(li, "/"), "phone": digits})
    tried = [subject for _, action, subject in _noted(desk) if action == "lookback"]
    assert len(set(tried)) == 3
    assert not any("1380" in subject for subject in tried)


def test_a_page_is_refused_where_the_look_cannot_be_written_down(visitor: Visitor, door: Door, desk: Desk) -> None:
    visit_id, _ = door.arrive("first")
    client = visitor("li")
    until_shown(client, visit_id)
    with closing(sqlite3.connect(desk.home.database)) as connection, connection:
        connection.execute("ALTER TABLE access_log RENAME TO hidden")
    refused = client.get(f"/visits/{visit_id}/why")
    assert refused.status_code == 503
    assert "访问日志暂时写不进去" in refused.text
    assert client.get(f"/crops/{visit_id}.jpg").status_code == 503


def test_the_page_lists_looks_and_finds_them_by_account_and_subject(visitor: Visitor, door: Door, desk: Desk) -> None:
    visit_id, _ = door.arrive("first")
    client = visitor("li")
    until_shown(client, visit_id)
    client.get(f"/visits/{visit_id}/why")
    with closing(desk.home.open_ledger("desk", Clock())) as ledger:
        sign(ledger)
    client.get(f"/crops/{visit_id}.jpg")
    privacy = visitor("privacy")
    page = privacy.get("/access").text
    assert "共 2 条，逐条核对无误，其中 1 条已签名入链" in page
    assert re.findall(r">li</td><td data-label=\"[^\"]*\">(.*?)</td>", page) == ["人脸画面", "判定依据"]
    assert page.count("待签名") == 1
    assert "why it was decided so" in privacy.get("/access?lang=en").text
    assert privacy.get(f"/access?account={desk.wang.account_id}").text.count(">li</td>") == 0
    assert privacy.get(f"/access?subject={visit_id}").text.count(">li</td>") == 2
    assert privacy.get("/access?subject=nobody").text.count(">li</td>") == 0


def test_what_was_not_signed_when_the_kiosk_stopped_is_signed_when_it_starts(desk: Desk) -> None:
    log = AccessLog(desk.home.database)
    log.note(desk.li.account_id, "face", "v-1")
    log.close()
    app = create_app(desk.home)
    server = PageServer(app, "127.0.0.1", 0, app.state.live.close)
    server.start()

    def signed() -> bool:
        with closing(desk.home.open_ledger()) as ledger:
            digest = ledger.last_of(KIND)
            return digest is not None and digest.fields["entries"] == 1

    until(signed)
    server.stop()


def test_tampering_is_told_on_the_page_by_verify_and_by_its_exit(visitor: Visitor, door: Door, desk: Desk) -> None:
    visit_id, _ = door.arrive("first")
    client = visitor("li")
    until_shown(client, visit_id)
    client.get(f"/visits/{visit_id}/why")
    with closing(desk.home.open_ledger("desk", Clock())) as ledger:
        sign(ledger)
    good = _verify(desk)
    assert (good.returncode, good.stdout.splitlines()[-1]) == (0, "access log: 1 entries, 1 of them signed")
    with closing(sqlite3.connect(desk.home.database)) as connection, connection:
        connection.execute("DELETE FROM access_log")
    assert "日志被改动" in visitor("auditor").get("/access").text
    bad = _verify(desk)
    assert bad.returncode == 1
    assert bad.stdout.splitlines()[-1] == "bad: access log: entries 1 to 1 are missing, which were signed"
    bad = subprocess.run(
        [*VERIFY, str(desk.home.path), "--json"], capture_output=True, text=True, timeout=60, check=False
    )
    assert json.loads(bad.stdout)["access_log"]["why"].endswith("which were signed")
