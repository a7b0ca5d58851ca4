"""Faces of consecutive frames become tracks, by place, size and motion alone.

No appearance is compared: where consent has not been given nobody may be embedded. A wrong resumption would give one
person another's visit, a missed one only a second track that the gallery joins again, so resuming is strict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from camera.assignment import assigned
from models.faces import Face

LIVE_S = 0.5  # a face missed for less is a detector's blink; its track is matched before the lost ones
EXPECTED_S = 1.0  # a face missed for less is looked for where it was; weak ones come and go
COAST_S = 0.5  # how long a speed is believed after the last sighting
SMOOTHING_S = 0.4  # time constant of the speed: boxes jitter by a tenth of a face, and coasting multiplies that
# How far from where it was expected a face may be, in face sizes. Between two analysed frames people move freely (at 5
# frames a second somebody crossing the view moves more than a face); one who was missed in frames between may be
# somebody else by now, above all in a crowd, so then the place must nearly be the old one.
MAX_DISTANCE, DISTANCE_PER_S, MAX_DISTANCE_EVER = 0.6, 3.0, 1.5
MAX_DISTANCE_MISSED, DISTANCE_PER_S_MISSED, MAX_DISTANCE_EVER_MISSED = 0.5, 0.3, 1.0
MAX_RATIO = 1.8  # of sizes between two sightings
MAX_RATIO_MISSED = 1.5
# Below this a face only continues a track it follows at once, neither begins nor resumes one (after ByteTrack, Zhang
# et al. 2022): in a crowd half-covered heads give such faces, and carry a lost track over to a stranger.
SURE_SCORE = 0.6
_NO = 1e6


@dataclass(frozen=True, slots=True)
class Sighting:
    """A track and the face that continues it in this frame."""

    track_id: int
    face: Face
    first_seen_ns: int


@dataclass(frozen=True, slots=True)
class Update:
    """What one frame did: the tracks seen in it, and the ids of those given up."""

    sightings: tuple[Sighting, ...]
    ended: tuple[int, ...]


@dataclass(slots=True)
class _Track:
    track_id: int
    first_seen_ns: int
    seen_ns: int
    centre_xy: NDArray[np.float64]
    size_px: float
    speed_xy: NDArray[np.float64]
    growth_per_s: float
    box_xyxy: NDArray[np.float64]
    misses: int = 0


class Tracker:
    """Assigns faces to tracks, first to those seen just now, then to those lost up to lost_after_s."""

    def __init__(self, lost_after_s: float = 3.0) -> None:
        self._lost_after_ns = int(lost_after_s * 1e9)
        self._tracks: list[_Track] = []
        self._next_id = 1

    def __len__(self) -> int:
        """Return how many tracks are held, lost ones included."""
        return len(self._tracks)

    def expected(self, at_ns: int) -> list[NDArray[np.float64]]:
        """Return where the faces seen within EXPECTED_S should be at `at_ns`: boxes (4,) xyxy."""
        expected = []
        for track in self._tracks:
            gap_s = (at_ns - track.seen_ns) / 1e9
            if gap_s <= EXPECTED_S:
                expected.append(track.box_xyxy + np.tile(track.speed_xy * min(gap_s, COAST_S), 2))
        return expected

    def update(self, faces: Sequence[Face], at_ns: int) -> Update:
        """Take the faces of one frame, whose time at_ns never decreases."""
        ended = [track for track in self._tracks if at_ns - track.seen_ns > self._lost_after_ns]
        self._tracks = [track for track in self._tracks if at_ns - track.seen_ns <= self._lost_after_ns]
        free = _distinct(faces)
        live = [track for track in self._tracks if at_ns - track.seen_ns <= LIVE_S * 1e9]
        lost = [track for track in self._tracks if at_ns - track.seen_ns > LIVE_S * 1e9]
        sightings: list[Sighting] = []
        for tracks in (live, lost):
            for track, face in _assign(tracks, free, at_ns):
                sightings.append(Sighting(track.track_id, face, track.first_seen_ns))
                _follow(track, face, at_ns)
                free = [other for other in free if other is not face]
        for track in self._tracks:
            if track.seen_ns != at_ns:
                track.misses += 1
        for face in (face for face in free if face.score >= SURE_SCORE):
            track = _begin(self._next_id, face, at_ns)
            self._next_id += 1
            self._tracks.append(track)
            sightings.append(Sighting(track.track_id, face, at_ns))
        return Update(tuple(sightings), tuple(track.track_id for track in ended))

    def finish(self) -> tuple[int, ...]:
        """Give up every track and return their ids."""
        ended = tuple(track.track_id for track in self._tracks)
        self._tracks = []
        return ended


def _distinct(faces: Sequence[Face]) -> list[Face]:
    """Drop a second box on one face: two tracks seen together would be held to be two people for ever."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        centre, size = _centre(face), _size(face)
        if all(np.linalg.norm(centre - _centre(other)) > 0.4 * max(size, _size(other)) for other in kept):
            kept.append(face)
    return kept


def _assign(tracks: list[_Track], faces: list[Face], at_ns: int) -> list[tuple[_Track, Face]]:
    if not tracks or not faces:
        return []
    cost = _costs(tracks, faces, at_ns)
    return [(tracks[row], faces[column]) for row, column in assigned(cost) if cost[row, column] < _NO]


def _costs(tracks: list[_Track], faces: list[Face], at_ns: int) -> NDArray[np.float64]:
    """Return how badly each face continues each track, (tracks, faces): distance in face sizes, less the overlap.

    The distance is from where the face is expected. All at once: one by one, a crowd costs more than its detection.
    """
    gap_s = np.array([(at_ns - track.seen_ns) / 1e9 for track in tracks])
    missed = np.array([track.misses > 0 for track in tracks])[:, np.newaxis]
    coast_s = np.minimum(gap_s, COAST_S)
    shift = np.stack([track.speed_xy for track in tracks]) * coast_s[:, np.newaxis]
    expected = np.stack([track.centre_xy for track in tracks]) + shift
    growth = np.array([track.growth_per_s for track in tracks]) * coast_s
    size = (np.array([track.size_px for track in tracks]) * np.exp(np.clip(growth, -0.5, 0.5)))[:, np.newaxis]
    face_size = np.array([_size(face) for face in faces])
    larger, smaller = np.maximum(size, face_size), np.minimum(size, face_size)
    ratio = larger / np.maximum(1e-6, smaller)
    distance = np.linalg.norm(np.stack([_centre(face) for face in faces]) - expected[:, np.newaxis], axis=2) / larger
    seen_allowed = np.minimum(MAX_DISTANCE + DISTANCE_PER_S * gap_s, MAX_DISTANCE_EVER)[:, np.newaxis]
    missed_allowed = np.minimum(MAX_DISTANCE_MISSED + DISTANCE_PER_S_MISSED * gap_s, MAX_DISTANCE_EVER_MISSED)
    refused = (distance > np.where(missed, missed_allowed[:, np.newaxis], seen_allowed)) | (
        ratio > np.where(missed, MAX_RATIO_MISSED, MAX_RATIO)
    )
    refused |= missed & (np.array([face.score for face in faces]) < SURE_SCORE)
    boxes = np.stack([track.box_xyxy for track in tracks]) + np.concatenate([shift, shift], axis=1)
    overlap = _iou(boxes, np.stack([face.box_xyxy for face in faces]))
    cost: NDArray[np.float64] = np.where(refused, _NO, distance + np.log(ratio) - overlap)
    return cost


def _begin(track_id: int, face: Face, at_ns: int) -> _Track:
    return _Track(
        track_id, at_ns, at_ns, _centre(face), _size(face), np.zeros(2), 0.0, face.box_xyxy.astype(np.float64)
    )


def _follow(track: _Track, face: Face, at_ns: int) -> None:
    gap_s = (at_ns - track.seen_ns) / 1e9
    centre, size = _centre(face), _size(face)
    if gap_s > 0:
        weight = 1.0 - float(np.exp(-gap_s / SMOOTHING_S))
        track.speed_xy = track.speed_xy + weight * ((centre - track.centre_xy) / gap_s - track.speed_xy)
        growth = float(np.log(size / track.size_px)) / gap_s
        track.growth_per_s += 0.5 * weight * (growth - track.growth_per_s)
    track.centre_xy, track.size_px, track.seen_ns = centre, size, at_ns
    track.box_xyxy = face.box_xyxy.astype(np.float64)
    track.misses = 0


def _centre(face: Face) -> NDArray[np.float64]:
    box = face.box_xyxy.astype(np.float64)
    return (box[:2] + box[2:]) / 2


def _size(face: Face) -> float:
    width, height = (face.box_xyxy[2:] - face.box_xyxy[:2]).astype(np.float64)
    return float(np.sqrt(max(width * height, 1e-6)))


def _iou(a: NDArray[np.float64], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return intersection over union of boxes a (N, 4) and b (M, 4), (N, M)."""
    one = a[:, np.newaxis]
    sides = np.minimum(one[..., 2:], b[:, 2:]) - np.maximum(one[..., :2], b[:, :2])
    both = np.prod(np.clip(sides, 0.0, None), axis=2)
    union = np.prod(one[..., 2:] - one[..., :2], axis=2) + np.prod(b[:, 2:] - b[:, :2], axis=1) - both
    return np.asarray(both / np.maximum(union, 1e-6), np.float64)
