"""The central server: the ingest behind a broker, and the console beside it, in one process."""

import logging
import random
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import sdnotify

from sync import SyncError
from sync.central.backfill import Backfill
from sync.central.ca import open_authority
from sync.central.certificates import CertificateKeeper
from sync.central.inbox import Inbox, Parcel, frames_of, greetings_of
from sync.central.ingest import Answer, Arrived, Greeting, Ingest, read_status
from sync.central.keys import load_serving_keys
from sync.central.lock import only_one
from sync.central.log import state_unstated
from sync.central.nightly import CentralNight
from sync.central.shard import WHOLE, Shard
from sync.central.store.location import migrate_store, open_store
from sync.central.timestamp import TimestampAuthority, Timestamper
from sync.format.wire import parse_topic, topic
from sync.storage.database import DatabaseError
from sync.transport.mqtt import BrokerAddress, Link, Message
from sync.transport.tls import tls_files, utc_now

log = logging.getLogger(__name__)

POLL_S = 0.1
BUSY_POLL_S = 0.01  # while nodes come over HTTPS, for whom nothing wakes the wait for the broker
LOOK_S = 1.0  # how long a new notice waits to be noticed, at most
REMIND_S = 60.0  # open notices go out again to nodes online
TROUBLE_PAUSE_S = 1.0
TURN_BYTES = 512 * 1024  # some 500 records: as long to verify as a slow disk takes to keep them


@dataclass(frozen=True, slots=True)
class ApiAddress:
    """Where the API listens, and the https:// URL by which nodes reach it."""

    host: str
    port: int
    url: str


class Server:
    """Everything of `firstvisit central run`, built from plain values; `serve` blocks until `stop`."""

    def __init__(
        self,
        directory: Path,
        central_id: str,
        broker: BrokerAddress,
        backfill_per_s: int | None = None,
        shard: Shard = WHOLE,
        inbox: Inbox | None = None,
    ) -> None:
        """Open DIR's store and keys; raises SyncError naming the file at fault, or where a node has another writer.

        backfill_per_s: how many records a second all nodes that catch up may send together; None: as fast as it goes.
        shard: whose records are taken; the others' are left to other workers.
        inbox: what nodes bring over HTTPS; None where nobody can.
        """
        migrate_store(directory)
        self._shard = shard
        self._store = open_store(directory)
        self._store.hold(shard)
        keys = load_serving_keys(directory)
        state_unstated(self._store, keys.central_id, time.time_ns() // 1000, keys.notice)
        backfill = None if backfill_per_s is None else Backfill(backfill_per_s)
        self._ingest = Ingest(self._store, keys, backfill)
        self._link = Link(
            broker, f"fv1-central-{central_id}", ("fv1/+/up", "fv1/+/status"), random.Random(), tls_files(directory)
        )
        self._inbox = inbox or Inbox()
        self._stopping = threading.Event()
        self._notifier = sdnotify.SystemdNotifier()

    def stop(self) -> None:
        """End `serve` soon; may be called from a signal handler or another thread."""
        self._stopping.set()

    def serve(self) -> None:
        """Take what nodes send and answer them, until stopped."""
        self._store.forget_presence(self._shard.has)
        self._notifier.notify("READY=1")
        trouble: str | None = None
        look_at_s, remind_at_s, connected = 0.0, 0.0, False
        while not self._stopping.is_set():
            messages = self._link.poll(BUSY_POLL_S if self._inbox.busy else POLL_S)
            parcels = self._inbox.take()
            now_s = time.monotonic()
            try:
                if connected and not self._link.connected:
                    self._store.forget_presence(self._shard.has)
                connected = self._link.connected
                for answer in self._handle(messages, parcels):
                    self._send(answer)
                self._inbox.answer(parcels)
                parcels = []
                if now_s >= look_at_s:
                    look_at_s = now_s + LOOK_S
                    answers = self._ingest.look(self._shard.has)
                    if now_s >= remind_at_s:
                        remind_at_s = now_s + REMIND_S
                        answers += self._ingest.remind(self._shard.has)
                    for answer in answers:
                        self._send(answer)
                trouble = None
            except DatabaseError as error:  # nothing was acknowledged, so the nodes send it again
                self._inbox.fail(parcels, error)
                if str(error) != trouble:
                    trouble = str(error)
                    log.error("store in trouble error=%s", error)
                self._stopping.wait(TROUBLE_PAUSE_S)
            self._notifier.notify("WATCHDOG=1")
        self._notifier.notify("STOPPING=1")
        self._inbox.close()
        self._link.close(1.0)
        self._store.forget_presence(self._shard.has)
        self._store.close()

    def _handle(self, messages: list[Message], parcels: list[Parcel]) -> Iterator[Answer]:
        """Answers to one poll's messages and to what came over HTTPS, which share a commit unless they are many."""
        frames, greetings = frames_of(parcels), greetings_of(parcels)
        for message in messages:
            try:
                node_id, channel = parse_topic(message.topic)
            except SyncError:
                log.debug("not a topic of ours topic=%s", message.topic)
                continue
            if not self._shard.has(node_id):
                continue
            if not message.retained:
                self._inbox.forget(node_id)  # it is answered where it speaks
            if channel == "up":
                frames.append(Arrived(node_id, message.payload))
            elif channel == "status" and (status := read_status(node_id, message.payload)) is not None:
                greetings.append(Greeting(status, message.retained))
        greetings += self._inbox.gone()
        first, *others = _turns(frames)
        turn = self._ingest.read(first)
        for frames in others:
            following = self._ingest.read(frames)  # verified while this turn is judged and kept
            yield from self._ingest.take(turn, time.time_ns() // 1000, greetings)
            turn, greetings = following, []
        yield from self._ingest.take(turn, time.time_ns() // 1000, greetings)

    def _send(self, answer: Answer) -> None:
        if not self._inbox.keep(answer):
            self._link.publish(topic(answer.node_id, answer.channel), answer.payload)


def _turns(frames: list[Arrived]) -> list[list[Arrived]]:
    """The frames of one poll, cut where a commit is worth its cost: one turn's answers then leave before the next."""
    turns: list[list[Arrived]] = [[]]
    size = 0
    for frame in frames:
        if size >= TURN_BYTES:
            turns.append([])
            size = 0
        turns[-1].append(frame)
        size += len(frame.payload)
    return turns


def run(
    directory: Path,
    central_id: str,
    broker: BrokerAddress,
    host: str,
    port: int,
    public_url: str | None = None,
    backfill_per_s: int | None = None,
    shard: Shard = WHOLE,
    api: ApiAddress | None = None,
    stamps: TimestampAuthority | None = None,
) -> None:
    """Serve ingest, console and API until SIGTERM or SIGINT; raises SyncError where a port or DIR is in use.

    public_url: see PageServer. backfill_per_s, shard: see Server; of several workers, the first serves console and
    API. api: where nodes reach the API; None: they cannot. stamps: who stamps the log once a day, asked by the first
    worker.
    """
    from sync.central.api import create_api  # not at the top: an ingest needs no web server
    from sync.central.console.app import create_app
    from sync.web.server import PageServer

    with only_one(directory, shard):
        authority, inbox = open_authority(directory, central_id, utc_now()), Inbox()
        certificates = CertificateKeeper(authority, directory) if shard.number == 1 else None
        server = Server(directory, central_id, broker, backfill_per_s, shard, inbox)
        pages: list[PageServer] = []
        if shard.number == 1:
            console = create_app(directory)
            pages.append(PageServer(console, host, port, console.state.live.close, public_url))
        if certificates is not None and api is not None:
            served = create_api(directory, authority, inbox, shard)
            pages.append(PageServer(served, api.host, api.port, inbox.close, api.url, certificates.server))
            certificates.on_change = pages[-1].take_up

        timestamper = Timestamper(directory, stamps) if stamps is not None and shard.number == 1 else None
        night = CentralNight(directory) if shard.number == 1 else None

        def end(_signal: int, _frame: FrameType | None) -> None:
            server.stop()

        before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            for each, name in zip(pages, ("Console", "API"), strict=False):
                each.start()
                print(f"{name} on {each.url}", flush=True)
            if certificates is not None:
                certificates.start()
            console_at = pages[0].url if pages else "none"
            log.info("central running dir=%s broker=%s shard=%s console=%s", directory, broker, shard, console_at)
            if timestamper is not None:
                timestamper.start()
            if night is not None:
                night.start()
            server.serve()
        finally:
            if night is not None:
                night.stop()
            if timestamper is not None:
                timestamper.stop()
            if certificates is not None:
                certificates.stop()
            for each in pages:
                each.stop()
            for number, handler in before.items():
                signal.signal(number, handler)
