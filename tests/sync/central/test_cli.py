"""`firstvisit central …` as a person uses it, in processes of its own."""

import json
import os
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sync import SyncError
from sync.central.ingest import Arrived, Ingest
from sync.central.keys import load_serving_keys
from sync.central.store.location import open_store
from sync.format.records import seal
from sync.format.wire import SignedBody, encode_frame
from sync.storage.key_files import read_central_file
from tests.sync.broker_process import BrokerProcess
from tests.sync.uplink_site import Node, free_port, wait_for

# Stands for edge.cli.main on a machine without the vision libraries: a SyncError becomes one line and exit 2.
BARE = """
import sys
for name in ("onnxruntime", "cv2", "insightface", "av", "models", "camera", "edge"):
    sys.modules[name] = None
from sync import SyncError
from sync.central.cli import app
try:
    app(standalone_mode=False)
except SyncError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
"""


def central(*arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BARE, *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = central("init", tmp_path / "central", "--id", "hq")
    assert made.returncode == 0, made.stderr
    return tmp_path / "central"


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path / "home")


@pytest.fixture
def broker() -> Iterator[BrokerProcess]:
    process = BrokerProcess(free_port())
    process.start()
    yield process
    process.stop()


class Running:
    """`central run` in a process of its own."""

    def __init__(self, directory: Path, broker_url: str, environment: dict[str, str] | None = None) -> None:
        self.port = free_port()
        command = [sys.executable, "-c", BARE, "run", "--dir", str(directory), "--broker", broker_url]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        wait_for(self._answers, "the console answers")

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.process.stdout and self.process.stdout.read()
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/", timeout=5).status_code < 500
        except httpx.TransportError:
            return False

    def end(self) -> tuple[int, float]:
        """Its exit code, and how many seconds it took to go after SIGTERM."""
        began_s = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        return code, time.monotonic() - began_s


def test_init_makes_keys_for_its_owner_alone_and_a_store(directory: Path) -> None:
    keys = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (directory / "keys").iterdir()}
    (sealing,) = (name for name in keys if name.startswith("seal-"))
    made = ("root.key", "ack.key", "notice.key", "checkpoint.key", "code.key", "ca.key", sealing)
    assert keys == dict.fromkeys(made, 0o600)
    assert (directory / "central.pub").is_file()
    assert (directory / "central.db").is_file()
    assert stat.S_IMODE((directory / "central.toml").stat().st_mode) == 0o600


def test_a_central_in_an_open_folder_is_closed_to_others(tmp_path: Path) -> None:
    directory = tmp_path / "central"
    directory.mkdir()
    directory.chmod(0o755)
    assert central("init", directory).returncode == 0
    assert central("add-user", "--dir", directory, "wang", "--password-stdin", stdin="correct horse\n").returncode == 0
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir() if path.name != "keys"}
    assert stat.S_IMODE(directory.stat().st_mode) == 0o750
    assert modes["central.db"] == modes["central.toml"] == 0o600
    assert modes["central.pub"] == 0o644


def test_records_print_nothing_that_drives_a_terminal(directory: Path, node: Node) -> None:
    central("enroll", "--dir", directory, node.home / "node.pub")
    ledger = node.ledger()
    fields = ledger.append("camera.up", {}).fields
    ledger.close()
    record = seal({**fields, "note": "\x1b[31m\u202e\x9b"}, node.key)
    with open_store(directory) as store:
        frame = encode_frame([SignedBody(record.body, record.signature)])
        ingest = Ingest(store, load_serving_keys(directory))
        assert ingest.take(ingest.read([Arrived("n1", frame)]), 1_760_000_000_000_000)
    for flags in ((), ("--json",)):
        listed = central("records", "--dir", directory, *flags).stdout
        assert listed.count("\n") == 1
        assert listed.rstrip("\n").isprintable()


def test_nodes_says_how_each_stands(directory: Path, node: Node, tmp_path: Path) -> None:
    other = Node(tmp_path / "other", "n2")
    assert central("nodes", "--dir", directory).stdout == "no nodes yet: firstvisit central enroll or invite\n"
    for one in (node, other):
        central("enroll", "--dir", directory, one.home / "node.pub")
    ledger = node.ledger()
    records = [ledger.append("camera.up", {}) for _ in range(3)]
    head = ledger.head()
    ledger.close()
    assert head is not None
    frame = encode_frame([SignedBody(one.body, one.signature) for one in records])
    forged = encode_frame([SignedBody(records[0].body, bytes(64))])
    now_us = 1_760_000_000_000_000
    with open_store(directory) as store:
        ingest = Ingest(store, load_serving_keys(directory))
        ingest.take(ingest.read([Arrived("n1", frame)]), now_us)
        ingest.take(ingest.read([Arrived("n2", forged)]), now_us)
    first, second = map(json.loads, central("nodes", "--dir", directory, "--json").stdout.splitlines())
    assert (first["node"], first["state"], first["epoch"], first["seq"]) == ("n1", "offline", 1, head.seq)
    assert (first["backlog"], first["alarms"], first["head_received_at"]) == (None, [], "2025-10-09T08:53:20.000Z")
    assert (second["node"], second["state"], second["seq"]) == ("n2", "never", 0)
    assert [alarm["count"] for alarm in second["alarms"]] == [1]
    header, n1, n2 = central("nodes", "--dir", directory).stdout.splitlines()
    assert header.split() == ["node", "site", "state", "last", "seen", "head", "backlog", "alarms"]
    assert f"1:{head.seq}" in n1
    assert f"{second['alarms'][0]['code']} x1" in n2


@pytest.mark.parametrize("what", ["node.pub", "central.pub", "folder"])
def test_a_fifo_in_place_of_a_file_is_refused_and_waited_for_by_nobody(
    directory: Path, tmp_path: Path, what: str
) -> None:
    fifo = tmp_path / "pipe.pub"
    if what == "folder":
        fifo.mkdir()
    else:
        os.mkfifo(fifo)
    if what == "central.pub":
        with pytest.raises(SyncError, match=r"pipe\.pub: not a file"):
            read_central_file(fifo)
        return
    ended = central("enroll", "--dir", directory, fifo)
    assert (ended.returncode, ended.stderr) == (2, f"{fifo}: not a file\n")


def test_a_store_in_postgresql_without_psycopg_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    without = BARE.replace('"edge"):', '"edge", "psycopg"):')
    command = [sys.executable, "-c", without, "init", str(tmp_path / "c"), "--store", "postgresql://127.0.0.1/x"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "psycopg" in done.stderr
    assert not (tmp_path / "c").exists()


def test_init_leaves_an_existing_central_alone(directory: Path) -> None:
    before = (directory / "central.pub").read_bytes()
    again = central("init", directory)
    assert again.returncode == 2
    assert again.stderr == f"{directory}: a central is already there\n"
    assert (directory / "central.pub").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["init", "{tmp}/new", "--broker", "http://kim:secret@b"], "broker URL: scheme 'http', expected mqtt or mqtts"),
        (["init", "{tmp}/new", "--id", "über"], "--id 'über': letters"),
        (["enroll", "--dir", "{tmp}/none", "{tmp}/home/node.pub"], "{tmp}/none/central.db: no central store there"),
        (["enroll", "--dir", "{tmp}/central", "{tmp}/none.pub"], "{tmp}/none.pub: no node key file there"),
        (
            ["enroll", "--dir", "{tmp}/central", "{tmp}/central/central.toml"],
            "{tmp}/central/central.toml: node key file",
        ),
        (["records", "--dir", "{tmp}/none"], "{tmp}/none/central.db: no central store there"),
        (["run", "--dir", "{tmp}/none"], "{tmp}/none/central.toml: not there"),
        (["add-user", "--dir", "{tmp}/none", "wang", "--password-stdin"], "{tmp}/none/central.db: no central store"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    directory: Path, node: Node, tmp_path: Path, arguments: list[str], says: str
) -> None:
    assert directory.is_dir()
    assert node.home.is_dir()
    ended = central(*(argument.replace("{tmp}", str(tmp_path)) for argument in arguments))
    assert ended.returncode == 2
    assert ended.stderr.startswith(says.replace("{tmp}", str(tmp_path)))
    assert ended.stderr.count("\n") == 1
    assert "secret" not in ended.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("colour = 1", "colour: Extra inputs"),
        ("[console]\nport = 99999", "console.port: Input should be less"),
        ("[console", "central.toml: "),
        ('id = "a b"', "id: 'a b' is not a name"),
    ],
)
def test_a_wrong_key_in_central_toml_is_named(directory: Path, line: str, says: str) -> None:
    head = "" if line.startswith("id") else 'id = "hq"\n'
    (directory / "central.toml").write_text(head + line)
    ended = central("run", "--dir", directory)
    assert ended.returncode == 2
    assert says in ended.stderr
    assert str(directory / "central.toml") in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_enrolling_prints_fingerprints_and_may_be_repeated(directory: Path, node: Node) -> None:
    first, again = (central("enroll", "--dir", directory, node.home / "node.pub") for _ in range(2))
    assert (first.returncode, again.returncode) == (0, 0)
    assert first.stdout.startswith("enrolled n1 of site site-1")
    assert again.stdout.startswith("already enrolled n1")
    assert node.key.public.fingerprint in first.stdout


def test_another_key_for_a_known_node_is_refused(directory: Path, node: Node, tmp_path: Path) -> None:
    central("enroll", "--dir", directory, node.home / "node.pub")
    impostor = Node(tmp_path / "impostor")
    ended = central("enroll", "--dir", directory, impostor.home / "node.pub")
    assert ended.returncode == 2
    assert "is enrolled with other keys" in ended.stderr
    held = sqlite3.connect(directory / "central.db").execute("SELECT enrolment FROM nodes").fetchall()
    assert held == [((node.home / "node.pub").read_text(),)]


def test_a_short_password_is_refused_and_a_long_one_taken(directory: Path) -> None:
    add = ("add-user", "--dir", directory, "wang", "--password-stdin")
    short = central(*add, stdin="short\n")
    assert short.returncode == 2
    assert "short\n" not in short.stderr
    assert central(*add, stdin="correct horse battery\n").returncode == 0
    assert central(*add, stdin="correct horse battery\n").returncode == 2


def test_run_takes_records_without_the_vision_libraries_and_ends_within_seconds(
    directory: Path, node: Node, broker: BrokerProcess
) -> None:
    from sync.node.trust import join

    join(node.home, directory / "central.pub")
    central("enroll", "--dir", directory, node.home / "node.pub")
    node.record(5)
    running = Running(directory, broker.url)
    try:
        uplink = node.start(broker.url)
        wait_for(lambda: node.head() == 6, "notice 1 is answered")
        assert uplink.drained(30)
    finally:
        node.stop()
        code, took_s = running.end()
    assert code == 0
    assert took_s < 5

    listed = central("records", "--dir", directory, "--json")
    rows = [json.loads(line) for line in listed.stdout.splitlines()]
    assert [(row["node"], row["epoch"], row["seq"]) for row in rows] == [("n1", 1, seq) for seq in range(1, 7)]
    assert rows[0]["kind"] == rows[0]["body"]["kind"] == "camera.up"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", rows[0]["received_at"])
    assert rows[1]["prev_hash"] == rows[0]["hash"]
    assert central("records", "--dir", directory, "--node", "n2", "--json").stdout == ""
    assert len(central("records", "--dir", directory).stdout.splitlines()) == 6


def test_a_second_run_and_a_taken_port_are_refused_in_one_line(directory: Path, broker: BrokerProcess) -> None:
    running = Running(directory, broker.url)
    try:
        second = central("run", "--dir", directory, "--port", str(free_port()))
        assert (second.returncode, second.stderr) == (2, f"{directory}: another central is running on it\n")
    finally:
        running.end()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = central("run", "--dir", directory, "--port", str(port))
    assert refused.returncode == 2
    assert f"127.0.0.1:{port}" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_systemd_is_told_when_central_is_ready_alive_and_leaving(directory: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "notify"))
        ear.settimeout(30)
        running = Running(directory, f"mqtt://127.0.0.1:{free_port()}", {"NOTIFY_SOCKET": str(tmp_path / "notify")})
        heard = [ear.recv(100), ear.recv(100)]
        running.end()
        while heard[-1] != b"STOPPING=1":
            heard.append(ear.recv(100))
    assert heard[:2] == [b"READY=1", b"WATCHDOG=1"]


def test_add_user_without_a_terminal_asks_for_the_option(directory: Path) -> None:
    refused = central("add-user", "--dir", directory, "wang", stdin="correct horse battery\n")
    assert (refused.returncode, refused.stderr) == (2, "no terminal: give --password-stdin\n")
    assert refused.stdout == ""
