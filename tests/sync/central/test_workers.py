"""Central on PostgreSQL as a person runs it, in processes of its own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.central.shard import Shard
from sync.central.store.location import open_store
from sync.node.trust import join
from tests.sync.broker_process import BrokerProcess
from tests.sync.central.test_cli import BARE, Running, central
from tests.sync.postgres_server import PostgresServer
from tests.sync.uplink_site import Node, free_port, wait_for


@pytest.fixture
def broker() -> Iterator[BrokerProcess]:
    process = BrokerProcess(free_port())
    process.start()
    yield process
    process.stop()


@pytest.fixture
def directory(tmp_path: Path, postgres: PostgresServer) -> Path:
    made = central("init", tmp_path / "central", "--id", "hq", "--store", postgres.fresh())
    assert made.returncode == 0, made.stderr
    assert not (tmp_path / "central" / "central.db").exists()
    return tmp_path / "central"


def taken_in(directory: Path, home: Path, node_id: str = "n1") -> Node:
    node = Node(home, node_id)
    join(node.home, directory / "central.pub")
    enrolled = central("enroll", "--dir", directory, node.home / "node.pub")
    assert enrolled.returncode == 0, enrolled.stderr
    return node


def held(directory: Path, node_id: str) -> list[int]:
    with open_store(directory) as store:
        return [row.seq for row in store.records(node_id)]


class Worker:
    """One `central run --shard` in a process of its own."""

    def __init__(self, directory: Path, broker_url: str, shard: str, folder: Path) -> None:
        words = ["run", "--dir", str(directory), "--broker", broker_url, "--shard", shard, "--port", str(free_port())]
        heard_at = folder / f"{shard.replace('/', '-')}-{free_port()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
            ear.bind(str(heard_at))
            ear.settimeout(60)
            environment = {**os.environ, "NOTIFY_SOCKET": str(heard_at)}
            self.process = subprocess.Popen([sys.executable, "-c", BARE, *words], env=environment)
            assert ear.recv(100) == b"READY=1"

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


def test_two_workers_share_the_nodes_of_one_store_and_one_may_be_killed(
    directory: Path, broker: BrokerProcess, tmp_path: Path
) -> None:
    names = ["n1", "n2", "n3", "n5"]
    mine = [name for name in names if Shard(1, 2).has(name)]
    assert 0 < len(mine) < len(names)
    nodes = {name: taken_in(directory, tmp_path / name, name) for name in names}
    workers = {shard: Worker(directory, broker.url, shard, tmp_path) for shard in ("1/2", "2/2")}
    try:
        for node in nodes.values():
            node.record(500)
        for node in nodes.values():
            node.start(broker.url)
        wait_for(lambda: any(held(directory, name) for name in names if name not in mine), "worker 2 takes records")
        workers["2/2"].end(signal.SIGKILL)
        for name in mine:
            uplink = nodes[name].uplink
            assert uplink is not None
            assert uplink.drained(60), "the other worker goes on"
        nodes_of_the_dead = [name for name in names if name not in mine]
        for name in nodes_of_the_dead:
            nodes[name].record(20)
        workers["2/2"] = Worker(directory, broker.url, "2/2", tmp_path)
        for name in nodes_of_the_dead:
            uplink = nodes[name].uplink
            assert uplink is not None
            assert uplink.drained(90)
    finally:
        for node in nodes.values():
            node.stop()
        for worker in workers.values():
            assert worker.end() == 0
    for name in names:
        assert held(directory, name) == list(range(1, nodes[name].head() + 1))
        assert nodes[name].alarms() == {}
    with open_store(directory) as store:
        assert store.refusals() == []


@pytest.mark.parametrize("other", ["1/2", "1/1", "2/3"])
def test_no_node_ever_has_two_workers(directory: Path, broker: BrokerProcess, tmp_path: Path, other: str) -> None:
    worker = Worker(directory, broker.url, "1/2", tmp_path)
    twin = shutil.copytree(directory, tmp_path / "twin")  # elsewhere, so that no file lock tells
    refused = central("run", "--dir", twin, "--broker", broker.url, "--port", str(free_port()), "--shard", other)
    assert worker.end() == 0
    assert refused.returncode == 2
    assert refused.stderr.endswith("another central writes for some of these nodes\n")


def test_workers_on_sqlite_are_refused(tmp_path: Path) -> None:
    assert central("init", tmp_path / "central").returncode == 0
    refused = central("run", "--dir", tmp_path / "central", "--shard", "1/2")
    assert refused.returncode == 2
    assert "SQLite has one writer; workers share a PostgreSQL (store.url)" in refused.stderr


def test_records_travel_from_a_node_to_a_central_on_postgres_and_are_listed_there(
    directory: Path, broker: BrokerProcess, tmp_path: Path
) -> None:
    node = taken_in(directory, tmp_path / "home")
    node.record(30)
    running = Running(directory, broker.url)
    try:
        uplink = node.start(broker.url)
        assert uplink.drained(60)
    finally:
        node.stop()
        assert running.end()[0] == 0
    assert held(directory, "n1") == list(range(1, node.head() + 1))
    listed = central("records", "--dir", directory)
    assert listed.stdout.count("camera.up") == 30


def test_a_second_central_on_one_database_is_refused(
    directory: Path, broker: BrokerProcess, tmp_path: Path, postgres: PostgresServer
) -> None:
    url = (directory / "central.toml").read_text().split("[store]")[1].split('"')[1]
    refused = central("init", tmp_path / "other", "--store", url)
    assert refused.returncode == 2
    name = f"postgresql://127.0.0.1:{postgres.port}/postgres"
    assert refused.stderr == f"{name}: a central store is already there\n"
    assert not (tmp_path / "other").exists()
    running = Running(directory, broker.url)
    twin = shutil.copytree(directory, tmp_path / "twin")
    refused = central("run", "--dir", twin, "--broker", broker.url, "--port", str(free_port()))
    assert running.end()[0] == 0
    assert refused.returncode == 2
    assert refused.stderr.endswith(f"{name}: another central writes for some of these nodes\n")
