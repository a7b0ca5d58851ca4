"""The demo's footage: people who come in, leave and come back, out of pictures that installed packages carry."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from edge import EdgeError
from models.faces import Detector

Picture = NDArray[np.uint8]

WIDTH, HEIGHT, FRAMES_PER_S = 1280, 720, 12
SCENE_S = 3.5
EMPTY_S = 4.5  # longer than the shortest visit gap, so that whoever comes back starts a new visit
RETURNING = 2
_WALL = 92  # grey level of the empty hall


def write_walk_in(path: Path, detector: Detector) -> None:
    """Write a clip in which six people come in and leave, two of them come back, and one more comes once.

    detector: finds the two who come back. Raises EdgeError where the demo's packages are not installed.
    """
    group, alone = _pictures()
    pair = _pair(group, detector)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(FRAMES_PER_S), options={"crf": "18", "preset": "fast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for picture in _scenes(group, pair, alone):
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, "bgr24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def _pictures() -> tuple[Picture, Picture]:
    try:
        from insightface.data import get_image
        from skimage import data
    except ImportError as error:
        raise EdgeError(f"the demo needs pictures: pip install 'firstvisit[demo]' ({error})") from error
    group: Picture = get_image("t1")
    astronaut: Picture = data.astronaut()[:320, 60:400, ::-1]  # type: ignore[no-untyped-call]
    return group, np.ascontiguousarray(astronaut)


def _pair(group: Picture, detector: Detector) -> Picture:
    """The two neighbours on the left of the group, cut out: a second visit in another company."""
    faces = sorted(detector.detect(group), key=lambda face: float(face.box_xyxy[0]))
    if len(faces) <= RETURNING:
        raise EdgeError("the demo's group picture shows too few faces to this pack")
    cut = int((faces[RETURNING - 1].box_xyxy[2] + faces[RETURNING].box_xyxy[0]) / 2)
    return group[:, :cut]


def _scenes(group: Picture, pair: Picture, alone: Picture) -> Iterator[Picture]:
    yield from _empty(1.0)
    for picture in (group, pair, alone):
        yield from _walk_in(picture)
        yield from _empty(EMPTY_S)


def _walk_in(picture: Picture) -> Iterator[Picture]:
    """They come closer by a sixth and a little to the right."""
    fit = min(WIDTH / picture.shape[1], HEIGHT / picture.shape[0])
    frames = round(SCENE_S * FRAMES_PER_S)
    for index in range(frames):
        share = index / (frames - 1)
        scale = fit * (0.84 + 0.16 * share)
        drift_px = (WIDTH - picture.shape[1] * scale) * (0.4 + 0.1 * share)
        place = np.array([[scale, 0, drift_px], [0, scale, HEIGHT - picture.shape[0] * scale]], np.float32)
        yield cv2.warpAffine(picture, place, (WIDTH, HEIGHT), borderValue=(_WALL, _WALL, _WALL)).astype(np.uint8)


def _empty(seconds: float) -> Iterator[Picture]:
    hall = np.full((HEIGHT, WIDTH, 3), _WALL, np.uint8)
    cv2.line(hall, (0, 600), (WIDTH, 600), (70, 70, 70), 3)
    for _ in range(round(seconds * FRAMES_PER_S)):
        yield hall
