"""A report from central to two desks and back: broker, uplinks, kiosks, and the conflict that central alone can see."""

import random
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from edge.clock import Clock
from edge.desk.desk_secrets import desk_secret
from edge.home import create_home
from edge.kiosk.app import create_app
from sync.central.codes import find, issue, revoke
from sync.central.enrol import enrol
from sync.format.records import Record
from sync.node.trust import Trust, join
from sync.node.uplink_thread import UplinkThread
from sync.transport.broker import mosquitto
from sync.transport.session import parse_uplink
from sync.verify.receipts import read_receipt, verify_receipt
from sync.verify.verify_both import verify_both
from sync.web.accounts import Accounts
from sync.web.server import PageServer
from tests.conftest import form_token
from tests.edge.kiosk.conftest import PASSWORD, sign_in_on, until_shown
from tests.edge.kiosk.door import CONFIG, Door
from tests.edge.kiosk.hq import AGENT
from tests.sync.broker_process import BrokerProcess
from tests.sync.uplink_site import Central, free_port, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PHONE = "13800005678"


class Office:
    """A node with a desk: door, uplink and kiosk, each writing into one HOME."""

    def __init__(self, folder: Path, name: str, central: Central, broker: BrokerProcess) -> None:
        self.home = create_home(folder / name, CONFIG.replace("puxi-01-a", name), None)
        accounts = Accounts(self.home.database, pin_secret=desk_secret(self.home.keys_database, "pin"))
        accounts.add("li", PASSWORD, "front_desk")
        enrol(central.directory, self.home.node_pub)
        join(self.home.path, central.public)
        self.door = Door(self.home)
        writer = self.home.writer("node", Clock())
        self.uplink = UplinkThread(self.home.path, writer, parse_uplink(broker.url), random.Random(1))
        self.uplink.start()
        self.app = create_app(self.home)
        self.kiosk = PageServer(self.app, "127.0.0.1", 0, self.app.state.live.close)
        self.kiosk.start()
        self.trust = Trust(self.home.path)

    def close(self) -> None:
        self.uplink.stop()
        self.kiosk.stop()
        self.door.close()

    @contextmanager
    def desk(self, sign_in: Callable[..., httpx.Response]) -> Iterator[httpx.Client]:
        with httpx.Client(base_url=self.kiosk.url, headers={"origin": self.kiosk.url}, timeout=20) as client:
            assert sign_in(client, "li", PASSWORD).status_code == 303
            yield client

    def scan(self, client: httpx.Client, text: str, phone: str = "") -> httpx.Response:
        visit, _ = self.door.arrive("first")
        until_shown(client, visit)
        form = {
            "csrf_token": form_token(client, "/"),
            "request_id": secrets.token_hex(16),
            "code": text,
            "phone": phone,
        }
        return client.post(f"/visits/{visit}/code", data=form, follow_redirects=True)

    def records(self, kind: str) -> list[Record]:
        with closing(self.home.open_ledger()) as ledger:
            return list(ledger.records((kind,)))


@pytest.fixture
def offices(tmp_path: Path) -> Iterator[tuple[Central, Office, Office]]:
    broker = BrokerProcess(free_port(), "mosquitto" if mosquitto() else "amqtt")
    broker.start()
    central = Central(tmp_path / "central")
    made = [Office(tmp_path, name, central, broker) for name in ("puxi-01-a", "puxi-01-b")]
    central.start(broker.url)
    try:
        yield central, made[0], made[1]
    finally:
        for office in made:
            office.close()
        central.stop()
        broker.stop()


def used_at(office: Office, report: str) -> str | None:
    known = office.trust.known_report(report)
    return known.used_at if known else None


def knows(office: Office, report: str) -> Callable[[], bool]:
    return lambda: office.trust.known_report(report) is not None


def test_a_report_shown_at_two_nodes_is_taken_flagged_told_and_in_the_end_refused(
    offices: tuple[Central, Office, Office], sign_in: Callable[..., httpx.Response]
) -> None:
    central, one, two = offices
    code, told = issue(central.directory, "report", 30, ("puxi-01",), AGENT, digits="1385678")
    assert told == ["puxi-01-a", "puxi-01-b"]
    report = code.code.report_id or ""
    for office in (one, two):
        wait_for(knows(office, report), "the desk knows of the report")
    with one.desk(sign_in) as client:
        done = one.scan(client, code.text(), PHONE)
        assert "出示报备码" in done.text
        link = re.findall(r"/receipts/1\.[0-9]+", done.text)[0]
        receipt = read_receipt(re.findall("FVR1[A-Z2-7]+", client.get(link).text)[0])
    (first,) = one.records("visit.checkin")
    wait_for(lambda: used_at(two, report) == "puxi-01-a", "the other desk is told of it")
    assert verify_receipt(receipt, central.directory, one.home.node_pub).ok, "central holds what the slip says"
    with two.desk(sign_in) as client:
        assert "该报备已在 puxi-01-a 使用" in two.scan(client, code.text()).text
        two.scan(client, code.text(), PHONE)
        (second,) = two.records("visit.checkin")
        assert second.fields["used_at"] == "puxi-01-a"
        assert second.fields["used_us"] == first.fields["arrived_us"]

        def flagged() -> list[str]:
            with central.store() as store:
                return [row.node_id for row in store.refusals() if row.reason == "CODE_TWICE"]

        wait_for(lambda: flagged() == ["puxi-01-b"], "central flags the second")
        revoke(central.directory, find(central.directory, report), "abused")
        wait_for(lambda: two.trust.code_revoked(code.code.hash) is not None, "the desk hears of the revocation")
        refused = two.scan(client, code.text(), PHONE)
        assert "已被中心作废" in refused.text
    (record,) = two.records("code.refused")
    assert record.fields["reason"] == "revoked"
    for office in (one, two):
        assert office.uplink.drained(30)
        assert verify_both(office.home.path, central.directory, None).ok


def test_one_code_replayed_at_another_desk_is_told_there_before_anybody_registers_and_refused_once_revoked(
    browser: "Browser", offices: tuple[Central, Office, Office]
) -> None:
    central, one, two = offices
    code, _ = issue(central.directory, "report", 30, ("puxi-01",), AGENT, digits="1385678")
    report = code.code.report_id or ""
    for office in (one, two):
        wait_for(knows(office, report), "the desk knows of the report")
    first, second = (browser.new_context(base_url=office.kiosk.url).new_page() for office in (one, two))
    try:
        sign_in_on(first, "li")
        shown(first, one, code.text())
        assert not first.query_selector(".scanned :text('该报备已在')")
        first.keyboard.type(f"{PHONE}\n")
        first.wait_for_selector(".notice.good.told:has-text('出示报备码')")
        wait_for(lambda: used_at(two, report) == "puxi-01-a", "the other desk is told of it")

        sign_in_on(second, "li")
        visit = shown(second, two, code.text())
        assert "该报备已在 puxi-01-a 使用" in second.inner_text(".scanned")
        assert two.records("visit.checkin") == [], "told before anything is bound"
        second.keyboard.type(f"{PHONE}\n")
        second.wait_for_selector(".notice.good.told:has-text('puxi-01-a')")
        second.goto("/arrivals")
        assert "puxi-01-a" in second.inner_text(f'.card[data-id="{visit}"]')

        revoke(central.directory, find(central.directory, report), "abused")
        wait_for(lambda: two.trust.code_revoked(code.code.hash) is not None, "the desk hears of the revocation")
        visit, _ = two.door.arrive("first")
        second.wait_for_selector(f'.card[data-id="{visit}"]')
        second.goto(f"/visits/{visit}/checkin")
        second.keyboard.type(f"{code.text()}\n")
        second.wait_for_selector("[role=alert]:has-text('已被中心作废')")
        (refused,) = two.records("code.refused")
        assert f"#{refused.seq}" in second.inner_text("[role=alert]")
    finally:
        first.context.close()
        second.context.close()


def shown(page: "Page", office: Office, text: str) -> str:
    """Somebody comes and shows a code, which a scanner types; returns their visit."""
    visit, _ = office.door.arrive("first")
    page.wait_for_selector(".party .serve")
    page.click(".party .serve")
    page.wait_for_selector("#register input[name=phone]:focus")
    page.keyboard.type(f"{text}\n")
    page.wait_for_selector(".scanned")
    return visit
