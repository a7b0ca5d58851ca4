"""Central's night: found by a process of its own, kept beside the store, shown on the console."""

import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from sync.central import nightly, server
from sync.central.enrol import enrol
from sync.central.ingest import Arrived, Ingest
from sync.central.keys import load_serving_keys
from sync.central.nightly import FILE_NAME, CentralNight, last_check
from sync.format.wire import SignedBody, encode_frame
from sync.transport.mqtt import BrokerAddress
from sync.verify.nightly import Nightly
from tests.sync.uplink_site import Central, Node, free_port, wait_for


@pytest.fixture
def central(tmp_path: Path, store_url: str | None) -> Central:
    """A central that holds ten records of a node."""
    central, node = Central(tmp_path / "central", store_url=store_url), Node(tmp_path / "home")
    enrol(central.directory, node.home / "node.pub")
    node.record(10)
    ledger = node.ledger()
    frame = encode_frame([SignedBody(row.body, row.signature) for row in ledger.rows()])
    ledger.close()
    with central.store() as store:
        ingest = Ingest(store, load_serving_keys(central.directory))
        ingest.take(ingest.read([Arrived("n1", frame)]), time.time_ns() // 1000)
    return central


class Always(Nightly):
    """A night that is due at once: the fake clock runs a day a look."""

    def follow(self, now: datetime):  # type: ignore[no-untyped-def]
        self.days = getattr(self, "days", 0) + 1
        return super().follow(now + timedelta(days=self.days))


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nightly, "LOOK_S", 0.02)
    monkeypatch.setattr(nightly, "Nightly", Always)


def through_the_night(central: Central) -> None:
    night = CentralNight(central.directory)
    night.start()
    try:
        wait_for(lambda: (central.directory / FILE_NAME).exists(), "the night's answer is kept")
    finally:
        night.stop()


def test_a_good_store_is_found_good(central: Central) -> None:
    assert last_check(central.directory) is None
    through_the_night(central)
    found = last_check(central.directory)
    assert found is not None
    assert (found.ok, found.checked) == (True, 10), found.why


def test_a_central_is_verified_at_night_wherever_its_store_lies(
    central: Central, monkeypatch: pytest.MonkeyPatch
) -> None:
    nights = list[Path]()
    monkeypatch.setattr(CentralNight, "start", lambda night: nights.append(night._directory))
    monkeypatch.setattr(server.Server, "serve", lambda _: None)
    server.run(central.directory, "c1", BrokerAddress("127.0.0.1", free_port()), "127.0.0.1", free_port())
    assert nights == [central.directory]


def test_a_flipped_bit_is_named(central: Central) -> None:
    with central.store() as store:
        store.database.execute("UPDATE records SET body = ? WHERE seq = 7", (b"{}",))
    through_the_night(central)
    found = last_check(central.directory)
    assert found is not None
    assert (found.ok, found.first_bad, found.alarm) == (False, 7, "CHAIN_DAMAGED")
    assert "node n1" in found.damage


def test_an_unforeseen_fault_does_not_end_the_nights(
    central: Central, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    follow, looks = Always.follow, list[datetime]()

    def stumbling(self: Always, now: datetime):  # type: ignore[no-untyped-def]
        looks.append(now)
        if len(looks) < 3:
            raise ValueError("nobody thought of this")
        return follow(self, now)

    monkeypatch.setattr(Always, "follow", stumbling)
    through_the_night(central)
    found = last_check(central.directory)
    assert found is not None
    assert found.ok
    assert caplog.text.count("nightly in trouble error=nobody thought of this") == 1


def test_an_answer_that_cannot_be_read_is_none(central: Central) -> None:
    (central.directory / FILE_NAME).write_text("{")
    assert last_check(central.directory) is None
