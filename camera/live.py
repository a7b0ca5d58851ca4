"""RTSP streams and USB cameras as frames, timed when they are received."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import av
import cv2
import numpy as np

from camera.picture import Decoded
from camera.source import Frame, SourceError, usb_index


def rtsp_frames(
    camera_id: str, uri: str, *, numbers: Iterator[int], open_timeout_s: float = 5.0, stall_timeout_s: float = 5.0
) -> Iterator[Frame]:
    """Yield frames of an RTSP camera over TCP until it is lost; never returns normally.

    numbers: where frame numbers come from, so that they go on over a reconnect.
    Raises SourceError: "auth" (wrong user or password), "unreachable" (no answer, refused, no such stream),
    "stalled" (connected, but no frame for stall_timeout_s), "ended" (the camera closed the stream).
    PyAV's own errors hold the URL with its password, hence `from None`.
    """
    try:
        container = av.open(
            uri,
            # The rate is not needed, and a second tells a stream's format: the first frame comes after 0.3 s, not 1.1.
            options={"rtsp_transport": "tcp", "analyzeduration": "1000000", "fpsprobesize": "0"},
            timeout=(open_timeout_s, stall_timeout_s),
        )
    except (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError):
        raise SourceError(camera_id, uri, "auth", "the camera refuses this user or password") from None
    except av.error.HTTPNotFoundError:
        raise SourceError(camera_id, uri, "unreachable", "the camera has no such stream (404)") from None
    except (av.error.FFmpegError, OSError) as error:
        detail = "connection refused" if isinstance(error, ConnectionRefusedError) else "no answer"
        raise SourceError(camera_id, uri, "unreachable", detail) from None
    try:
        if not container.streams.video:
            raise SourceError(camera_id, uri, "unreachable", "the camera sends no video")
        stream = container.streams.video[0]
        # One thread a camera: frame threads hold back as many frames as there are threads, and a frame is timed when it
        # comes out; slice threads gain nothing where there are as many cameras as processors.
        stream.thread_type = "NONE"
        last_ns = time.monotonic_ns()
        packets = container.demux()  # all streams: sound that goes on must not hide a picture that stands still
        while True:
            try:
                packet = next(packets, None)
                decoded = packet.decode() if packet is not None and packet.stream is stream else []
                ended = packet is None
            except av.error.InvalidDataError:
                decoded, ended = [], False  # a damaged packet; only the age of the last frame counts
            except av.error.EOFError:
                decoded, ended = [], True
            except (av.error.ExitError, TimeoutError):
                raise SourceError(camera_id, uri, "stalled", _stalled(stall_timeout_s)) from None
            except (av.error.FFmpegError, OSError):
                raise SourceError(camera_id, uri, "ended", "the connection broke") from None
            # Judged before the frame: a read that timed out first hands out the frame its parser still held, and
            # would then wait as long again on a connection cut in the middle of a packet.
            now_ns = time.monotonic_ns()
            if now_ns - last_ns > stall_timeout_s * 1e9:
                raise SourceError(camera_id, uri, "stalled", _stalled(stall_timeout_s))
            if ended:
                raise SourceError(camera_id, uri, "ended", "the camera ended the stream")
            for picture in decoded:
                if isinstance(picture, av.VideoFrame):
                    last_ns = now_ns
                    yield Frame(camera_id, next(numbers), datetime.now(UTC), now_ns, Decoded(picture))
                    last_ns = time.monotonic_ns()  # what the consumer took is not the camera's silence
    finally:
        container.close()


def usb_frames(camera_id: str, uri: str, *, numbers: Iterator[int], stall_timeout_s: float = 5.0) -> Iterator[Frame]:
    """Yield frames of a USB camera (V4L2) until it is lost; never returns normally.

    Raises SourceError: "unreachable" (no such device, no permission, in use) or "stalled".
    """
    device = Path(f"/dev/video{usb_index(uri)}")
    if not device.exists():
        raise SourceError(camera_id, uri, "unreachable", f"{device} does not exist; is the camera plugged in?")
    if not os.access(device, os.R_OK | os.W_OK):
        raise SourceError(camera_id, uri, "unreachable", f"no permission for {device} (group video)")
    capture = cv2.VideoCapture(usb_index(uri), cv2.CAP_V4L2)
    try:
        if not capture.isOpened():
            raise SourceError(camera_id, uri, "unreachable", f"{device} is in use or is no camera")
        # Cameras deliver 720p at full rate only as MJPG; raw YUYV fills a USB 2 bus at 10 frames a second.
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, 1280)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, 720)
        capture.set(cv2.CAP_PROP_READ_TIMEOUT_MSEC, stall_timeout_s * 1000)
        last_ns = time.monotonic_ns()
        while True:
            good, image = capture.read()
            now_ns = time.monotonic_ns()
            if good and image is not None:
                last_ns = now_ns
                yield Frame(camera_id, next(numbers), datetime.now(UTC), now_ns, image.astype(np.uint8, copy=False))
            elif not device.exists():
                raise SourceError(camera_id, uri, "ended", f"{device} was unplugged")
            elif now_ns - last_ns > stall_timeout_s * 1e9:
                raise SourceError(camera_id, uri, "stalled", _stalled(stall_timeout_s))
            else:
                time.sleep(0.05)  # a failed read returns at once; do not spin until the stall is certain
    finally:
        capture.release()


def frame_numbers() -> Iterator[int]:
    """Return the numbers of one camera's frames, from 1."""
    return itertools.count(1)


def _stalled(timeout_s: float) -> str:
    return f"no frame for {timeout_s:g} s"
