"""Frames of one camera become arrivals: detect, track, judge, and keep the best shots of every track."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from camera.looks import Watched
from camera.motion import MotionGate, View, look
from camera.quality import (
    MIN_FRONTALITY,
    MIN_QUALITY,
    BestShot,
    Glimpse,
    crop_jpeg,
    face_px,
    frontality,
    glimpse,
    quality,
)
from camera.region import Attention
from camera.scene import jumped
from camera.source import Frame
from camera.tracker import Sighting, Tracker
from camera.views import KeptView, ViewChange, ViewWatch
from models.faces import Detector, Embedder, Face, Image
from models.liveness import Liveness
from models.masks import MaskDetector

MIN_FACE_PX = 32.0  # the short side; smaller ones are tracked but never shot
LOST_AFTER_S = 3.0
LOOKS_A_FRAME = (
    2  # more would keep the other cameras waiting; with one the third of a party waits for two more pictures
)


@dataclass(frozen=True, slots=True, eq=False)
class Arrival:
    """A track that can be decided.

    shots: best first, at least one. together: the tracks seen in one frame with it so far. final: whether nothing
    better comes of it; else `Pipeline.hold` lets it arrive once more.
    """

    camera_id: str
    track_id: int
    first_seen_at: datetime
    shots: tuple[BestShot, ...]
    together: frozenset[int]
    final: bool = True


@dataclass(frozen=True, slots=True)
class Ended:
    """A track that has arrived and was given up: out of sight for LOST_AFTER_S, or the source is over."""

    camera_id: str
    track_id: int
    last_seen_at: datetime


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What a frame brought.

    seen: ids of tracks that have arrived (in this step or before) and are visible in this frame. better: tracks that
    arrived before and now have markedly better pictures, once each. still: whether nobody is in view and nothing moved.
    view: what began or ended of the view's own state.
    sightings: every track in this frame, for those who look on; all else never mentions a track that does not arrive.
    """

    arrivals: tuple[Arrival, ...] = ()
    seen: tuple[int, ...] = ()
    ended: tuple[Ended, ...] = ()
    better: tuple[Arrival, ...] = ()
    view: tuple[ViewChange, ...] = ()
    sightings: tuple[Sighting, ...] = ()
    still: bool = False


@dataclass(frozen=True, slots=True)
class Vitals:
    """How a camera did since it was last asked: a heartbeat's share of `node.alive`.

    frames: analysed. longest_gap_us: the longest time without an analysed frame. luma_e6, sharpness_e6: means over the
    frames, 0..1e6.
    """

    frames: int
    longest_gap_us: int
    luma_e6: int
    sharpness_e6: int


class Pipeline:
    """Analyses the frames of one camera, in their order.

    refine: Pack.refine, for the shots that are decided on. When that is, `Watched` says; all seconds are frame time.
    view, live: the reference view, and whether the source is a camera (`ViewWatch`). masks, liveness: what says so of
    the shots that are decided on.
    """

    def __init__(
        self,
        camera_id: str,
        detector: Detector,
        embedder: Embedder,
        refine: Callable[[Image, Face], Face],
        *,
        view: KeptView | None = None,
        live: bool = False,
        masks: MaskDetector | None = None,
        liveness: Liveness | None = None,
    ) -> None:
        self._camera_id = camera_id
        self._detector = detector
        self._embedder = embedder
        self._refine = refine
        self._tracker = Tracker(LOST_AFTER_S)
        self._people: dict[int, Watched] = {}
        self._gate = MotionGate()
        self._attention = Attention()
        self._views = ViewWatch(view, live=live)
        self._masks = masks
        self._liveness = liveness
        self._tally = _Tally()
        self._before: View | None = None

    def step(self, frame: Frame) -> Step:
        """Analyse a frame."""
        view = look(frame.luma)
        self._tally.add(frame, view.luma_e6, view.sharpness_e6)
        changes = self._views.update(view, frame.captured_ns, frame.captured_at)
        before, self._before = self._before, view
        cut = self._tracker.finish() if before is not None and len(self._tracker) and jumped(before, view) else ()
        if not cut and len(self._tracker) == 0 and not self._gate.open(view, frame.captured_ns):
            self._views.learn(view, (), frame.captured_ns, frame.captured_at)
            return Step(view=changes, still=True)
        expected = self._tracker.expected(frame.captured_ns)
        region = self._attention.region(expected, frame.image.shape[:2], frame.captured_ns)
        faces = self._detector.detect(frame.image, region)
        self._gate.detected(view, frame.captured_ns)
        self._views.learn(view, _shares(frame, faces), frame.captured_ns, frame.captured_at)
        update = self._tracker.update(faces, frame.captured_ns)
        for sighting in update.sightings:
            self._remember(frame, sighting)
        visible = {sighting.track_id for sighting in update.sightings}
        for track_id in visible:
            self._people[track_id].beside(visible - {track_id}, frame.captured_ns)
        looked = self._end((*cut, *update.ended))
        for due in self._due(frame.captured_ns):
            self._look(due, looked, final=self._people[due].last_look(frame.captured_ns))
        seen = tuple(sorted(track_id for track_id in visible if self._people[track_id].decided))
        return Step(tuple(looked.arrivals), seen, tuple(looked.ended), tuple(looked.better), changes, update.sightings)

    def hold(self, track_id: int) -> None:
        """What arrived without being `final` is not decided: let it arrive once more, with what comes meanwhile."""
        self._people[track_id].decided = False

    def finish(self) -> Step:
        """End the source, or an outage's loss of it: every undecided track with a good shot arrives, all end.

        Frames may follow; their tracks are new.
        """
        self._views.interrupted()
        self._before = None
        self._gate = MotionGate()  # whoever came meanwhile may stand still
        looked = self._end(self._tracker.finish())
        return Step(tuple(looked.arrivals), ended=tuple(looked.ended), better=tuple(looked.better))

    @property
    def view(self) -> KeptView | None:
        """The reference view as it stands, None until one is taken."""
        return self._views.kept

    def retake_view(self) -> None:
        """Let what is seen from now on be the reference view."""
        self._views.retake()

    def vitals(self, now_ns: int | None = None) -> Vitals:
        """Return the tally since the last call and start a new one.

        now_ns (monotonic): closes the running gap; the first call with it begins the gap of a camera without frames.
        """
        return self._tally.take(now_ns)

    def _remember(self, frame: Frame, sighting: Sighting) -> None:
        person = self._people.get(sighting.track_id)
        if person is None:
            person = self._people[sighting.track_id] = Watched(frame.captured_at)
        person.sighted(frame.captured_at, frame.captured_ns)
        face = sighting.face
        if not person.open or face_px(face) < MIN_FACE_PX or frontality(face) < MIN_FRONTALITY:
            return
        value = quality(frame.image, face)
        if value >= MIN_QUALITY and person.wants(value, frame.captured_at):
            person.add(glimpse(frame.image, face, frame.captured_at, value), frame.captured_ns)

    def _due(self, now_ns: int) -> list[int]:
        """The tracks to be looked at in this frame: a look takes as long as four pictures, and who waits goes first."""
        due = [(person.decided, track_id) for track_id, person in self._people.items() if person.due(now_ns)]
        return [track_id for _, track_id in sorted(due)[:LOOKS_A_FRAME]]

    def _look(self, track_id: int, looked: _Looked, *, final: bool) -> None:
        person = self._people[track_id]
        if not person.decided or person.better:
            already = person.decided
            shots = tuple(person.cut(moment) or self._shot(track_id, moment) for moment in person.look())
            person.keep_cut(shots)
            arrival = Arrival(self._camera_id, track_id, person.first_seen_at, shots, person.together, final)
            (looked.better if already else looked.arrivals).append(arrival)
        if final:
            person.close()

    def _shot(self, track_id: int, moment: Glimpse) -> BestShot:
        """Cut a shot, refined and encoded only now: of a face that walks up, most moments are beaten by the next."""
        face = self._refine(moment.region, moment.face)
        chip = self._embedder.align(moment.region, face)
        crop = crop_jpeg(moment.region, face)
        masked = None if self._masks is None else self._masks.masked(moment.region, face)
        live = None if self._liveness is None else self._liveness.live(moment.region, face)
        at, px = moment.captured_at, moment.face_px
        return BestShot(self._camera_id, track_id, at, chip, crop, moment.quality, px, masked, live)

    def _end(self, track_ids: tuple[int, ...]) -> _Looked:
        looked = _Looked([], [], [])
        for track_id in track_ids:
            person = self._people[track_id]
            if person.open and (person.looked_at or person.decidable):
                self._look(track_id, looked, final=True)
            if person.decided:
                looked.ended.append(Ended(self._camera_id, track_id, person.last_seen_at))
            del self._people[track_id]
        return looked


@dataclass(slots=True)
class _Looked:
    """What was decided on in one step."""

    arrivals: list[Arrival]
    better: list[Arrival]
    ended: list[Ended]


def _shares(frame: Frame, faces: list[Face]) -> list[NDArray[np.float32]]:
    """Boxes as shares of the picture's width and height."""
    height, width = frame.image.shape[:2]
    scale = np.array([width, height, width, height], np.float32)
    return [face.box_xyxy / scale for face in faces]


class _Tally:
    """Counts what `Vitals` reports."""

    def __init__(self) -> None:
        self._frames = self._longest_gap_ns = self._luma = self._sharpness = 0
        self._last_ns: int | None = None

    def add(self, frame: Frame, luma_e6: int, sharpness_e6: int) -> None:
        if self._last_ns is not None:
            self._longest_gap_ns = max(self._longest_gap_ns, frame.captured_ns - self._last_ns)
        self._last_ns = frame.captured_ns
        self._frames += 1
        self._luma += luma_e6
        self._sharpness += sharpness_e6

    def take(self, now_ns: int | None) -> Vitals:
        if now_ns is not None:
            if self._last_ns is None:
                self._last_ns = now_ns
            self._longest_gap_ns = max(self._longest_gap_ns, now_ns - self._last_ns)
        frames = max(1, self._frames)
        vitals = Vitals(self._frames, self._longest_gap_ns // 1000, self._luma // frames, self._sharpness // frames)
        self._frames = self._longest_gap_ns = self._luma = self._sharpness = 0
        return vitals
