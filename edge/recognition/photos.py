"""Whether a picture of a face is good enough to know somebody by, and why not."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import cv2
import numpy as np

from camera.quality import SHARPNESS_HALF, face_px, frontality, quality, sharpness
from camera.worker import watching
from edge import EdgeError
from edge.recognition.grade import LIVE
from models.faces import Detector, Face, Image
from models.liveness import Liveness
from models.pack import Pack

Flaw: TypeAlias = Literal["no_face", "several", "too_small", "blurred", "turned", "not_live"]

SAID: Mapping[Flaw, str] = {
    "no_face": "no face in it",
    "several": "several faces in it; one alone is needed",
    "too_small": "the face is too small; come closer",
    "blurred": "the face is blurred; hold still, in good light",
    "turned": "the face is turned away; look into the camera",
    "not_live": "it looks like a photograph or a screen held up, not like a person",
}

# A chip has 112 px, and what is known by one picture for years should not be guessed from half of them.
MIN_FACE_PX = 64.0
MIN_FRONTALITY = 0.5  # a visitor is taken from 0.15 on, but nobody asks a visitor to look into the camera
MIN_SHARPNESS = SHARPNESS_HALF  # in the middle of what real footage has: camera/README.md
BYSTANDER = 0.5  # a face of less than this share of the first one's size is somebody in the background

GRAB_S = 8
_SHOTS = 3
_ANSWER_S = 5.0


def judge(image: Image, detector: Detector) -> Face | Flaw:
    """Return the one face of image (H, W, 3) uint8 BGR if somebody can be enrolled by it, else what is wrong."""
    faces = sorted(detector.detect(image), key=face_px, reverse=True)
    if not faces:
        return "no_face"
    face = faces[0]
    if len(faces) > 1 and face_px(faces[1]) >= BYSTANDER * face_px(face):
        return "several"
    if face_px(face) < MIN_FACE_PX:
        return "too_small"
    if sharpness(image, face) < MIN_SHARPNESS:
        return "blurred"
    return face if frontality(face) >= MIN_FRONTALITY else "turned"


def lives(image: Image, face: Face, liveness: Liveness | None) -> float | None:
    """How likely the face of image (H, W, 3) uint8 BGR is no photograph held up, 0..1; None where nothing can say."""
    return None if liveness is None else liveness.live(image, face)


def least(lives: Sequence[float | None]) -> float | None:
    """Of several pictures of one person the least likely to be live; None where one of them is not known."""
    known = [one for one in lives if one is not None]
    return min(known) if known and len(known) == len(lives) else None


def read(path: Path) -> Image:
    """Read a photograph as its maker meant it to stand; raises EdgeError."""
    if not path.is_file():  # OpenCV would print a line of its own
        raise EdgeError(f"{path}: " + ("not a file" if path.exists() else "no such file"))
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise EdgeError(f"{path}: not a picture that can be read")
    return image.astype(np.uint8, copy=False)


def grab(camera_id: str, uri: str, pack: Pack, liveness: Liveness | None = None) -> tuple[list[Image], float | None]:
    """Watch a camera for GRAB_S and return the chips of the best picture of each of its best seconds, best first.

    With them, how likely they are live at least, None where no network has looked; what is not live does not count.
    Raises EdgeError where no picture was good enough, saying what was wrong with most, or CameraError.
    """
    best: dict[int, tuple[float, Image, Face, float | None]] = {}  # by second
    flaws: Counter[Flaw] = Counter()
    began_ns: int | None = None
    with watching(uri, _ANSWER_S, camera_id) as frames:
        for frame in frames:
            began_ns = began_ns or frame.captured_ns
            second = (frame.captured_ns - began_ns) // 1_000_000_000
            if second >= GRAB_S:
                break
            face = judge(frame.image, pack.detector)
            if isinstance(face, str):
                flaws[face] += 1
                continue
            live = lives(frame.image, face, liveness)
            if live is not None and live < LIVE:
                flaws["not_live"] += 1
                continue
            value = quality(frame.image, face)
            if second not in best or value > best[second][0]:
                best[second] = (value, frame.image, face, live)
    if not best:
        usual = flaws.most_common(1)
        raise EdgeError(f"camera {camera_id}: nobody enrolled: {SAID[usual[0][0] if usual else 'no_face']}")
    ranked = sorted(best.values(), key=lambda one: -one[0])[:_SHOTS]
    return [pack.chip(image, face) for _, image, face, _ in ranked], least([live for *_, live in ranked])
