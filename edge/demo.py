"""The demo: broker, central, node and kiosk as real processes on this machine, and a table of what they agree on."""

import fcntl
import math
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tomlkit
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn
from rich.table import Table

from camera.source import parse_uri
from camera.worker import probe
from edge import EdgeError
from edge.demo_film import write_walk_in
from edge.demo_processes import HOST, Family, Requests, free_port
from edge.home import Home
from edge.visits.visit_log import LoggedVisit, visit_log
from models.pack import open_pack
from models.store import Store, default_root
from sync.central.store.location import open_store
from sync.format.keyring import KeyRing
from sync.format.public_keys import Enrolment
from sync.format.records import BadRecord, parse
from sync.printable import counted
from sync.storage.files import write_durably
from sync.transport.broker import mosquitto
from sync.transport.invitation import PREFIX as INVITATION

MARKER = "firstvisit-demo.json"  # a folder without it is somebody's, and never emptied
KIOSK_PORT, CENTRAL_PORT, API_PORT, BROKER_PORT = 8500, 8600, 8700, 1883
DRAIN_S = 60.0
JOIN_S = 30.0
LIVE_WITHOUT_TERMINAL_S = 60.0
_DECISIONS = {"first": "首访 first", "return": "回访 return", "unsure": "待确认 unsure", "seen": "到访 seen"}
PROBE_S = 10.0


@dataclass(frozen=True, slots=True)
class _Addresses:
    broker: int
    central: int
    api: int
    kiosk: int
    secured: bool

    @property
    def uplink(self) -> str:
        return f"{'mqtts' if self.secured else 'mqtt'}://{HOST}:{self.broker}"


def run_demo(folder: Path, source: str | None) -> bool:
    """Run the demo in `folder`; returns whether every visit was decided, acknowledged and verified at both ends.

    On a terminal it stays up until Ctrl-C. Raises EdgeError, CameraError or ModelsError for what makes it impossible.
    """
    screen = Console()
    if source is not None:
        probe(source, PROBE_S, "SOURCE")
    requests, family = Requests(), Family(folder)
    with requests.heard(), _made(folder):
        try:
            good = _show(screen, folder, source, family, requests)
        finally:
            family.stop()
    again = f"firstvisit kiosk --home {folder / 'node'}, firstvisit central run --dir {folder / 'central'}"
    screen.print(f"[dim]everything is stopped; the pages again: {again}[/]", soft_wrap=True)
    return good


def _show(screen: Console, folder: Path, source: str | None, family: Family, requests: Requests) -> bool:
    pack_name = _pack(screen)
    film = folder / "walk-in.mp4"
    if source is None:
        screen.print("[dim]filming the walk-in …[/]")
        write_walk_in(film, open_pack(Store(default_root()), pack_name).detector)
    uri = source or str(film)
    broker, console, api, desk = (free_port(port) for port in (BROKER_PORT, CENTRAL_PORT, API_PORT, KIOSK_PORT))
    ports = _Addresses(broker, console, api, desk, secured=mosquitto() is not None)
    password = secrets.token_urlsafe(12)
    home, central = Home(folder / "node"), folder / "central"
    _set_up(home, central, ports, password)
    node = _start(family, home, central, ports, uri, pack_name)
    _introduce(screen, ports, password, folder, uri)
    _watch(screen, family, node, requests, home, central, endless=parse_uri(uri) != "file")
    good = node.returncode == 0
    if not good:
        screen.print(f"the node ended badly: {family.last_line('node')}", style="red", markup=False, soft_wrap=True)
    good = _verified(screen, home, central) and good
    if good and not requests.count and sys.stdout.isatty():
        _stay(screen, family, node, requests, ports)
    return good


# -- setting up ------------------------------------------------------------------------------------------------------


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make the folder anew and hold it; raises EdgeError where it is somebody's, or another demo's that still runs."""
    marker = folder / MARKER
    try:
        if folder.exists() and any(folder.iterdir()) and not marker.is_file():
            raise EdgeError(f"{folder}: not empty and not an earlier demo; name another with --dir")
        folder.mkdir(parents=True, exist_ok=True)
        with marker.open("a") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise EdgeError(f"{folder}: a demo is running there; end it or name another --dir") from error
            for child in folder.iterdir():
                if child.is_dir():
                    shutil.rmtree(child)
                elif child != marker:
                    child.unlink()
            yield
    except OSError as error:
        raise EdgeError(f"{folder}: {error.strerror}") from error


def _pack(screen: Console) -> str:
    store = Store(default_root())
    if not store.installed():
        screen.print("no model pack yet: installing one")
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, console=screen, disable=not screen.is_terminal) as progress:
            tasks: dict[str, TaskID] = {}

            def show(label: str, done: int, total: int) -> None:
                if label not in tasks:
                    tasks[label] = progress.add_task(label)
                progress.update(tasks[label], completed=done, total=total or None)

            installation = store.install(None, progress=show)
        if installation.warning:
            screen.print(installation.warning, style="yellow", markup=False, soft_wrap=True)
    return store.pick(None)


def _set_up(home: Home, central: Path, ports: _Addresses, password: str) -> None:
    _command(
        "init", str(home.path), "--site", "demo-site", "--node", "demo-node", "--lat", "31.2304", "--lon", "121.4737",
        "--mode", "ephemeral", "--legal-basis", "a demonstration with published pictures",
    )  # fmt: skip
    _command("central", "init", str(central), "--broker", ports.uplink, "--name", HOST)
    _move_api(central / "central.toml", ports.api)
    if ports.secured:
        _command(
            "central", "broker-config", "--dir", str(central), "--out", str(_broker(central)),
            "--port", str(ports.broker),
        )  # fmt: skip
    _command(
        "kiosk", "add-user", "--home", str(home.path), "demo", "--role", "manager", "--password-stdin", typed=password
    )
    _command("central", "add-user", "--dir", str(central), "demo", "--password-stdin", typed=password)


def _broker(central: Path) -> Path:
    return central.with_name("broker")


def _move_api(config: Path, port: int) -> None:
    """Let central's API listen on a free port of this machine alone."""
    document = tomlkit.parse(config.read_text(encoding="utf-8"))
    document["api"] = {"host": HOST, "port": port, "url": f"https://{HOST}:{port}"}
    write_durably(config, tomlkit.dumps(document))


def _command(*arguments: str, typed: str = "") -> str:
    """Run a command as a person would; what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "edge", *arguments], input=typed + "\n", capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise EdgeError(f"firstvisit {arguments[0]}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _join(family: Family, home: Home, central: Path) -> None:
    """The node joins by invitation, as an installer and somebody at central would let it."""
    said = _command("central", "invite", "--dir", str(central), "--node", "demo-node")
    text = next(line for line in said.splitlines() if line.startswith(INVITATION))
    joining = family.start("join", "-m", "edge", "join", "--home", str(home.path), "--invite", text)
    deadline_s = time.monotonic() + JOIN_S
    while joining.poll() is None and not _command("central", "pending", "--dir", str(central)):
        if time.monotonic() > deadline_s:
            raise EdgeError(f"the node does not ask to be let in: {family.last_line('join')}")
        time.sleep(0.2)
    fingerprint = home.signer("node").public.fingerprint
    _command("central", "confirm", "--dir", str(central), "demo-node", fingerprint)
    try:
        code = joining.wait(JOIN_S)
    except subprocess.TimeoutExpired as error:
        raise EdgeError(f"the node has not joined: {family.last_line('join')}") from error
    if code:
        raise EdgeError(f"the node has not joined: {family.last_line('join')}")
    family.release(joining)


def _start(
    family: Family, home: Home, central: Path, ports: _Addresses, uri: str, pack: str
) -> subprocess.Popen[bytes]:
    config = ("--config", str(_broker(central) / "mosquitto.conf")) if ports.secured else ()
    family.start("broker", "-m", "sync.transport.broker", "--port", str(ports.broker), *config)
    family.await_port(ports.broker)
    family.start("central", "-m", "edge", "central", "run", "--dir", str(central), "--port", str(ports.central))
    family.start("kiosk", "-m", "edge", "kiosk", "--home", str(home.path), "--port", str(ports.kiosk))
    for port in (ports.central, ports.api, ports.kiosk):
        family.await_port(port)
    _join(family, home, central)
    return family.start(
        "node", "-m", "edge", "run", "--home", str(home.path), "--source", uri, "--pack", pack,
        "--until-end", "--visit-gap", "0", "--drain", str(DRAIN_S), "--allow-file",
    )  # fmt: skip


# -- showing ---------------------------------------------------------------------------------------------------------


def _introduce(screen: Console, ports: _Addresses, password: str, folder: Path, uri: str) -> None:
    screen.print()
    screen.print("[bold]FirstVisit[/]  camera → node → broker → central, all real, on this machine")
    carried = "mutual TLS by central's own certificates" if ports.secured else "no TLS: mosquitto is not installed"
    for line in (
        f"front desk   http://{HOST}:{ports.kiosk}    user demo, password {password}",
        f"central      http://{HOST}:{ports.central}    the same user and password",
        f"joined       by invitation, fingerprint confirmed; {carried}",
        f"data, logs   {folder.resolve()}",
        f"source       {uri if parse_uri(uri) == 'file' else 'a camera'}",
        "",
    ):
        screen.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)


def _watch(
    screen: Console,
    family: Family,
    node: subprocess.Popen[bytes],
    requests: Requests,
    home: Home,
    central: Path,
    *,
    endless: bool,
) -> None:
    """Show visits until the node has ended; without a terminal an endless source is stopped after a minute.

    Asked to end, it stops the node and goes on to show what came of it; asked again, it kills it.
    """
    deadline_s = time.monotonic() + LIVE_WITHOUT_TERMINAL_S if endless and not sys.stdout.isatty() else math.inf
    ledger = home.open_ledger()
    keys = _keys(home)
    states: dict[str, tuple[LoggedVisit, str]] = {}
    told = False
    with Live(console=screen, auto_refresh=False) if screen.is_terminal else _no_display() as live:
        while True:
            ended = node.poll() is not None
            family.check(ended=node)
            for row in visit_log(ledger):
                state = _state(row, central, keys)
                if states.get(row.visit_id) == (row, state):
                    continue
                if live is None and states.get(row.visit_id, (row, ""))[1] != state:
                    screen.print(_line(row, state), highlight=False, markup=False, soft_wrap=True)
                states[row.visit_id] = row, state
            if live is not None:
                live.update(_table(list(states.values())), refresh=True)
            if ended:
                break
            if not told and (requests.count or time.monotonic() > deadline_s):
                node.send_signal(signal.SIGTERM)
                told = True
            if requests.count > 1:
                node.kill()
            time.sleep(0.3)
    ledger.close()


@contextmanager
def _no_display() -> Iterator[None]:
    yield None


def _keys(home: Home) -> KeyRing:
    enrolment = Enrolment.parse_text(home.node_pub.read_text())
    return KeyRing({"node": enrolment.node, "desk": enrolment.desk})


def _state(row: LoggedVisit, central: Path, keys: KeyRing) -> str:
    """How far a visit's record has come: decided, acked, or verified, which is checked here on central's copy."""
    if not row.acked:
        return "decided"
    with open_store(central) as store:
        held = store.held(row.record.node_id, row.record.epoch, row.record.seq)
    if held is None:
        return "acked, but central has no copy"
    try:
        keys.check(parse(held[1], held[2]))
    except BadRecord as error:
        return f"bad: {error}"
    return "verified"


def _table(states: list[tuple[LoggedVisit, str]]) -> Table:
    columns = ("arrived", "decision", "compared with", "person", "similarity", "grade", "seq", "state")
    table = Table(*columns, box=None, pad_edge=False)
    for row, state in states:
        colour = {"verified": "green", "acked": "cyan", "decided": "yellow"}.get(state, "red")
        table.add_row(
            row.arrived_at.astimezone().strftime("%H:%M:%S"),
            _DECISIONS[row.decision],
            _compared(row),
            row.person_id or "-",
            "-" if row.similarity is None else f"{row.similarity:.3f}",
            row.grade,
            str(row.record.seq),
            f"[{colour}]{state}[/]",
        )
    return table


def _line(row: LoggedVisit, state: str) -> str:
    similarity = "-" if row.similarity is None else f"{row.similarity:.3f}"
    return (
        f"{row.arrived_at.astimezone():%H:%M:%S}  {_DECISIONS[row.decision]:<12} of {_compared(row):<9}  "
        f"{row.person_id or '-':<22}  "
        f"similarity {similarity}  grade {row.grade}  seq {row.record.seq}  {state}"
    )


def _compared(row: LoggedVisit) -> str:
    """Among whom a first is a first: nobody says 首访 without it."""
    people = row.record.fields.get("gallery_n")
    if people is None:
        return "nobody"
    return counted(people, "person", "people") if people else "nobody yet"


def _verified(screen: Console, home: Home, central: Path) -> bool:
    from sync.verify.verify import verify

    good = True
    for name, path, key in (("node", home.path, home.node_pub), ("central", central, central / "central.pub")):
        verdict = verify(path, key)
        good = good and verdict.ok
        screen.print(f"\n[bold]verify {name}[/]: {'[green]good[/]' if verdict.ok else '[red]bad[/]'}")
        for line in verdict.lines:
            screen.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
    return good


def _stay(
    screen: Console, family: Family, node: subprocess.Popen[bytes], requests: Requests, ports: _Addresses
) -> None:
    screen.print(
        f"\nThe pages stay up at http://{HOST}:{ports.kiosk} and :{ports.central}. Ctrl-C ends it all.", highlight=False
    )
    while not requests.count:
        family.check(ended=node)
        time.sleep(0.3)
    screen.print()
