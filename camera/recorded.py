"""Video files and image folders as frames, each at start of the run + its time in the file."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeAlias

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from camera.picture import Decoded
from camera.source import Frame, SourceError, file_path

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
FOLDER_FRAMES_PER_S = 10.0  # the design's frame rate of a folder of images, which carries no times
MAX_PICTURE_PX = 100_000_000  # 300 MB as BGR; a PNG of 12 MB may claim 30,000 x 30,000 pixels and take 5 GB

_Pictures: TypeAlias = Iterator[tuple[float, NDArray[np.uint8] | Decoded]]  # seconds since the first, and the picture


def recorded_frames(
    camera_id: str,
    uri: str,
    *,
    run_started_at: datetime,
    run_started_ns: int,
    folder_frames_per_s: float = FOLDER_FRAMES_PER_S,
) -> Iterator[Frame]:
    """Yield every frame of a video file or image folder, in order.

    Raises SourceError (reason "unreadable") where the file is missing, is no video, or holds no frame.
    """
    path = file_path(uri)
    if not path.exists():
        raise SourceError(camera_id, uri, "unreadable", "no such file or folder")
    if not path.is_dir() and not path.is_file():
        raise SourceError(camera_id, uri, "unreadable", "neither a file nor a folder")  # reading a FIFO would not end
    pictures = _folder(camera_id, uri, path, folder_frames_per_s) if path.is_dir() else _video(camera_id, uri, path)
    for number, (time_s, picture) in enumerate(pictures, start=1):
        yield Frame(
            camera_id=camera_id,
            number=number,
            captured_at=run_started_at + timedelta(seconds=time_s),
            captured_ns=run_started_ns + round(time_s * 1e9),
            picture=picture,
        )


def _video(camera_id: str, uri: str, path: Path) -> _Pictures:
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        raise SourceError(camera_id, uri, "unreadable", f"not a readable video ({error.strerror})") from error
    with container:
        if not container.streams.video:
            raise SourceError(camera_id, uri, "unreadable", "holds no video stream")
        stream = container.streams.video[0]
        stream.codec_context.options = {"max_pixels": str(MAX_PICTURE_PX)}
        stream.thread_type = "FRAME"  # not AUTO, which may take slice threads: see live.py
        step_s = float(1 / stream.average_rate) if stream.average_rate else 1 / FOLDER_FRAMES_PER_S
        damaged = 0
        first_s: float | None = None
        time_s = -step_s
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    break
                decoded = packet.decode()
            except av.error.EOFError:
                break
            except av.error.InvalidDataError:
                damaged += 1
                continue
            except (av.error.FFmpegError, OSError) as error:
                raise SourceError(camera_id, uri, "unreadable", f"reading failed ({error.strerror})") from error
            for frame in decoded:
                if frame.time is not None:
                    first_s = frame.time if first_s is None else first_s
                    # A file whose clock jumps back must not run time backwards.
                    time_s = max(frame.time - first_s, time_s + 1e-3 if time_s >= 0 else 0.0)
                else:
                    time_s += step_s
                yield time_s, Decoded(frame)
        if time_s < 0:
            raise SourceError(camera_id, uri, "unreadable", "holds no frame that can be decoded")
        if damaged:
            log.warning("video damaged camera=%s packets=%d", camera_id, damaged)


def _folder(camera_id: str, uri: str, path: Path, frames_per_s: float) -> _Pictures:
    files = sorted((p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES), key=_as_counted)
    if not files:
        raise SourceError(camera_id, uri, "unreadable", "folder holds no images (jpg, png, bmp, webp, tif)")
    for index, file in enumerate(files):
        if not file.is_file():
            raise SourceError(camera_id, uri, "unreadable", f"{file.name} is not a file")
        if not _bounded(file):
            megapixels = MAX_PICTURE_PX // 1_000_000
            raise SourceError(
                camera_id, uri, "unreadable", f"{file.name} is not a readable image of at most {megapixels} megapixels"
            )
        image = cv2.imread(str(file), cv2.IMREAD_COLOR)
        if image is None:
            raise SourceError(camera_id, uri, "unreadable", f"{file.name} is not a readable image")
        yield index / frames_per_s, image.astype(np.uint8, copy=False)


def _bounded(file: Path) -> bool:
    """Whether FFmpeg, which stops at the size in the header, reads it; OpenCV's own limit is 2**30 pixels."""
    try:
        with file.open("rb") as handle, av.open(handle, options={"max_pixels": str(MAX_PICTURE_PX)}) as container:
            return any(stream.codec_context.width > 0 for stream in container.streams.video)
    except (av.error.FFmpegError, OSError):
        return False


def _as_counted(path: Path) -> list[tuple[int, str]]:
    """Order names as people count: frame2 before frame10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]
