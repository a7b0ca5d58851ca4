"""The central server: the ingest behind a broker, and the console beside it, in one process."""

import gc
import logging
import os
import random
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import sdnotify

from sync import SyncError
from sync.central.backfill import Backfill
from sync.central.ca import open_authority
from sync.central.certificates import CertificateKeeper
from sync.central.inbox import Inbox, Parcel
from sync.central.ingest import Answer, Arrived, Greeting, Ingest, read_status
from sync.central.keys import load_serving_keys
from sync.central.lock import only_one
from sync.central.log import state_unstated
from sync.central.nightly import CentralNight
from sync.central.readers import Readers
from sync.central.shard import WHOLE, Shard
from sync.central.sidecars import SidecarDesk
from sync.central.store.location import migrate_store, open_store
from sync.central.timestamp import TimestampAuthority, Timestamper
from sync.central.turns import Turns
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
        readers: int = 0,
    ) -> None:
        """Open DIR's store and keys; raises SyncError naming the file at fault, or where a node has another writer.

        backfill_per_s: how many records a second all nodes that catch up may send together; None: as fast as it goes.
        shard: whose records are taken; the others' are left to other workers.
        inbox: what nodes bring over HTTPS; None where nobody can. readers: processes that verify beside this one.
        """
        migrate_store(directory)
        self._shard = shard
        self._store = open_store(directory)
        self._store.hold(shard)
        keys = load_serving_keys(directory)
        state_unstated(self._store, keys.central_id, time.time_ns() // 1000, keys.notice)
        backfill = None if backfill_per_s is None else Backfill(backfill_per_s)
        self._readers = Readers(readers)
        self._ingest = Ingest(self._store, keys, backfill, readers=self._readers)
        self._sidecars = SidecarDesk(self._store, keys)
        self._beside: list[tuple[str, bytes, Parcel | None]] = []  # sidecars that wait for the records to be judged
        self._turns = Turns()
        self._link = Link(
            broker,
            f"fv1-central-{central_id}",
            ("fv1/+/up", "fv1/+/side", "fv1/+/status"),
            random.Random(),
            tls_files(directory),
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
            messages = [] if self._turns.full else self._link.poll(self._patience_s())
            parcels = self._inbox.take()
            now_s = time.monotonic()
            try:
                if connected and not self._link.connected:
                    self._store.forget_presence(self._shard.has)
                connected = self._link.connected
                self._receive(messages, parcels)
                parcels = []
                self._readers.look()
                turn = self._turns.next()
                parcels = turn.parcels
                for answer in self._ingest.take(turn.frames, time.time_ns() // 1000, turn.greetings):
                    self._send(answer)
                self._inbox.answer(parcels)
                parcels = self._take_beside()
                self._inbox.answer(parcels)
                parcels = []
                if now_s >= look_at_s:
                    look_at_s = now_s + LOOK_S
                    if self._shard.number == 1:
                        self._sidecars.tell(time.time_ns() // 1000)
                    answers = self._ingest.look(self._shard.has)
                    if now_s >= remind_at_s:
                        remind_at_s = now_s + REMIND_S
                        answers += self._ingest.remind(self._shard.has)
                    for answer in answers:
                        self._send(answer)
                trouble = None
            except DatabaseError as error:  # nothing was acknowledged, so the nodes send it again
                beside = [waits for _, _, waits in self._beside if waits is not None]
                self._beside.clear()
                self._inbox.fail([*parcels, *beside, *self._turns.clear()], error)
                if str(error) != trouble:
                    trouble = str(error)
                    log.error("store in trouble error=%s", error)
                self._stopping.wait(TROUBLE_PAUSE_S)
            self._notifier.notify("WATCHDOG=1")
        self._notifier.notify("STOPPING=1")
        self._inbox.answer([*self._turns.clear(), *(waits for _, _, waits in self._beside if waits is not None)])
        self._inbox.close()
        self._readers.close()
        self._link.close(1.0)
        self._store.forget_presence(self._shard.has)
        self._store.close()

    def _patience_s(self) -> float:
        """How long to wait for the broker where it has nothing for us."""
        if self._turns:
            return 0.0
        return BUSY_POLL_S if self._inbox.busy else POLL_S

    def _receive(self, messages: list[Message], parcels: list[Parcel]) -> None:
        """Queue up what a poll and HTTPS have brought; what there is to read is begun with."""
        come = list[tuple[Arrived | Greeting, Parcel | None]]()
        for parcel in parcels:
            if parcel.frame is not None:
                come.append((Arrived(parcel.node_id, parcel.frame), parcel))
            elif parcel.status is not None:
                come.append((Greeting(parcel.status), parcel))
            elif parcel.side is not None:
                self._beside.append((parcel.node_id, parcel.side, parcel))
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
                come.append((Arrived(node_id, message.payload), None))
            elif channel == "side":
                self._beside.append((node_id, message.payload, None))
            elif channel == "status" and (status := read_status(node_id, message.payload)) is not None:
                come.append((Greeting(status, message.retained), None))
        come += [(greeting, None) for greeting in self._inbox.gone()]
        readings = iter(self._ingest.read([what for what, _ in come if isinstance(what, Arrived)]))
        for what, waits in come:
            self._turns.add(next(readings) if isinstance(what, Arrived) else what, waits)

    def _take_beside(self) -> list[Parcel]:
        """Take the sidecars that have come; returns the parcels to answer."""
        beside, self._beside = self._beside, []
        parcels = [waits for _, _, waits in beside if waits is not None]
        try:
            for node_id, payload, _ in beside:
                if (answer := self._sidecars.take(node_id, payload, time.time_ns() // 1000)) is not None:
                    self._send(Answer(node_id, "ack", answer))
        except DatabaseError as error:
            self._inbox.fail(parcels, error)
            raise
        return parcels

    def _send(self, answer: Answer) -> None:
        if not self._inbox.keep(answer):
            self._link.publish(topic(answer.node_id, answer.channel), answer.payload)


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
        server = Server(directory, central_id, broker, backfill_per_s, shard, inbox, _readers(shard))
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
            gc.collect()
            gc.freeze()  # what is here now stays, and need not be gone through again and again for every few records
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


def _readers(shard: Shard) -> int:
    """As many as this worker's share of the processors; on a single one everything is done by us."""
    processors = len(os.sched_getaffinity(0)) // shard.count
    return processors if processors > 1 or shard.count > 1 else 0
