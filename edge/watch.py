"""The watch: the one loop that analyses frames and writes down what they show."""

import logging
import queue
import threading
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import sdnotify

from camera.pipeline import Arrival, Pipeline, Step
from camera.slot import Slots
from camera.source import Frame
from camera.worker import CameraEvent, CameraWorker
from edge import EdgeError
from edge.camera_log import CameraLog
from edge.cameras.camera_views import view_digest
from edge.cameras.live_view import LiveView
from edge.cameras.reference_views import ReferenceViews
from edge.clock import Clock
from edge.freed_memory import hand_back_freed_memory, overwrite_freed_memory
from edge.full_disk import FullDisk
from edge.jobs import Jobs
from edge.nightly import Night
from edge.orders import Orders
from edge.people.vault import Vault
from edge.place.site import Site
from edge.recognition.gallery import Gallery
from edge.recognition.staff import Staff
from edge.rights.due import Retention
from edge.rights.retention import confirm_reached
from edge.visits.after_consent import AfterConsent
from edge.visits.visit_records import SourceFacts
from edge.visits.visits import StopReason, Visits
from models.faces import Embedder, Template
from models.fusion import fused
from models.liveness import Liveness
from models.masks import MaskDetector
from models.pack import Pack
from sync.format.canonical import Fields
from sync.format.stamp import to_us
from sync.node.ledger import Ledger
from sync.node.witness import log_fields
from sync.storage.database import DiskFull

log = logging.getLogger(__name__)

TICK_S = 0.2
REST_S = (
    0.12  # how long a camera before which nothing moves is left alone: whoever comes in is seen so much later at most
)
ROOM_EVERY_S = 2.0  # how often a full disk is looked at
OBEY_EVERY_S = 1.0
WORKERS_STOP_S = 1.5  # with the uplink's end it stays under the 5 s that SIGTERM allows


class Watch:
    """Cameras in, records out, on one thread; made once a run."""

    def __init__(
        self,
        ledger: Ledger,
        vault: Vault,
        visits: Visits,
        after_consent: AfterConsent,
        gallery: Gallery,
        staff: Staff,
        clock: Clock,
        orders: Orders,
        retention: Retention,
        pack: Pack,
        sources: dict[str, SourceFacts],
        disk: FullDisk,
        night: Night,
        site: Site,
        views: ReferenceViews,
        masks: MaskDetector,
        liveness: Liveness | None,
        live_view: LiveView,
        *,
        fast: bool,
    ) -> None:
        self._ledger = ledger
        self._disk = disk
        self._night = night
        self._site = site
        self._camera_log = CameraLog(ledger, disk, sources)
        self._vault = vault
        self._visits = visits
        self._after_consent = after_consent
        self._gallery = gallery
        self._staff = staff
        self._clock = clock
        self._orders = orders
        self._retention = retention
        self._policy = orders.policy()
        self._obey_at_s = 0.0
        self._pack = pack
        self._sources = sources
        self._fast = fast
        self._views = views
        self._live_view = live_view
        kept = views.load({camera_id: facts.digest for camera_id, facts in sources.items()})
        self._pipelines = {
            camera_id: Pipeline(
                camera_id,
                pack.detector,
                pack.embedder,
                pack.refine,
                view=kept.get(camera_id),
                live=facts.live,
                masks=masks,
                liveness=liveness,
            )
            for camera_id, facts in sources.items()
        }
        self._slots = Slots(sources, lossless=fast)
        self._events: queue.SimpleQueue[CameraEvent] = queue.SimpleQueue()
        self._started_at = self._alive_since = datetime.now(UTC)
        self._film_now = self._started_at  # how far the analysed frames have come
        self._running = set(sources)
        self._delivered: set[str] = set()
        self._dropped = dict.fromkeys(sources, 0)

    def work(self, cameras: dict[str, str], stopping: threading.Event, *, until_end: bool, impatient: bool) -> None:
        """Analyse until told to stop, or with `until_end` until every source has ended.

        impatient: a source that never delivered a frame is an error instead of an outage.
        """
        started_ns = time.monotonic_ns()
        workers = [
            CameraWorker(
                camera_id,
                uri,
                self._slots,
                self._events,
                fast=self._fast,
                run_started_at=self._started_at,
                run_started_ns=started_ns,
            )
            for camera_id, uri in cameras.items()
        ]
        jobs = Jobs(alive=self._alive, retention=self._expire, place=self._look_around, memory=hand_back_freed_memory)
        notifier = sdnotify.SystemdNotifier()
        for camera_id, pipeline in self._pipelines.items():
            if self._sources[camera_id].live:
                pipeline.vitals(started_ns)
        failure: EdgeError | None = None
        try:
            for worker in workers:
                worker.start()
            jobs.start()
            notifier.notify("READY=1")
            self._disk.begin()
            reason = self._loop(jobs, notifier, stopping, until_end=until_end, impatient=impatient)
        except EdgeError as error:  # a source's fault: what was seen until then is still written down
            reason, failure = "error", error
        finally:
            notifier.notify("STOPPING=1")
            self._slots.close()
            stop_all(workers)
            jobs.stop()
            self._night.stop()
        self._take_leave(reason)
        if failure is not None:
            raise failure

    def _take_leave(self, reason: StopReason) -> None:
        try:
            if not self._disk.refusing:
                for pipeline in self._pipelines.values():
                    self._follow(pipeline.finish())
            self._after_consent.drop_all()
            self._visits.close(reason)
            self._keep_views()
            self._alive()
            self._ledger.append("node.stopped", {"reason": reason})
        except DiskFull:
            self._refuse()
            try:
                self._visits.close(reason)
                self._ledger.append("node.stopped", {"reason": reason})
            except DiskFull as error:  # the next start closes what is open, as after a crash
                log.error("stopped without a word in the chain: %s", error)

    def _loop(
        self,
        jobs: Jobs,
        notifier: sdnotify.SystemdNotifier,
        stopping: threading.Event,
        *,
        until_end: bool,
        impatient: bool,
    ) -> StopReason:
        room_at_s = 0.0
        while not stopping.is_set():
            try:
                if self._disk.refusing:
                    stopping.wait(TICK_S)
                    if time.monotonic() >= room_at_s:
                        room_at_s = time.monotonic() + ROOM_EVERY_S
                        self._look_for_room()
                else:
                    frame = self._slots.take(TICK_S)
                    self._follow_clock(jobs)
                    if frame is not None:
                        self._analyse(frame)
                    self._sweep()
                self._hear(impatient)
                self._obey()
                self._listen()
                jobs.run_due()
                self._night.follow(datetime.now(UTC))
            except DiskFull:
                self._refuse()
            notifier.notify("WATCHDOG=1")
            if until_end and not self._running and self._slots.empty():
                return "source_end"
        return "stopped"

    def _refuse(self) -> None:
        """Stop recording: end what is watched as of now, and say so in the room that was kept for it."""
        if self._disk.refusing:
            return
        self._disk.strike(datetime.now(UTC))
        undecided = 0
        try:
            for pipeline in self._pipelines.values():
                step = pipeline.finish()
                undecided += len(step.arrivals)
                self._end(step)
            self._visits.close("storage_full")
            self._write_alive()
        except DiskFull as error:  # the refusal itself is said as soon as there is room for that
            log.warning("no room to close what was open: %s", error)
        if undecided:
            log.warning("arrivals not recorded count=%d", undecided)
        self._disk.tell()

    def _look_for_room(self) -> None:
        if not self._disk.over():
            return
        now = datetime.now(UTC)
        self._alive_since = now
        for camera_id, pipeline in self._pipelines.items():
            pipeline.vitals(time.monotonic_ns() if self._sources[camera_id].live else None)
            self._dropped[camera_id] = self._slots.dropped(camera_id)
        self._visits.unwatched_until(now)
        self._camera_log.catch_up()

    def _analyse(self, frame: Frame) -> None:
        self._film_now = max(self._film_now, frame.captured_at)
        step = self._pipelines[frame.camera_id].step(frame)
        if step.still:
            self._slots.rest(frame.camera_id, frame.captured_ns + int(REST_S * 1e9))
        for change in step.view:
            self._camera_log.view(frame.camera_id, change)
        self._follow(step)
        self._visits.seen(frame.camera_id, step.seen, frame.captured_at)
        self._live_view.follow(frame, step)

    def _follow(self, step: Step) -> None:
        for arrival in step.arrivals:
            if self._policy.embeds:
                template = self._template(arrival)
                if not arrival.final and not self._visits.sure(arrival, template):
                    self._pipelines[arrival.camera_id].hold(arrival.track_id)
                    continue
                record = self._visits.arrived(arrival, template, datetime.now(UTC))
            else:
                record = self._visits.arrived_unnamed(arrival)
                if record is not None:
                    self._after_consent.hold(record, arrival, datetime.now(UTC), _now_s())
            self._live_view.decided(arrival.camera_id, arrival.track_id, record)
            if record is not None:
                log.info("visit recorded seq=%d kind=%s camera=%s", record.seq, record.kind, arrival.camera_id)
        for arrival in step.better:
            if not self._policy.embeds:
                self._after_consent.better(arrival)
            elif self._visits.stored(arrival):
                self._visits.bettered(arrival, self._template(arrival))
        self._end(step)

    def _listen(self) -> None:
        """Compare who has consented at the desk since; whose hour is over is let go of, also on a full disk."""
        self._after_consent.sweep(_now_s())
        if not self._disk.refusing:
            for record in self._after_consent.listen(datetime.now(UTC)):
                log.info("visit decided after consent seq=%d kind=%s", record.seq, record.kind)

    def _end(self, step: Step) -> None:
        for ended in step.ended:
            self._visits.ended(ended)
            self._live_view.ended(ended)

    def _template(self, arrival: Arrival) -> Template:
        return fuse(self._pack.embedder, arrival, self._pack.pack_id)

    def _hear(self, impatient: bool) -> None:
        while not self._events.empty():
            event = self._events.get()
            match event.kind:
                case "up":
                    self._delivered.add(event.camera_id)
                    self._camera_log.append("camera.up", event.camera_id, event.at, event.reason)
                case "down":
                    if event.camera_id not in self._delivered:
                        if impatient:
                            raise EdgeError(event.message)
                        log.warning("camera lost camera=%s reason=%s: %s", event.camera_id, event.reason, event.message)
                    self._follow(self._pipelines[event.camera_id].finish())  # whoever was in view may leave unseen
                    self._camera_log.append("camera.down", event.camera_id, event.at, event.reason)
                case "ended":
                    self._running.discard(event.camera_id)
                    self._camera_log.append("camera.down", event.camera_id, event.at, "ended")
                case "failed":
                    raise EdgeError(event.message)

    def _follow_clock(self, jobs: Jobs) -> None:
        """Before a frame is judged by its time: has the wall clock been moved meanwhile?"""
        step = self._clock.step()
        if step is not None:
            log.warning("wall clock moved jump_us=%d", step.jump_us)
            self._visits.shift(timedelta(microseconds=step.jump_us))
            jobs.realign()
            self._ledger.name_step()  # unless a record of this moment has brought it along already

    def _sweep(self) -> None:
        self._visits.sweep(self._film_now if self._fast else datetime.now(UTC))

    def _alive(self) -> None:
        if not self._disk.refusing:  # a window in which nothing could be recorded is none
            self._write_alive()

    def _write_alive(self) -> None:
        now = datetime.now(UTC)
        cameras: list[Fields] = []
        for camera_id, pipeline in self._pipelines.items():
            live = self._sources[camera_id].live  # a file has no time of its own to have gaps in
            vitals = pipeline.vitals(time.monotonic_ns() if live else None)
            dropped = self._slots.dropped(camera_id)
            cameras.append(
                {
                    "camera": camera_id,
                    "frames": vitals.frames,
                    "longest_gap_us": vitals.longest_gap_us,
                    "luma_e6": vitals.luma_e6,
                    "sharpness_e6": vitals.sharpness_e6,
                    "dropped": dropped - self._dropped[camera_id],
                }
            )
            if live and pipeline.view is not None:
                cameras[-1]["view"] = view_digest(self._sources[camera_id].digest, pipeline.view)
            self._dropped[camera_id] = dropped
        self._ledger.append(
            "node.alive",
            {
                "since_us": to_us(self._alive_since),
                "until_us": to_us(now),
                "cameras": cameras,
                "people": len(self._gallery),
                **self._staff.counted(),
                **log_fields(self._ledger),
            },
        )
        self._staff.told(now)
        self._alive_since = now

    def _obey(self) -> None:
        """Do what was ordered since: by central, to forget people or be stricter; here, to compare by another table."""
        now_s = time.monotonic()
        if now_s < self._obey_at_s:
            return
        self._obey_at_s = now_s + OBEY_EVERY_S
        if self._orders.erase(self._ledger, self._vault, datetime.now(UTC)):
            self._gallery.refresh()
        self._orders.seal_phones(self._ledger, self._vault)
        policy = self._orders.policy()
        if policy != self._policy:
            log.warning("capture policy changed mode=%s unconsented_s=%d", policy.mode, policy.horizon_s)
            self._policy = policy
            if not policy.embeds:
                overwrite_freed_memory()
            self._visits.follow(self._orders.declared(policy, self._ledger))
            self._expire()
        self._visits.recalibrate(self._orders.calibration(self._ledger, self._pack))

    def _look_around(self) -> None:
        """Does the box still stand where it was attested to, and do its cameras look where they did?"""
        self._visits.stand(self._site.place(self._ledger))
        self._keep_views()

    def _keep_views(self) -> None:
        """Keep the reference views; take them anew where somebody has attested to the place meanwhile."""
        if self._views.attested_anew():
            log.info("place attested: views to be taken anew")
            for camera_id, pipeline in self._pipelines.items():
                if self._sources[camera_id].live:
                    pipeline.retake_view()
        for camera_id in self._views.lost():
            log.error("the reference view is not the one this node took camera=%s: attest to its picture", camera_id)
            self._camera_log.append("camera.changed", camera_id, self._started_at, "view", {"state": "changed"})
        for camera_id, pipeline in self._pipelines.items():
            view, source = pipeline.view, self._sources[camera_id]
            if view is not None and source.live:
                self._views.keep(camera_id, source.digest, view, datetime.now(UTC))

    def _expire(self) -> None:
        forgotten = self._retention.run(self._policy)
        self._gallery.refresh()  # whoever was erased elsewhere leaves memory too
        confirm_reached(self._ledger, self._vault)
        self._orders.count_faces(self._ledger, datetime.now(UTC))
        if forgotten:
            log.info("people forgotten count=%d", forgotten)


def stop_all(workers: list[CameraWorker]) -> None:
    """Ask all at once and wait for them together: a dead camera's read returns at its own timeout, not at ours."""
    for worker in workers:
        worker.stop(0)
    deadline_s = time.monotonic() + WORKERS_STOP_S
    for worker in workers:
        worker.stop(max(0.0, deadline_s - time.monotonic()))


def fuse(embedder: Embedder, arrival: Arrival, pack_id: str) -> Template:
    """Return one template for a track: its shots' vectors, weighted by quality."""
    vectors = embedder.embed(np.stack([shot.chip for shot in arrival.shots]))
    return Template(fused(vectors, [shot.quality for shot in arrival.shots]), pack_id)


def _now_s() -> float:
    """Seconds that nobody can set, and that a machine asleep does not stop."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
