"""One slot a camera between the threads that read and the loop that analyses."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from camera import CameraError
from camera.source import Frame


class Slots:
    """Holds at most one frame a camera: the newest wins and what it replaces is counted, or, lossless, `put` waits.

    Newest wins: `take` serves the camera that has waited longest for its turn, so that a fast camera starves nobody.
    Lossless: `take` returns the waiting frame with the earliest time, and no camera rests.
    """

    def __init__(self, camera_ids: Iterable[str], lossless: bool = False) -> None:
        self._changed = threading.Condition()
        self._frames: dict[str, Frame | None] = dict.fromkeys(camera_ids)
        self._dropped = dict.fromkeys(self._frames, 0)
        self._turn = dict.fromkeys(self._frames, 0)
        self._turns = 0
        self._rest_until_ns = dict.fromkeys(self._frames, 0)
        self._lossless = lossless
        self._closed = False

    def put(self, frame: Frame, wait_s: float | None = None) -> bool:
        """Offer a frame and return whether it is in; lossless waits for an empty slot, at most wait_s where given.

        Always False once closed.
        """
        with self._changed:
            self._check(frame)
            if self._lossless:
                free = self._changed.wait_for(
                    lambda: self._closed or self._frames[frame.camera_id] is None, timeout=wait_s
                )
                if not free:
                    return False
            return self._place(frame)

    def replace(self, frame: Frame) -> bool:
        """Place a frame of a source that cannot wait, in either mode; False once closed."""
        with self._changed:
            self._check(frame)
            return self._place(frame)

    def take(self, timeout_s: float) -> Frame | None:
        """Return a waiting frame, or None after timeout_s or when closed and empty."""
        deadline_ns = time.monotonic_ns() + int(timeout_s * 1e9)
        with self._changed:
            while True:
                now_ns = time.monotonic_ns()
                waiting = [frame for frame in self._frames.values() if frame is not None and self._awake(frame, now_ns)]
                if waiting:
                    break
                if self._closed or now_ns >= deadline_ns:
                    return None
                wakes = [until_ns for until_ns in self._rest_until_ns.values() if until_ns > now_ns]
                self._changed.wait((min([deadline_ns, *wakes]) - now_ns) / 1e9)
            if self._lossless:
                chosen = min(waiting, key=lambda frame: frame.captured_ns)
            else:
                chosen = min(waiting, key=lambda frame: self._turn[frame.camera_id])
            self._turns += 1
            self._turn[chosen.camera_id] = self._turns
            self._frames[chosen.camera_id] = None
            self._changed.notify_all()
            return chosen

    def rest(self, camera_id: str, until_ns: int) -> None:
        """Hand out no frame of a camera before `until_ns` (monotonic); those it passes over are not counted."""
        with self._changed:
            if not self._lossless:
                self._rest_until_ns[camera_id] = until_ns

    def _awake(self, frame: Frame, now_ns: int) -> bool:
        return self._closed or now_ns >= self._rest_until_ns[frame.camera_id]

    def _check(self, frame: Frame) -> None:
        if frame.camera_id not in self._frames:
            raise CameraError(f"camera {frame.camera_id}: has no slot")

    def _place(self, frame: Frame) -> bool:
        if self._closed:
            return False
        awake = self._awake(frame, time.monotonic_ns())
        if self._frames[frame.camera_id] is not None and awake:
            self._dropped[frame.camera_id] += 1
        self._frames[frame.camera_id] = frame
        if awake:  # whoever takes wakes by itself when the rest is over
            self._changed.notify_all()
        return True

    @property
    def closed(self) -> bool:
        """Whether no frame gets in any more."""
        return self._closed

    def empty(self) -> bool:
        """Return whether no frame is waiting."""
        with self._changed:
            return all(frame is None for frame in self._frames.values())

    def dropped(self, camera_id: str) -> int:
        """Return how many frames of a camera were replaced before anybody took them."""
        with self._changed:
            return self._dropped[camera_id]

    def close(self) -> None:
        """Let every waiting `put` and `take` go; frames already here can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
