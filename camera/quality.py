"""How good a picture of a face is, and the few best of a track."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import cv2
import numpy as np
from numpy.typing import NDArray

from camera import CameraError
from models.faces import Face

REGION_MARGIN = 0.75  # of the box's longer side, on each side: what refining, a tilted chip and the crop may reach for
REGION_FACE_PX = 320.0  # of the longer side of a face: larger ones are shrunk, a 4K face would take 12 MB otherwise
CROP_PX = 320
CROP_MARGIN = 0.45  # of the box's longer side, on each side: hair, chin and shoulders, so that people can be told apart
CROP_JPEG_QUALITY = 88

MIN_FRONTALITY = 0.15
MIN_QUALITY = 0.3  # below lie heads from behind and covered faces whose points are guessed: camera/README.md
MIN_QUALITY_ALONE = 0.4  # of the best shot of a track that ended with too few of them
FULL_SIZE_PX = 96.0  # nearly the 112 px of a chip: more pixels add nothing
SHARPNESS_PX = (76, 95)  # width, height
MIN_SHARPNESS = 12.0  # blurred by 3 % of a face and more lies below, and 2 % of good footage: camera/README.md
SHARPNESS_HALF = 25.0  # variance of the Laplacian, 12..70 in real footage: camera/README.md


@dataclass(frozen=True, slots=True, eq=False)
class BestShot:
    """One picture of a person worth embedding.

    chip: (S, S, 3) uint8 BGR, aligned. crop: JPEG of the face with a margin, at most CROP_PX px a side. quality: 0..1.
    face_px: short side of the detected box. masked: how likely nose or mouth are covered, live: how likely the face is
    no photograph or screen, 0..1; None where nothing looked.
    """

    camera_id: str
    track_id: int
    captured_at: datetime
    chip: NDArray[np.uint8]
    crop: bytes
    quality: float
    face_px: float
    masked: float | None = None
    live: float | None = None

    def __post_init__(self) -> None:
        if self.chip.ndim != 3 or self.chip.shape[0] != self.chip.shape[1] or self.chip.shape[2] != 3:
            raise CameraError(f"camera {self.camera_id}: a chip must be (S, S, 3), is {self.chip.shape}")
        if not 0.0 <= self.quality <= 1.0:
            raise CameraError(f"camera {self.camera_id}: quality must be 0..1, is {self.quality}")
        for name, value in (("masked", self.masked), ("live", self.live)):
            if value is not None and not 0.0 <= value <= 1.0:
                raise CameraError(f"camera {self.camera_id}: {name} must be 0..1, is {value}")


@dataclass(frozen=True, slots=True, eq=False)
class Glimpse:
    """A moment of a track that a shot can still be cut from: region (H, W, 3) uint8 BGR of a frame around a face.

    face: in the region's pixels. quality: 0..1. face_px: short side of the box as it was in the frame.
    """

    captured_at: datetime
    region: NDArray[np.uint8]
    face: Face
    quality: float
    face_px: float


def glimpse(image: NDArray[np.uint8], face: Face, at: datetime, quality_now: float) -> Glimpse:
    """Return what is worth keeping of image (H, W, 3) uint8 BGR for a shot of one face; the image may go."""
    x0, y0, x1, y1 = (float(value) for value in face.box_xyxy)
    side = max(x1 - x0, y1 - y0)
    margin = REGION_MARGIN * side
    left, top = max(0, int(x0 - margin)), max(0, int(y0 - margin))
    around = image[top : int(y1 + margin) + 1, left : int(x1 + margin) + 1]
    corner = np.array([left, top], dtype=np.float32)
    region = around.copy()
    if side > REGION_FACE_PX:
        size = [max(1, round(length * REGION_FACE_PX / side)) for length in around.shape[1::-1]]
        region = np.asarray(cv2.resize(around, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    scale = np.array(region.shape[1::-1], dtype=np.float32) / np.array(around.shape[1::-1], dtype=np.float32)
    box = (face.box_xyxy - np.tile(corner, 2)) * np.tile(scale, 2)
    points = (face.landmarks_xy - corner + 0.5) * scale - 0.5  # a pixel's place is its middle
    within = Face(box, points.astype(np.float32), face.score)
    return Glimpse(at, region, within, quality_now, face_px(face))


def face_px(face: Face) -> float:
    """Return the short side of a face's box, px."""
    box = face.box_xyxy
    return float(min(box[2] - box[0], box[3] - box[1]))


def frontality(face: Face) -> float:
    """Return 1 for a face that can be compared as well as any, falling to 0 for a profile or points out of place.

    From the five points alone, freed of roll. With e the distance between the eyes, m that from the middle of the eyes
    to the middle of the mouth, s the nose's distance from that middle line in units of e, t its place along the line
    (0 at the eyes, 1 at the mouth):
    clip((0.9 - s) / 0.5) * clip((e/m - 0.35) / 0.35) * clip((0.3 - |t - 0.55|) / 0.12), each clipped to 0..1.
    Where each factor leaves 1 is where similarities within a person begin to fall: camera/README.md.
    """
    left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks_xy.astype(np.float64)
    eyes, mouth = (left_eye + right_eye) / 2, (left_mouth + right_mouth) / 2
    down = mouth - eyes
    eye_distance, depth = float(np.linalg.norm(right_eye - left_eye)), float(np.linalg.norm(down))
    if eye_distance < 1e-6 or depth < 1e-6:
        return 0.0
    down /= depth
    across = np.array([-down[1], down[0]])
    along = float((nose - eyes) @ down) / depth
    aside = abs(float((nose - eyes) @ across)) / eye_distance
    turned = (0.9 - aside) / 0.5
    narrowed = (eye_distance / depth - 0.35) / 0.35
    tilted = (0.3 - abs(along - 0.55)) / 0.12
    return float(np.prod(np.clip([turned, narrowed, tilted], 0.0, 1.0)))


def sharpness(image: NDArray[np.uint8], face: Face) -> float:
    """Return the variance of the Laplacian of a face's luma, its box brought to SHARPNESS_PX.

    Taken from the box and not from the chip, whose scale and margin differ from pack to pack.
    """
    height, width = image.shape[:2]
    x0, y0 = np.floor(face.box_xyxy[:2]).astype(int)
    x1, y1 = np.ceil(face.box_xyxy[2:]).astype(int)
    box = image[max(0, y0) : min(height, y1), max(0, x0) : min(width, x1)]
    if box.size == 0:
        return 0.0
    shrinks = box.shape[1] > SHARPNESS_PX[0]
    patch = cv2.resize(box, SHARPNESS_PX, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    grey = cv2.cvtColor(patch, cv2.COLOR_BGR2GRAY)
    edge = SHARPNESS_PX[0] // 8  # hair and background
    return float(cv2.Laplacian(grey[edge:-edge, edge:-edge], cv2.CV_32F).var())


def quality(image: NDArray[np.uint8], face: Face) -> float:
    """Return 0..1: size^0.33 * frontality^0.25 * sharp^0.33 * score^1.5.

    size = min(1, face_px / FULL_SIZE_PX); sharp = v / (v + SHARPNESS_HALF) of the face's sharpness v, and 0 altogether
    below MIN_SHARPNESS, where a vector is a guess; score is the detector's. The exponents fit how well a face agrees
    with other moments of its track: camera/README.md.
    """
    variance = sharpness(image, face)
    if variance < MIN_SHARPNESS:
        return 0.0
    size = min(1.0, face_px(face) / FULL_SIZE_PX)
    sharp = variance / (variance + SHARPNESS_HALF)
    return float(size**0.33 * frontality(face) ** 0.25 * sharp**0.33 * face.score**1.5)


def crop_jpeg(image: NDArray[np.uint8], face: Face) -> bytes:
    """Return a JPEG of the face with a margin out of image (H, W, 3) uint8 BGR, at most CROP_PX px a side."""
    x0, y0, x1, y1 = (float(value) for value in face.box_xyxy)
    margin = CROP_MARGIN * max(x1 - x0, y1 - y0)
    height, width = image.shape[:2]
    left, right = max(0, int(x0 - margin)), min(width, int(x1 + margin) + 1)
    top, bottom = max(0, int(y0 - margin)), min(height, int(y1 + margin) + 1)
    crop = image[top:bottom, left:right]
    scale = CROP_PX / max(crop.shape[:2])
    if scale < 1.0:
        size = (max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale)))
        crop = cv2.resize(crop, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    good, data = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, CROP_JPEG_QUALITY])
    if not good:
        raise CameraError(f"crop of {crop.shape} could not be encoded")
    return data.tobytes()


class BestShots:
    """The best few moments of one track, spread over time: one in any window of apart_s, at most max_shots.

    Windows are fixed from the first shot on: were a shot only kept apart from its neighbours, a face that grows better
    with every frame, as all that walk up do, would push one single shot along.
    """

    def __init__(self, max_shots: int, apart_s: float) -> None:
        self._max_shots = max_shots
        self._apart = timedelta(seconds=apart_s)
        self._started_at: datetime | None = None
        self._by_window: dict[int, Glimpse] = {}

    def __len__(self) -> int:
        return len(self._by_window)

    def wanted(self, quality_now: float, at: datetime) -> bool:
        """Return whether a shot of this quality and time would be kept, before it is cut out."""
        rival = self._by_window.get(self._window(at))
        if rival is None and len(self._by_window) >= self._max_shots:
            rival = self._worst()
        return rival is None or quality_now > rival.quality

    def add(self, shot: Glimpse) -> None:
        """Keep a shot if it is wanted, in the place of the one it beats."""
        if not self.wanted(shot.quality, shot.captured_at):
            return
        if self._started_at is None:
            self._started_at = shot.captured_at
        window = self._window(shot.captured_at)
        if window not in self._by_window and len(self._by_window) >= self._max_shots:
            del self._by_window[self._window(self._worst().captured_at)]
        self._by_window[window] = shot

    def best_quality(self) -> float:
        """Return the quality of the best shot, 0 without any."""
        return max((shot.quality for shot in self._by_window.values()), default=0.0)

    def best_first(self) -> tuple[Glimpse, ...]:
        """Return what was kept, best first."""
        return tuple(sorted(self._by_window.values(), key=lambda shot: -shot.quality))

    def _worst(self) -> Glimpse:
        return min(self._by_window.values(), key=lambda shot: shot.quality)

    def _window(self, at: datetime) -> int:
        return 0 if self._started_at is None else (at - self._started_at) // self._apart
