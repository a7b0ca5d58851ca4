"""One thread a camera: reads frames into its slot, reconnects, and says when the camera is down and up."""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
import traceback
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from camera.live import frame_numbers, rtsp_frames, usb_frames
from camera.outage import DOWN_AFTER_S, Outage
from camera.recorded import FOLDER_FRAMES_PER_S, recorded_frames
from camera.slot import Slots
from camera.source import Frame, Reason, SourceError, parse_uri

log = logging.getLogger(__name__)

STOP_WITHIN_S = 2.0
_BACKOFF_FIRST_S = 0.5
_BACKOFF_MOST_S = 10.0
# Cameras lock an address out for half an hour after five to ten wrong passwords.
_BACKOFF_AUTH_S = 60.0


@dataclass(frozen=True, slots=True)
class CameraEvent:
    """A change of a camera's state; reason is a code, and message says it in a line without credentials.

    up: first frame, or frames again after a down. down: no frame for DOWN_AFTER_S. ended: a file is finished (its
    last frame may still wait in its slot). failed: a file cannot be read. reason and message are "" for up and ended.
    """

    camera_id: str
    kind: Literal["up", "down", "ended", "failed"]
    at: datetime
    reason: Reason | Literal[""] = ""
    message: str = ""


class CameraWorker:
    """Reads one source until it ends (files) or until stopped (RTSP, USB: reconnects for ever, with jitter).

    fast: a file is read as fast as its slot is emptied instead of at its own pace. run_started_at with run_started_ns
    (monotonic) are the zero of file times. backoff_auth_s: pause after a wrong password.
    Raises CameraError where the URI names no known kind of source.
    """

    def __init__(
        self,
        camera_id: str,
        uri: str,
        slots: Slots,
        events: queue.SimpleQueue[CameraEvent],
        *,
        fast: bool,
        run_started_at: datetime,
        run_started_ns: int | None = None,
        folder_frames_per_s: float = FOLDER_FRAMES_PER_S,
        backoff_auth_s: float = _BACKOFF_AUTH_S,
    ) -> None:
        self.camera_id = camera_id
        self.kind = parse_uri(uri)
        self._uri = uri
        self._slots = slots
        self._events = events
        self._fast = fast
        self._run_started_at = run_started_at.astimezone(UTC)
        self._run_started_ns = time.monotonic_ns() if run_started_ns is None else run_started_ns
        self._folder_frames_per_s = folder_frames_per_s
        self._backoff_auth_s = backoff_auth_s
        self._stop = threading.Event()
        # A daemon, for a read blocked in the network returns only at its own timeout and must not hold up an exit.
        self._thread = threading.Thread(target=self._run, name=f"camera-{camera_id}", daemon=True)
        self._numbers = frame_numbers()
        self._outage = Outage(time.monotonic_ns())
        self._loss: SourceError | None = None  # why no frame comes now; a frame clears it
        self._told = False

    def start(self) -> None:
        """Start reading."""
        self._outage = Outage(time.monotonic_ns())
        self._thread.start()

    def stop(self, wait_s: float = STOP_WITHIN_S) -> None:
        """Ask the thread to end and wait for it, at most wait_s; 0 only asks."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(wait_s)

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for the thread to end; returns whether it has."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        if self.kind == "file":
            self._read_file()
        else:
            self._read_live()

    def _read_file(self) -> None:
        at = self._run_started_at
        try:
            for frame in recorded_frames(
                self.camera_id,
                self._uri,
                run_started_at=self._run_started_at,
                run_started_ns=self._run_started_ns,
                folder_frames_per_s=self._folder_frames_per_s,
            ):
                if not self._fast and self._stop.wait(max(0.0, (frame.captured_ns - time.monotonic_ns()) / 1e9)):
                    return
                at = frame.captured_at
                if frame.number == 1:
                    self._tell("up", at)
                while not self._slots.put(frame, wait_s=0.5):
                    if self._stop.is_set() or self._slots.closed:
                        return
                if self._stop.is_set():
                    return
        except SourceError as error:
            log.debug("camera failed camera=%s reason=%s: %s", self.camera_id, error.reason, error)
            self._tell("failed", at, error.reason, str(error))
            return
        except Exception as error:  # noqa: BLE001  a thread that dies silently is a camera nobody misses
            detail = f"internal error {_where(error)}"
            log.debug("camera failed camera=%s %s", self.camera_id, detail)
            self._tell("failed", at, "unreadable", f"camera {self.camera_id}: {detail}")
            return
        self._tell("ended", at)

    def _read_live(self) -> None:
        attempt = 0
        reason: Reason
        while not self._stop.is_set():
            try:
                for frame in self._live_frames():
                    self._returned(frame)
                    attempt = 0
                    if self._stop.is_set() or not self._slots.replace(frame):
                        return
            except SourceError as error:
                self._lost(error)
                reason = error.reason
            except Exception as error:  # noqa: BLE001  months unattended: whatever one frame did, the next may be good
                reason = "ended"
                self._lost(SourceError(self.camera_id, self._uri, reason, f"internal error {_where(error)}"))
            attempt += 1
            self._pause(self._backoff_s(attempt, reason))

    def _live_frames(self) -> Iterator[Frame]:
        if self.kind == "usb":
            return usb_frames(self.camera_id, self._uri, numbers=self._numbers, stall_timeout_s=DOWN_AFTER_S)
        return rtsp_frames(self.camera_id, self._uri, numbers=self._numbers, stall_timeout_s=DOWN_AFTER_S)

    def _backoff_s(self, attempt: int, reason: Reason) -> float:
        if reason == "auth":
            return random.uniform(0.8, 1.2) * self._backoff_auth_s
        return random.uniform(0.5, 1.0) * min(_BACKOFF_MOST_S, _BACKOFF_FIRST_S * 2.0 ** min(attempt, 10))

    def _pause(self, pause_s: float) -> None:
        """Wait out a backoff, waking when "down" falls due."""
        until_ns = time.monotonic_ns() + int(pause_s * 1e9)
        while not self._stop.is_set():
            now_ns = time.monotonic_ns()
            if self._loss is not None and self._outage.silence(now_ns):
                self._tell("down", datetime.now(UTC), self._loss.reason, str(self._loss))
            if now_ns >= until_ns:
                return
            due_ns = self._outage.down_due_ns()
            wake_ns = until_ns if due_ns is None else min(until_ns, max(due_ns, now_ns + 1_000_000))
            self._stop.wait((wake_ns - now_ns) / 1e9)

    def _lost(self, error: SourceError) -> None:
        if self._loss is None or error.reason != self._loss.reason:
            # Until the first event nobody knows the camera: whoever hears that event says what it holds.
            level = logging.WARNING if self._told else logging.DEBUG
            log.log(level, "camera lost camera=%s reason=%s: %s", self.camera_id, error.reason, error)
        self._loss = error

    def _returned(self, frame: Frame) -> None:
        is_news = self._outage.frame(frame.captured_ns)
        if is_news or self._loss is not None:
            log.info("camera has frames camera=%s size=%dx%d", self.camera_id, *frame.image.shape[1::-1])
        if is_news:
            self._tell("up", frame.captured_at)
        self._loss = None

    def _tell(
        self,
        kind: Literal["up", "down", "ended", "failed"],
        at: datetime,
        reason: Reason | Literal[""] = "",
        message: str = "",
    ) -> None:
        self._told = True
        self._events.put(CameraEvent(self.camera_id, kind, at, reason, message))


@contextmanager
def watching(uri: str, timeout_s: float, camera_id: str) -> Iterator[Iterator[Frame]]:
    """Open any source for the length of a block, which reads its frames and sees its first loss as SourceError.

    Raises CameraError in one line without credentials: unknown kind of source, wrong password, no answer within
    timeout_s, no such device, unreadable file.
    """
    kind = parse_uri(uri)
    now_ns = time.monotonic_ns()
    if kind == "file":
        frames = recorded_frames(camera_id, uri, run_started_at=datetime.now(UTC), run_started_ns=now_ns)
    elif kind == "usb":
        frames = usb_frames(camera_id, uri, numbers=frame_numbers(), stall_timeout_s=timeout_s)
    else:
        frames = rtsp_frames(
            camera_id, uri, numbers=frame_numbers(), open_timeout_s=timeout_s, stall_timeout_s=timeout_s
        )
    try:
        yield frames
    finally:
        if isinstance(frames, Generator):
            frames.close()


def probe(uri: str, timeout_s: float, camera_id: str = "probe") -> Frame:
    """Open a source, return its first frame and close it again; raises CameraError as `watching` does."""
    with watching(uri, timeout_s, camera_id) as frames:
        return next(frames)


def _where(error: Exception) -> str:
    """Name an unexpected error by type and line; its message may hold a URL with a password."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    return type(error).__name__ + "".join(f" at {Path(entry.filename).name}:{entry.lineno}" for entry in last)
