"""A real node on a disk that fills up: it refuses, says so, stays alive, and goes on by itself."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge.clock import Clock
from edge.doctor import examine
from edge.full_disk import FullDisk
from edge.home import Home, create_home
from edge.kiosk.health import Health
from edge.reserve import MIB, Reserve
from edge.settings import new_config
from sync.format.records import Record
from sync.node.alarms import Alarms
from sync.node.ledger import Ledger
from sync.storage.database import DiskFull
from sync.verify.verify import verify
from tests.small_disk import SmallDisk, small_disk

PATIENCE_S = 120.0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 12) as mounted:
        yield mounted


@pytest.fixture
def home_there(disk: SmallDisk) -> Home:
    """A HOME on the small disk, with a reserve of 1 MiB."""
    config = new_config(
        site="s", node="gate", place={"datum": "wgs84"}, capture={"mode": "ephemeral", "legal_basis": "test"}
    )
    return create_home(disk.path / "home", config + "\n[storage]\nreserve_mb = 1\n", None)


def records_of(home: Home, *kinds: str) -> list[Record]:
    with closing(home.open_ledger()) as ledger:
        return list(ledger.records(kinds))


def eventually(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


class Systemd:
    """Hears what a service tells systemd; beats: how often it has said that it lives."""

    def __init__(self, path: Path) -> None:
        self.beats = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        threading.Thread(target=self._hear, daemon=True).start()

    def _hear(self) -> None:
        while True:
            self.beats += self._socket.recv(4096) == b"WATCHDOG=1"


def append_for_ever(ledger: Ledger) -> None:
    """What room is left in the write-ahead log is used up first."""
    while True:
        ledger.append("clock.step", {"jump_us": 1, "before_us": 1})


def refusals(home: Home) -> list[Record]:
    return records_of(home, "storage.full")


def test_a_node_refuses_on_a_full_disk_says_so_and_goes_on_by_itself(
    home_there: Home, disk: SmallDisk, walk_in: Path, tmp_path: Path
) -> None:
    systemd = Systemd(tmp_path / "notify")
    command = [sys.executable, "-m", "edge", "run", "--home", str(home_there.path), "--source", str(walk_in)]
    node = subprocess.Popen(
        [*command, "--fast", "--until-end"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "TMPDIR": str(tmp_path)},
    )
    try:
        eventually(lambda: bool(records_of(home_there, "visit.first")), node)
        disk.fill()
        eventually(lambda: bool(refusals(home_there)), node)
        shown = records_of(home_there, "visit.first", "visit.return")
        beats = systemd.beats
        time.sleep(3)
        assert node.poll() is None, "the process went on"
        assert systemd.beats - beats > 5, "the watchdog is fed"
        assert records_of(home_there, "visit.first", "visit.return") == shown, "new visits are refused"
        (refusal,) = refusals(home_there)
        assert "until_us" not in refusal.fields
        (alarm,) = Alarms(home_there.database).all()
        assert alarm.code == "STORAGE_FULL"
        (finding,) = [finding for finding in examine(home_there) if finding.part == "disk"]
        assert finding.state == "bad"
        assert "nothing recorded since" in finding.text
        health = Health(())
        for record in records_of(home_there, "node.boot", "storage.full"):
            health.add(record)
        assert health.read().full_since_us == refusal.fields["since_us"]

        disk.free()
        _, errors = node.communicate(timeout=PATIENCE_S)
    finally:
        node.kill()
        node.wait(20)
    assert node.returncode == 0, errors
    assert errors.count("disk full: new visits are not recorded") == 1
    assert errors.count("room on the disk again") == 1
    begun, over = refusals(home_there)
    assert over.fields["since_us"] == begun.fields["since_us"]
    assert over.fields["until_us"] - over.fields["since_us"] > 2_000_000
    recorded = records_of(home_there, "visit.first", "visit.return")
    assert recorded[: len(shown)] == shown, "nothing that was shown is lost"
    assert len(recorded) > len(shown), "it records again"
    for alive in records_of(home_there, "node.alive"):  # what coverage is counted from
        overlap = min(alive.fields["until_us"], over.fields["until_us"]) - max(
            alive.fields["since_us"], over.fields["since_us"]
        )
        assert overlap < 1_000_000
    assert "storage_full" in {record.fields["reason"] for record in records_of(home_there, "visit.left")}
    verdict = verify(home_there.path, home_there.node_pub)
    assert verdict.ok, verdict.why
    assert home_there.reserve(home_there.settings()).held


def test_a_node_that_sees_nobody_refuses_too_and_says_so(home_there: Home, disk: SmallDisk, tmp_path: Path) -> None:
    silent = '\n[[camera]]\nid = "door"\nuri = "rtsp://127.0.0.1:9/none"\n'  # port 9: refused at once, for ever
    home_there.config.write_text(home_there.config.read_text() + silent)
    node = subprocess.Popen(
        [sys.executable, "-m", "edge", "run", "--home", str(home_there.path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    try:
        eventually(lambda: bool(records_of(home_there, "node.boot")), node)
        disk.fill()
        with closing(home_there.open_ledger("node", Clock())) as ledger, pytest.raises(DiskFull):
            append_for_ever(ledger)
        eventually(lambda: bool(refusals(home_there)), node)  # that the camera is down finds no room
        disk.free()
        eventually(lambda: bool(records_of(home_there, "camera.down")), node)
        node.terminate()
        _, errors = node.communicate(timeout=PATIENCE_S)
    finally:
        node.kill()
        node.wait(20)
    assert node.returncode == 0, errors
    assert len(refusals(home_there)) == 2


def test_a_refusal_is_said_as_soon_as_there_is_room_for_saying_it(home_there: Home, disk: SmallDisk) -> None:
    reserve = Reserve(home_there.database.parent / "reserve", MIB)  # none is held
    with closing(home_there.open_ledger("node", Clock())) as ledger:
        full = FullDisk(reserve, ledger, Alarms(home_there.database))
        disk.fill()
        with pytest.raises(DiskFull):
            append_for_ever(ledger)
        full.strike(datetime.now(UTC))
        full.tell()
        assert full.refusing
        assert refusals(home_there) == []
        disk.free()
        disk.fill(MIB)
        assert not full.over(), "room to say it, not to go on"
        assert len(refusals(home_there)) == 1
        assert [alarm.count for alarm in Alarms(home_there.database).all()] == [1]
        full.tell()
        assert len(refusals(home_there)) == 1, "said once"
        disk.free()
        assert full.over()
        assert not full.refusing
        assert [sorted(r.fields.keys() & {"since_us", "until_us"}) for r in refusals(home_there)] == [
            ["since_us"],
            ["since_us", "until_us"],
        ]
    assert Alarms(home_there.database).all() == [], "mended; the chain keeps it"
    (finding,) = [finding for finding in examine(home_there) if finding.part == "disk"]
    assert finding.state == "warn"
    assert "it was full, and nothing recorded from" in finding.text


def test_a_run_that_died_refusing_is_ended_by_the_next_start(home_there: Home) -> None:
    reserve = home_there.reserve(home_there.settings())
    with closing(home_there.open_ledger("node", Clock())) as ledger:
        alarms = Alarms(home_there.database)
        died = FullDisk(reserve, ledger, alarms)
        died.strike(datetime.now(UTC))
        died.tell()
        assert reserve.begin()
        FullDisk(reserve, ledger, alarms).begin()
        begun, over = refusals(home_there)
        assert over.fields["since_us"] == begun.fields["since_us"]
        FullDisk(reserve, ledger, alarms).begin()
        assert len(refusals(home_there)) == 2
