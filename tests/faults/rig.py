"""A node, a broker and central as real processes, to be killed and started again."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from edge.home import Home
from models.store import Store, default_root
from sync.central.store.location import open_store
from sync.verify.verdict import Verdict
from sync.verify.verify import verify

PATIENCE_S = 90.0  # generous: the machine is shared


def installed_pack() -> str | None:
    """The pack the node would choose, or None where none is installed."""
    store = Store(default_root())
    return store.pick(None) if store.installed() else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait until the condition holds; fail naming what did not happen."""
    deadline_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {patience_s:.0f} s: {what}"
        time.sleep(0.1)


class Rig:
    """One site and its central under `root`, joined and enrolled; nothing runs until it is started."""

    def __init__(self, root: Path, mode: str = "ephemeral") -> None:
        self.root = root
        self.home = Home(root / "home")
        self.central = root / "central"
        self.broker_port = free_port()
        self.console_port = free_port()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        basis = ("--legal-basis", "test") if mode == "ephemeral" else ()
        self.command("init", str(self.home.path), "--site", "site", "--node", "node", "--mode", mode, *basis)
        self.command("central", "init", str(self.central), "--broker", self.broker_url)
        self.command(
            "join", "--home", str(self.home.path), "--central-key", str(self.central / "central.pub"),
            "--broker", self.broker_url,
        )  # fmt: skip
        self.command("central", "enroll", "--dir", str(self.central), str(self.home.node_pub))

    @property
    def broker_url(self) -> str:
        return f"mqtt://127.0.0.1:{self.broker_port}"

    def command(self, *arguments: str) -> str:
        """Run a firstvisit command that must succeed; returns its standard output."""
        done = firstvisit(*arguments)
        assert done.returncode == 0, f"firstvisit {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def start_broker(self) -> None:
        self._start("broker", "-m", "sync.transport.broker", "--port", str(self.broker_port))
        eventually(lambda: _answers(self.broker_port), "the broker listens")

    def start_central(self) -> None:
        self._start(
            "central", "-m", "edge", "central", "run", "--dir", str(self.central), "--port", str(self.console_port)
        )

    def start_node(self, *arguments: str) -> subprocess.Popen[bytes]:
        return self._start("node", "-m", "edge", "run", "--home", str(self.home.path), *arguments)

    def kill(self, name: str) -> None:
        """kill -9, and wait until it is gone."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def terminate(self, name: str) -> int:
        """SIGTERM, and wait; returns the exit code."""
        process = self._processes.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(PATIENCE_S)

    def close(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()
        self._processes.clear()

    def log(self, name: str) -> str:
        return (self.root / f"{name}.log").read_text(errors="replace")

    def held(self) -> list[tuple[int, int]]:
        """(epoch, seq) of every record central holds of the node."""
        with open_store(self.central) as store:
            return [(row.epoch, row.seq) for row in store.records("node")]

    def seq(self) -> int:
        """The last seq of the node's chain."""
        ledger = self.home.open_ledger()
        head = ledger.head()
        ledger.close()
        return head.seq if head else 0

    def backlog(self) -> int:
        ledger = self.home.open_ledger()
        backlog = ledger.backlog()
        ledger.close()
        return backlog

    def drained(self) -> bool:
        return self.backlog() == 0

    def check(self) -> tuple[Verdict, Verdict]:
        """The set checker: central holds exactly 1..N, the same bytes as the node, and both ends verify."""
        held = self.held()
        assert held == [(1, seq) for seq in range(1, self.seq() + 1)], "central does not hold exactly 1..N"
        ledger = self.home.open_ledger()
        with open_store(self.central) as store:
            ours = [(row.body, row.signature) for row in ledger.rows()]
            theirs = [(row.body, row.signature) for row in store.records("node")]
        ledger.close()
        assert ours == theirs, "central holds other bytes than the node signed"
        node, central = verify(self.home.path, self.home.node_pub), verify(self.central, self.central / "central.pub")
        assert node.ok, node.why
        assert central.ok, central.why
        return node, central

    def _start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.root / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "FIRSTVISIT_LOG": "INFO"},
            )
        self._processes[name] = process
        return process


def firstvisit(*arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    """Run a firstvisit command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "edge", *arguments],
        input=typed,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
