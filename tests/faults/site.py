"""A site under test: nodes that feed, a broker and a central, each a process that can be killed and started again."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edge.home import Home
from edge.settings import set_broker
from sync import SyncError
from sync.transport.broker import mosquitto
from tests.faults.feed import SOURCE
from tests.faults.journal import Account, Place, last_shown_ns, read
from tests.faults.rig import firstvisit, free_port

PATIENCE_S = 90.0  # generous: the machine is shared
LOOK_S = 0.03
READY_S = 10.0  # what the issue allows a process to be back in


class Failed(Exception):
    """The system under test did not do what it must; the text is a row's problem."""


def wait_until(condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> float:
    """Return how many seconds it took until the condition held; raises Failed naming what did not happen."""
    began_s = asked_s = time.monotonic()
    while not condition():
        now_s = time.monotonic()
        if now_s - began_s > patience_s:
            raise Failed(f"not within {patience_s:.0f} s: {what}")
        time.sleep(max(LOOK_S, 3 * (now_s - asked_s)))  # who looks takes a quarter of a core at most
        asked_s = time.monotonic()
    return time.monotonic() - began_s


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass(slots=True)
class NodeUnderTest:
    """A HOME, its journal, and how its process is started."""

    node_id: str
    home: Home
    journal: Path
    clock: Path | None = None
    rate_per_s: float | None = 20.0  # None: it watches a film instead of being fed
    film: Path | None = None
    mutants: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    baseline: Place = (0, 0)  # what the commands that made it had appended: not in the journal
    name: str = ""  # of its process; the node's id, where no other HOME is that node's too

    def __post_init__(self) -> None:
        self.name = self.name or self.node_id

    @property
    def account(self) -> Account:
        return read(self.journal)

    def head(self) -> Place:
        with reading(self.home.database) as connection:
            found = connection.execute("SELECT epoch, seq FROM ledger ORDER BY epoch DESC, seq DESC LIMIT 1").fetchone()
        return (found[0], found[1]) if found else (0, 0)

    def acked_upto(self) -> Place:
        """The last place that a stored ack covers."""
        with reading(self.home.database) as connection:
            found = connection.execute(
                "SELECT epoch, upto_seq FROM acks ORDER BY epoch DESC, upto_seq DESC LIMIT 1"
            ).fetchone()
        return (found[0], found[1]) if found else (0, 0)

    def alarms(self) -> dict[str, int]:
        with reading(self.home.database) as connection:
            return dict(connection.execute("SELECT code, count FROM alarms").fetchall())


class Site:
    """One central, one broker and some nodes under `root`, joined and enrolled; nothing runs until it is started."""

    def __init__(self, root: Path, node_ids: tuple[str, ...] = ("n1",), persistent_broker: bool = False) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.central = root / "central"
        self.broker_port, self.console_port = free_port(), free_port()
        self.central_mutants: tuple[str, ...] = ()
        self.central_environment: dict[str, str] = {}
        self.nodes: dict[str, NodeUnderTest] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._started_ns: dict[str, int] = {}
        self._persistent = persistent_broker
        command("central", "init", str(self.central), "--broker", self.broker_url)
        for node_id in node_ids:
            self.add_node(node_id)

    @property
    def broker_url(self) -> str:
        return f"mqtt://127.0.0.1:{self.broker_port}"

    @property
    def node(self) -> NodeUnderTest:
        """The first node, of a site that has one."""
        return next(iter(self.nodes.values()))

    def add_node(self, node_id: str) -> NodeUnderTest:
        home = Home(self.root / node_id)
        basis = ("--mode", "ephemeral", "--legal-basis", "test")
        command("init", str(home.path), "--site", "site", "--node", node_id, *basis)
        command(
            "join", "--home", str(home.path), "--central-key", str(self.central / "central.pub"),
            "--broker", self.broker_url,
        )  # fmt: skip
        command("central", "enroll", "--dir", str(self.central), str(home.node_pub))
        node = self.nodes[node_id] = NodeUnderTest(node_id, home, self.root / f"{node_id}.journal")
        node.baseline = node.head()
        return node

    def send_through(self, node: NodeUnderTest, port: int) -> None:
        """Let a node's uplink go through another port, a proxy's."""
        set_broker(node.home.config, f"mqtt://127.0.0.1:{port}")

    # -- processes ---------------------------------------------------------------------------------------------

    @property
    def broker_state(self) -> Path:
        """Where a persistent broker keeps what it has queued."""
        return self.root / "broker-state"

    def start_broker(self) -> None:
        program = mosquitto()
        if program is None:
            raise SyncError("mosquitto is not installed")
        configuration = self.root / "mosquitto.conf"
        lines = [f"listener {self.broker_port} 127.0.0.1", "allow_anonymous true", "max_queued_messages 0"]
        if self._persistent:
            self.broker_state.mkdir(exist_ok=True)
            self.broker_state.chmod(0o777)  # mosquitto started by root steps down to a user of its own
            lines += ["persistence true", f"persistence_location {self.broker_state}/", "autosave_interval 1"]
        configuration.write_text("\n".join(lines) + "\n")
        self._start("broker", [program, "-c", str(configuration)])
        wait_until(lambda: listens(self.broker_port), "the broker listens", READY_S)

    def start_central(self, *arguments: str, wait: bool = True, launcher: tuple[str, ...] = ()) -> None:
        self._launch(
            "central", self.central_mutants, launcher, self.central_environment,
            "central", "run", "--dir", str(self.central), "--port", str(self.console_port), *arguments,
        )  # fmt: skip
        if wait:
            self.wait_for_central()

    def wait_for_central(self) -> float:
        return wait_until(lambda: self._check_alive("central") and listens(self.console_port), "central is ready")

    def start_node(
        self,
        node: NodeUnderTest | None = None,
        wait: bool = True,
        *arguments: str,
        launcher: tuple[str, ...] = (),
    ) -> None:
        """launcher: its further options."""
        node = node or self.node
        seed = time.time_ns() % 2**31  # new faces in every run
        options = ["--journal", str(node.journal), *launcher]
        source: tuple[str, ...] = (SOURCE,)
        if node.rate_per_s is not None:
            options += ["--rate", str(node.rate_per_s), "--seed", str(seed)]
        else:
            source = (str(node.film), "--allow-file", "--fast", "--until-end")
        if node.clock is not None:
            options += ["--clock", str(node.clock)]
        self._launch(
            node.name, node.mutants, tuple(options), node.environment,
            "run", "--home", str(node.home.path), "--visit-gap", "0", "--source", *source, *arguments,
        )  # fmt: skip
        if wait:
            self.wait_for_node(node)

    def wait_for_node(self, node: NodeUnderTest | None = None) -> float:
        """Wait until it has recorded something since its start."""
        node = node or self.node
        since_ns = self._started_ns[node.name]

        def recorded() -> bool:
            self._check_alive(node.name)
            return last_shown_ns(node.journal) >= since_ns

        return wait_until(recorded, f"node {node.name} records again")

    def drain(self, node: NodeUnderTest | None = None, within_s: float = 120.0) -> None:
        """Let a node send what it has, its last words included, until central has acknowledged everything."""
        node = node or self.node
        if node.name in self._processes:
            self.terminate(node.name)
        rate_per_s, node.rate_per_s = node.rate_per_s, 0.0
        self.start_node(node, False, "--until-end", "--drain", f"{within_s:g}")
        node.rate_per_s = rate_per_s
        process = self._processes.pop(node.name)
        try:
            code = process.wait(within_s + PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        if code != 0:
            raise Failed(f"node {node.name} is not drained: {self.log(node.name).strip().splitlines()[-1:]}")

    def wait_for_end(self, node: NodeUnderTest) -> int:
        """Wait until a node that watches a film has seen it; returns the exit code."""
        return self._processes.pop(node.name).wait(2 * PATIENCE_S)

    def kill(self, name: str) -> None:
        """kill -9, and wait until it is gone."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def terminate(self, name: str) -> int:
        process = self._processes.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise Failed(f"{name} does not end on SIGTERM") from None

    def pause(self, name: str) -> None:
        """Let a process stand still (SIGSTOP): it takes and answers nothing."""
        self._processes[name].send_signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        self._processes[name].send_signal(signal.SIGCONT)

    def running(self, name: str) -> bool:
        return name in self._processes and self._processes[name].poll() is None

    def log(self, name: str) -> str:
        path = self.root / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def close(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()
        self._processes.clear()

    def _launch(
        self,
        name: str,
        mutants: tuple[str, ...],
        options: tuple[str, ...],
        environment: dict[str, str],
        *arguments: str,
    ) -> None:
        chosen = [part for mutant in mutants for part in ("--mutant", mutant)]
        self._start(
            name, [sys.executable, "-m", "tests.faults.launcher", *options, *chosen, "--", *arguments], environment
        )

    def _start(self, name: str, command_line: list[str], environment: dict[str, str] | None = None) -> None:
        self._started_ns[name] = time.time_ns()
        with (self.root / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                command_line,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "FIRSTVISIT_LOG": "INFO", **(environment or {})},
            )

    def _check_alive(self, name: str) -> bool:
        if not self.running(name):
            raise Failed(f"{name} has ended by itself: {self.log(name).strip().splitlines()[-1:]}")
        return True


@contextmanager
def site(root: Path, node_ids: tuple[str, ...] = ("n1",), persistent_broker: bool = False) -> Iterator[Site]:
    """A site whose processes end with the block."""
    made = Site(root, node_ids, persistent_broker)
    try:
        yield made
    finally:
        made.close()


def command(*arguments: str) -> str:
    """Run a firstvisit command that must succeed; returns its standard output."""
    done = firstvisit(*arguments)
    if done.returncode != 0:
        raise Failed(f"firstvisit {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A database as anybody may open it, in use or not, without the product's code."""
    uri = f"{path.absolute().as_uri()}?mode=rw"  # a WAL left by a killed process is read through its index, made anew
    with closing(sqlite3.connect(uri, uri=True, timeout=20.0, isolation_level=None)) as connection:
        yield connection
