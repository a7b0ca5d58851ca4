"""The node: cameras in, records out. `run` is the wiring, and reads top to bottom."""

import logging
import math
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from zoneinfo import ZoneInfo

import sdnotify

from camera.source import parse_uri, uri_digest
from edge import EdgeError
from edge.cameras.camera_views import CameraViews
from edge.cameras.live_view import LiveView
from edge.cameras.reference_views import ReferenceViews
from edge.clock import Clock
from edge.consent import CapturePolicy
from edge.freed_memory import overwrite_freed_memory
from edge.full_disk import FullDisk
from edge.home import Home
from edge.keys.custody import Custody
from edge.keys.epochs import continue_here
from edge.nightly import Night
from edge.orders import Orders
from edge.people.vault import Vault
from edge.place.attestation import Attestation
from edge.place.site import Site
from edge.place.surroundings import Surroundings
from edge.recognition.decision import Strictness
from edge.recognition.enrol_look import looker
from edge.recognition.gallery import Gallery
from edge.recognition.passes import Passes
from edge.recognition.roster import Roster
from edge.recognition.staff import Staff
from edge.rights.due import Retention
from edge.rights.retention import finish_erasures
from edge.settings import Settings
from edge.sure_time import SureTime
from edge.visits.after_consent import AfterConsent
from edge.visits.visit_records import SourceFacts
from edge.visits.visits import Visits
from edge.watch import Watch, fuse
from models.liveness import open_liveness
from models.masks import shipped as shipped_masks
from models.pack import Pack, open_pack
from models.store import Store, default_root
from sync.format.canonical import Fields
from sync.node.alarms import Alarms
from sync.node.ledger import Ledger
from sync.node.renewal import RenewalThread
from sync.node.trust import Trust
from sync.node.uplink_thread import UplinkThread
from sync.transport.session import parse_uplink

log = logging.getLogger(__name__)

UPLINK_STOP_S = 2.0
LOCK_WARNING_EVERY_S = 60.0
DRAIN_POLL_S = 0.2
DRAIN_STOPPED_S = 2.0  # with the uplink's own end it stays under the 5 s that SIGTERM allows


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the command line says beside the configuration.

    sources: replace the configured cameras. visit_gap_s: replaces visit.gap_s. drain_s: how long to wait, at the end,
    for central to acknowledge everything.
    """

    sources: tuple[str, ...] = ()
    until_end: bool = False
    fast: bool = False
    pack: str | None = None
    visit_gap_s: float | None = None
    drain_s: float | None = None
    allow_file: bool = False


def run(home: Home, options: RunOptions) -> bool:
    """Run the node until its sources end or it is told to stop.

    Returns whether everything asked for was done: False where `drain_s` passed with records unacknowledged. Raises
    EdgeError, ModelsError, CameraError or SyncError for what makes running impossible.
    """
    settings = home.settings()
    cameras = _cameras(settings, options)
    _refuse_files(cameras, options, joined=home.joined)
    configured = home.place(settings)
    with ExitStack() as stack, _termination() as stopping:
        stack.enter_context(home.running())
        reserve = home.reserve(settings)
        reserve.begin()
        home.migrate()
        pack = _open_pack(options.pack or settings.recognition.pack)
        clock, patience = Clock(), _LockPatience(stopping)
        ledger = Ledger(home.database, home.writer("node", clock, patience.wait_on))
        stack.callback(ledger.close)
        if (opened := continue_here(home, ledger)) is not None:
            log.warning(
                "this HOME was last run on another machine: epoch %d begins here; where that one still runs, central"
                " will refuse both",
                opened.epoch,
            )
        vault = Vault(home.database, home.keys_database, patience.wait_on)
        stack.callback(vault.close)
        vault.sweep_keys()
        orders = Orders(home, settings)
        policy = orders.policy()
        if not policy.embeds:
            overwrite_freed_memory()
        horizon = orders.declared(policy, ledger)
        orders.erase(ledger, vault, datetime.now(UTC))
        finish_erasures(ledger, vault)
        alarms = Alarms(home.database, patience.wait_on)
        retention = Retention(ledger, vault, alarms, SureTime())
        retention.run(policy)  # a stricter policy holds for who is already stored
        site = Site(configured, Attestation(home.database, Surroundings(cameras)))
        place = site.place(ledger)
        gallery = Gallery(vault, pack.pack_id)
        zone = ZoneInfo(settings.site.timezone)
        passes = Passes(ledger, zone, datetime.now(zone).date())
        staff = Staff(vault, Roster(home.path, ledger), alarms, pack.pack_id, passes)
        sources = _sources(cameras, settings, options)
        visits = Visits(
            ledger,
            vault,
            gallery,
            orders.calibration(ledger, pack),
            horizon,
            staff,
            site_id=settings.site.id,
            pack_id=pack.pack_id,
            sources=sources,
            place=place,
            gap=timedelta(seconds=settings.visit.gap_s if options.visit_gap_s is None else options.visit_gap_s),
            strictness=Strictness.of(settings.recognition),
        )
        after_consent = AfterConsent(
            home.path, ledger, visits, lambda arrival: fuse(pack.embedder, arrival, pack.pack_id)
        )
        _boot(ledger, visits, settings, policy, pack, place, home.keys.custody("node") or "file")
        uplink = _uplink(home, settings, clock)
        if uplink is not None:
            uplink.start()
            stack.callback(uplink.stop, UPLINK_STOP_S)
            root = Trust(home.path).keys().root
            renewal = RenewalThread(home.path, settings.node.id, lambda: home.signer("node"), root)
            renewal.start()
            stack.callback(renewal.stop)
        disk = FullDisk(reserve, ledger, alarms)
        night = Night(
            home.path, home.database, ledger, settings.site.timezone, home.ledger_days(settings), patience.wait_on
        )
        views = ReferenceViews(home.path, ledger, CameraViews(home.database, patience.wait_on))
        masks, liveness = shipped_masks(), open_liveness(default_root())
        strictness = Strictness.of(settings.recognition)
        look = looker(pack, strictness, lambda: staff.templates, lambda: gallery.templates, liveness)
        live_view = LiveView(home.database.resolve().parent, look)
        live_view.start()
        stack.callback(live_view.stop)
        watch = Watch(
            ledger,
            vault,
            visits,
            after_consent,
            gallery,
            staff,
            clock,
            orders,
            retention,
            pack,
            sources,
            disk,
            night,
            site,
            views,
            masks,
            liveness,
            live_view,
            fast=options.fast,
        )
        watch.work(cameras, stopping, until_end=options.until_end, impatient=bool(options.sources))
        if uplink is None or options.drain_s is None:
            return True
        drained = _drained(uplink, options.drain_s, stopping)
        if not drained:
            log.warning("not drained within_s=%g backlog=%d", options.drain_s, ledger.backlog())
        return drained


class _LockPatience:
    """Somebody holds a database: what has been decided waits until they let go, however long; frames are dropped."""

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._notifier = sdnotify.SystemdNotifier()
        self._told_s = -math.inf

    def wait_on(self) -> bool:
        self._notifier.notify("WATCHDOG=1")
        if time.monotonic() - self._told_s > LOCK_WARNING_EVERY_S:
            self._told_s = time.monotonic()
            log.warning("somebody else holds the database's write lock; waiting")
        return not self._stopping.is_set()


def _cameras(settings: Settings, options: RunOptions) -> dict[str, str]:
    if options.sources:
        return {f"cam{number}": uri for number, uri in enumerate(options.sources, start=1)}
    if not settings.camera:
        raise EdgeError("no camera: add a [[camera]] to firstvisit.toml or give --source")
    return {camera.id: camera.uri for camera in settings.camera}


def _sources(cameras: dict[str, str], settings: Settings, options: RunOptions) -> dict[str, SourceFacts]:
    """How records name each camera's source; one given on the command line watches an entrance."""
    zones = {} if options.sources else {camera.id: camera.zone for camera in settings.camera}
    return {
        camera_id: SourceFacts(parse_uri(uri), uri_digest(uri), zones.get(camera_id, "entrance"))
        for camera_id, uri in cameras.items()
    }


def _refuse_files(cameras: dict[str, str], options: RunOptions, *, joined: bool) -> None:
    for camera_id, uri in cameras.items():
        if parse_uri(uri) != "file":
            continue
        if not Path(uri.removeprefix("file://")).exists():
            raise EdgeError(f"camera {camera_id}: {uri}: no such file")
        if joined and not options.allow_file:
            raise EdgeError(f"camera {camera_id}: {uri} is a file and this node has joined central: say --allow-file")


def _open_pack(name: str | None) -> Pack:
    store = Store(default_root())
    return open_pack(store, store.pick(name))


def _boot(
    ledger: Ledger,
    visits: Visits,
    settings: Settings,
    policy: CapturePolicy,
    pack: Pack,
    place: Fields | None,
    custody: Custody,
) -> None:
    fields: Fields = {
        "site": settings.site.id,
        "version": version("firstvisit"),
        "pack": pack.pack_id,
        "custody": custody,
        "mode": policy.mode,
    }
    if place is not None:
        fields["place"] = place
    with ledger.transaction() as transaction:
        closed = visits.recover(transaction, datetime.now(UTC))
        transaction.append("node.boot", fields)
        if place is not None and place["inside"] == "out":
            transaction.append("place.outside", {"place": place})
    if closed:
        log.warning("visits left open by a crash are closed count=%d", closed)
    if place is not None and place["inside"] == "out":
        log.warning("the configured position lies outside the fence")


def _uplink(home: Home, settings: Settings, clock: Clock) -> UplinkThread | None:
    if not home.joined:
        return None
    if settings.uplink.broker is None:
        raise EdgeError(f"{home.config}: uplink.broker: missing, though this node has joined (firstvisit join sets it)")
    return UplinkThread(home.path, home.writer("node", clock), parse_uplink(settings.uplink.broker), random.Random())


def _drained(uplink: UplinkThread, drain_s: float, stopping: threading.Event) -> bool:
    """Wait for central to have acknowledged everything; told to stop, only a moment longer."""
    deadline_s = time.monotonic() + drain_s
    while not stopping.is_set() and time.monotonic() < deadline_s:
        if uplink.drained(DRAIN_POLL_S):
            return True
    return uplink.drained(min(DRAIN_STOPPED_S, max(0.0, deadline_s - time.monotonic())))


@contextmanager
def _termination() -> Iterator[threading.Event]:
    """Turn SIGTERM and SIGINT into an event for the length of a run."""
    stopping = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()

    before: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {
        number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
