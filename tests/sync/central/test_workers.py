"""Central on PostgreSQL as a person runs it, in processes of its own."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.central.store.location import open_store
from sync.trust import join
from tests.sync.broker_process import BrokerProcess
from tests.sync.central.test_cli import Running, central
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
    assert held(directory, "n1") == list(range(1, 31))
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
