"""When a track is decided on: soon, for whoever stands at the desk, and once more if its pictures get better."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from camera.quality import MIN_QUALITY_ALONE, BestShot, BestShots, Glimpse

MAX_SHOTS = 5  # kept a track, and so the bound of its memory
SHOTS_APART_S = 0.2  # neighbouring frames show the same face again and add nothing to a template
SHOTS_TO_ARRIVE = 3
# Measured: camera/README.md, "When a track arrives".
FIRST_LOOK_S = 0.65
LAST_LOOK_S = 2.0
GONE_S = 0.4  # out of sight for longer, the picture that is missing hardly comes
TOGETHER_S = 600.0  # reasoned: whoever has shown no face for so long since is told of nobody from before
_FEW = 64  # neighbours that need no looking through
BETTER_BY = 0.05  # of the mean quality of the best SHOTS_TO_ARRIVE, from which a second look is worth its time


class Watched:
    """What is remembered of one track until it ends; its shots only until its last look.

    The first look is FIRST_LOOK_S after the first picture that can be compared, where there are SHOTS_TO_ARRIVE by
    then; with fewer when the face is out of sight, or after LAST_LOOK_S, if the best is good (MIN_QUALITY_ALONE). The
    last is LAST_LOOK_S after that picture, where there are SHOTS_TO_ARRIVE, or when the track ends.
    """

    def __init__(self, first_seen_at: datetime) -> None:
        self.first_seen_at = first_seen_at
        self.last_seen_at = first_seen_at
        self._together: dict[int, int] = {}  # the tracks seen in one frame with it, and when last, in ns
        self.decided = False
        self._last_seen_ns = 0
        self._shots: BestShots | None = BestShots(MAX_SHOTS, SHOTS_APART_S)
        self._shot_since_ns: int | None = None
        self._seen_with: float | None = None  # mean quality at the first look
        self._cut: dict[datetime, BestShot] = {}

    @property
    def open(self) -> bool:
        """Whether another look is to come."""
        return self._shots is not None

    @property
    def looked_at(self) -> bool:
        """Whether the first look is over."""
        return self._seen_with is not None

    @property
    def together(self) -> frozenset[int]:
        """The tracks seen in one frame with it within TOGETHER_S at least, while another look is to come."""
        return frozenset(self._together)

    def beside(self, others: Iterable[int], at_ns: int) -> None:
        """It is in this frame together with others; a face that never shows itself may meet them for months."""
        if not self.open:
            return
        self._together.update(dict.fromkeys(others, at_ns))
        if len(self._together) > _FEW:
            since_ns = at_ns - int(TOGETHER_S * 1e9)
            self._together = {track: last_ns for track, last_ns in self._together.items() if last_ns >= since_ns}

    def sighted(self, at: datetime, at_ns: int) -> None:
        """The face is in this frame."""
        self.last_seen_at, self._last_seen_ns = at, at_ns

    def wants(self, quality: float, at: datetime) -> bool:
        """Return whether a shot of this quality would be kept."""
        return self._shots is not None and self._shots.wanted(quality, at)

    def add(self, shot: Glimpse, at_ns: int) -> None:
        """Keep a shot."""
        if self._shots is None:
            return
        if self._shot_since_ns is None:
            self._shot_since_ns = at_ns
        self._shots.add(shot)

    def due(self, now_ns: int) -> bool:
        """Return whether it is to be looked at now, by frame time."""
        if self._shots is None or self._shot_since_ns is None:
            return False
        if self.looked_at:
            return self.last_look(now_ns)
        age_s = (now_ns - self._shot_since_ns) / 1e9
        enough = self._enough or now_ns - self._last_seen_ns >= GONE_S * 1e9 or age_s >= LAST_LOOK_S
        return age_s >= FIRST_LOOK_S and enough and self.decidable

    @property
    def decidable(self) -> bool:
        """Whether what there is can be decided on: several shots, or a good one."""
        return self._enough or (self._shots is not None and self._shots.best_quality() >= MIN_QUALITY_ALONE)

    def last_look(self, now_ns: int) -> bool:
        """Return whether a look at this time is the last."""
        since_ns = self._shot_since_ns
        return since_ns is not None and now_ns - since_ns >= LAST_LOOK_S * 1e9 and self._enough

    @property
    def better(self) -> bool:
        """Whether the pictures are markedly better than at the first look."""
        return self._seen_with is not None and self._mean_quality() >= self._seen_with + BETTER_BY

    def look(self) -> tuple[Glimpse, ...]:
        """Return the shots to look at, best first: at the first look SHOTS_TO_ARRIVE at most, for more take longer."""
        most = MAX_SHOTS if self.looked_at else SHOTS_TO_ARRIVE
        self._seen_with = self._mean_quality()
        self.decided = True
        return () if self._shots is None else self._shots.best_first()[:most]

    def cut(self, moment: Glimpse) -> BestShot | None:
        """Return the picture that was cut of a moment at an earlier look."""
        return self._cut.get(moment.captured_at)

    def keep_cut(self, shots: tuple[BestShot, ...]) -> None:
        """Remember pictures for the next look."""
        self._cut = {shot.captured_at: shot for shot in shots}

    def close(self) -> None:
        """No further look: let the pictures go; a poster stays in view for months."""
        self._shots = None
        self._cut = {}
        self._together = {}

    @property
    def _enough(self) -> bool:
        return self._shots is not None and len(self._shots) >= SHOTS_TO_ARRIVE

    def _mean_quality(self) -> float:
        """Of the best SHOTS_TO_ARRIVE; a shot that is missing counts 0."""
        if self._shots is None:
            return 0.0
        return sum(shot.quality for shot in self._shots.best_first()[:SHOTS_TO_ARRIVE]) / SHOTS_TO_ARRIVE
