"""The demo: broker, central, node and kiosk as real processes on this machine, and a table of what they agree on."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn
from rich.table import Table

from camera.source import parse_uri
from edge import EdgeError
from edge.demo_film import write_walk_in
from edge.home import Home
from edge.visit_log import VisitRow, visit_log
from models.pack import open_pack
from models.store import Store, default_root
from sync.central.store.sqlite import FILE_NAME
from sync.central.store.sqlite import Store as CentralStore
from sync.messages import Enrolment
from sync.records import BadRecord, KeyRing, parse

MARKER = "firstvisit-demo.json"  # a folder without it is somebody's, and never emptied
KIOSK_PORT, CENTRAL_PORT, BROKER_PORT = 8500, 8600, 1883
READY_S = 60.0
DRAIN_S = 60.0
LIVE_WITHOUT_TERMINAL_S = 60.0
STOP_S = 8.0
_DECISIONS = {"first": "首访 first", "return": "回访 return", "unsure": "待确认 unsure", "seen": "到访 seen"}


@dataclass(frozen=True, slots=True)
class _Addresses:
    broker: int
    central: int
    kiosk: int


class _Family:
    """The demo's processes; whatever happens, none outlives it."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._members: list[tuple[str, subprocess.Popen[bytes]]] = []

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._logs / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "FIRSTVISIT_LOG": "INFO"},
                start_new_session=True,  # Ctrl-C reaches us alone; we end the others in order
            )
        self._members.append((name, process))
        return process

    def check(self, *, ended: subprocess.Popen[bytes] | None = None) -> None:
        """Raise EdgeError where one has ended by itself, other than `ended`."""
        for name, process in self._members:
            if process is not ended and process.poll() is not None:
                raise EdgeError(f"{name} ended with exit code {process.returncode}: {self.last_line(name)}")

    def last_line(self, name: str) -> str:
        lines = (self._logs / f"{name}.log").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def stop(self) -> None:
        for _, process in reversed(self._members):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def run_demo(folder: Path, source: str | None) -> bool:
    """Run the demo in `folder`; returns whether every visit was decided, acknowledged and verified at both ends.

    On a terminal it stays up until Ctrl-C. Raises EdgeError or ModelsError for what makes it impossible.
    """
    screen = Console()
    _empty(folder)
    pack_name = _pack(screen)
    film = folder / "walk-in.mp4"
    if source is None:
        screen.print("[dim]filming the walk-in …[/]")
        write_walk_in(film, open_pack(Store(default_root()), pack_name).detector)
    uri = source or str(film)
    ports = _Addresses(_free(BROKER_PORT), _free(CENTRAL_PORT), _free(KIOSK_PORT))
    password = secrets.token_urlsafe(12)
    home, central = Home(folder / "node"), folder / "central"
    _set_up(home, central, ports, password)
    family = _Family(folder)
    try:
        with _interruptible():
            node = _start(family, home, central, ports, uri, pack_name)
            _introduce(screen, ports, password, folder, uri)
            _watch(screen, family, node, home, central, endless=source is not None and parse_uri(source) != "file")
            good = node.wait(STOP_S + DRAIN_S) == 0
            if not good:
                screen.print(f"[red]the node ended badly:[/] {family.last_line('node')}")
            good = _verified(screen, home, central) and good
            if good and sys.stdout.isatty():
                _stay(screen, family, node, ports)
    finally:
        family.stop()
    screen.print("[dim]everything is stopped[/]")
    return good


# -- setting up ------------------------------------------------------------------------------------------------------


def _empty(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).is_file():
            raise EdgeError(f"{folder}: not empty and not an earlier demo; name another with --dir")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text(json.dumps({"made_by": "firstvisit demo"}))


def _pack(screen: Console) -> str:
    store = Store(default_root())
    if not store.installed():
        screen.print("no model pack yet: installing one")
        with Progress(
            TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=screen
        ) as progress:
            tasks: dict[str, TaskID] = {}

            def show(label: str, done: int, total: int) -> None:
                if label not in tasks:
                    tasks[label] = progress.add_task(label)
                progress.update(tasks[label], completed=done, total=total or None)

            installation = store.install(None, progress=show)
        if installation.warning:
            screen.print(f"[yellow]{installation.warning}[/]")
    return store.pick(None)


def _set_up(home: Home, central: Path, ports: _Addresses, password: str) -> None:
    broker = f"mqtt://127.0.0.1:{ports.broker}"
    _command(
        "init", str(home.path), "--site", "demo-site", "--node", "demo-node", "--lat", "31.2304", "--lon", "121.4737",
        "--mode", "ephemeral", "--legal-basis", "a demonstration with published pictures",
    )  # fmt: skip
    _command("central", "init", str(central), "--broker", broker)
    _command("join", "--home", str(home.path), "--central-key", str(central / "central.pub"), "--broker", broker)
    _command("central", "enroll", "--dir", str(central), str(home.node_pub))
    _command(
        "kiosk", "add-user", "--home", str(home.path), "demo", "--role", "manager", "--password-stdin", typed=password
    )
    _command("central", "add-user", "--dir", str(central), "demo", "--password-stdin", typed=password)


def _command(*arguments: str, typed: str = "") -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edge", *arguments], input=typed + "\n", capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise EdgeError(f"firstvisit {arguments[0]}: {done.stderr.strip() or done.stdout.strip()}")


def _start(
    family: _Family, home: Home, central: Path, ports: _Addresses, uri: str, pack: str
) -> subprocess.Popen[bytes]:
    family.start("broker", "-m", "sync.broker", "--port", str(ports.broker))
    _await_port(family, ports.broker)
    family.start("central", "-m", "edge", "central", "run", "--dir", str(central), "--port", str(ports.central))
    family.start("kiosk", "-m", "edge", "kiosk", "--home", str(home.path), "--port", str(ports.kiosk))
    _await_port(family, ports.central)
    _await_port(family, ports.kiosk)
    return family.start(
        "node", "-m", "edge", "run", "--home", str(home.path), "--source", uri, "--pack", pack,
        "--until-end", "--visit-gap", "0", "--drain", str(DRAIN_S), "--allow-file",
    )  # fmt: skip


def _await_port(family: _Family, port: int) -> None:
    deadline_s = time.monotonic() + READY_S
    while time.monotonic() < deadline_s:
        family.check()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise EdgeError(f"nothing answered on 127.0.0.1:{port} within {READY_S:.0f} s")


def _free(wanted: int) -> int:
    """The wanted port, or any where somebody has it."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise EdgeError("no free port on 127.0.0.1")


# -- showing ---------------------------------------------------------------------------------------------------------


def _introduce(screen: Console, ports: _Addresses, password: str, folder: Path, uri: str) -> None:
    screen.print()
    screen.print("[bold]FirstVisit[/]  camera → node → broker → central, all real, on this machine")
    screen.print(f"  front desk   http://127.0.0.1:{ports.kiosk}    user demo, password {password}", highlight=False)
    screen.print(f"  central      http://127.0.0.1:{ports.central}    the same user and password", highlight=False)
    screen.print(f"  data, logs   {folder.resolve()}", highlight=False)
    screen.print(f"  source       {uri if parse_uri(uri) == 'file' else 'a camera'}", highlight=False)
    screen.print()


def _watch(
    screen: Console, family: _Family, node: subprocess.Popen[bytes], home: Home, central: Path, *, endless: bool
) -> None:
    """Show visits until the node has ended; without a terminal an endless source is stopped after a minute."""
    deadline_s = time.monotonic() + LIVE_WITHOUT_TERMINAL_S if endless and not sys.stdout.isatty() else None
    ledger = home.open_ledger()
    keys = _keys(home)
    shown: set[tuple[str, str]] = set()
    with Live(console=screen, auto_refresh=False) if screen.is_terminal else _no_display() as live:
        while True:
            ended = node.poll() is not None
            family.check(ended=node)
            states = [(row, _state(row, central, keys)) for row in visit_log(ledger)]
            if live is not None:
                live.update(_table(states), refresh=True)
            else:
                for row, state in states:
                    if (row.visit_id, state) not in shown:
                        shown.add((row.visit_id, state))
                        screen.print(_line(row, state), highlight=False, soft_wrap=True)
            if ended:
                break
            if deadline_s is not None and time.monotonic() > deadline_s:
                node.send_signal(signal.SIGTERM)
                deadline_s = None
            time.sleep(0.3)
    ledger.close()


@contextmanager
def _no_display() -> Iterator[None]:
    yield None


def _keys(home: Home) -> KeyRing:
    enrolment = Enrolment.parse_text(home.node_pub.read_text())
    return KeyRing({"node": enrolment.node, "desk": enrolment.desk})


def _state(row: VisitRow, central: Path, keys: KeyRing) -> str:
    """How far a visit's record has come: decided, acked, or verified, which is checked here on central's copy."""
    if not row.acked:
        return "decided"
    with CentralStore(central / FILE_NAME) as store:
        held = store.held(row.record.node_id, row.record.epoch, row.record.seq)
    if held is None:
        return "acked, but central has no copy"
    try:
        keys.check(parse(held[1], held[2]))
    except BadRecord as error:
        return f"bad: {error}"
    return "verified"


def _table(states: list[tuple[VisitRow, str]]) -> Table:
    table = Table("arrived", "decision", "person", "similarity", "grade", "seq", "state", box=None, pad_edge=False)
    for row, state in states:
        colour = {"verified": "green", "acked": "cyan", "decided": "yellow"}.get(state, "red")
        table.add_row(
            row.arrived_at.astimezone().strftime("%H:%M:%S"),
            _DECISIONS[row.decision],
            row.person_id or "-",
            "-" if row.similarity is None else f"{row.similarity:.3f}",
            row.grade,
            str(row.record.seq),
            f"[{colour}]{state}[/]",
        )
    return table


def _line(row: VisitRow, state: str) -> str:
    similarity = "-" if row.similarity is None else f"{row.similarity:.3f}"
    return (
        f"{row.arrived_at.astimezone():%H:%M:%S}  {_DECISIONS[row.decision]:<14}  {row.person_id or '-':<22}  "
        f"similarity {similarity}  grade {row.grade}  seq {row.record.seq}  {state}"
    )


def _verified(screen: Console, home: Home, central: Path) -> bool:
    from sync.verify import verify

    good = True
    for name, path, key in (("node", home.path, home.node_pub), ("central", central, central / "central.pub")):
        verdict = verify(path, key)
        good = good and verdict.ok
        screen.print(f"\n[bold]verify {name}[/]: {'[green]good[/]' if verdict.ok else '[red]bad[/]'}")
        for line in verdict.lines:
            screen.print(f"  {line}", highlight=False, soft_wrap=True)
    return good


def _stay(screen: Console, family: _Family, node: subprocess.Popen[bytes], ports: _Addresses) -> None:
    screen.print(
        f"\nThe pages stay up at http://127.0.0.1:{ports.kiosk} and :{ports.central}. Ctrl-C ends it all.",
        highlight=False,
    )
    try:
        while True:
            family.check(ended=node)
            time.sleep(0.5)
    except KeyboardInterrupt:
        screen.print()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM end the demo the way Ctrl-C does."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
