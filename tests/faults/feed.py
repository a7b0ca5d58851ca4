"""Decided visits without a camera: what stands in for cameras and networks in a node under test.

Everything behind them is the node's own: Watch, Visits, Vault, Gallery, Ledger, UplinkThread, jobs and wiring.
A visitor is a number; it rides in the frame's pixels and the chip's, and is the seed of that person's vector.
"""

import queue
import random
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from camera.pipeline import Arrival, Ended, Step, Vitals
from camera.quality import BestShot
from camera.slot import Slots
from camera.source import Frame
from camera.worker import CameraEvent
from models.calibration import CAUTIOUS
from models.faces import Face, Float32, Image, Region
from models.pack import Pack

DIM = 128
PACK_ID = "feed-128"
RETURNING = 0.3  # of all visitors
CHIP_PX = 4
SOURCE = "rtsp://127.0.0.1:9/door"  # discard's port: nobody ever connects to it


class FeedWorker:
    """Stands for a CameraWorker: one frame a visitor at a rate, until stopped. At rate 0 it ends at once."""

    def __init__(
        self,
        camera_id: str,
        _uri: str,
        slots: Slots,
        events: "queue.SimpleQueue[CameraEvent]",
        *,
        rate_per_s: float,
        seed: int,
        **_times: Any,
    ) -> None:
        self._camera_id = camera_id
        self._slots = slots
        self._events = events
        self._pause_s = 1.0 / rate_per_s if rate_per_s else None
        self._rng = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, wait_s: float = 2.0) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(wait_s)

    def _run(self) -> None:
        known: list[int] = []
        number = 0
        self._events.put(CameraEvent(self._camera_id, "up", datetime.now(UTC)))
        if self._pause_s is None:
            self._events.put(CameraEvent(self._camera_id, "ended", datetime.now(UTC)))
            return
        due_s = time.monotonic()
        while not self._stop.wait(max(0.0, due_s - time.monotonic())):
            due_s = max(due_s + self._pause_s, time.monotonic() - 1.0)
            if known and self._rng.random() < RETURNING:
                person = self._rng.choice(known)
            else:
                person = self._rng.getrandbits(60)
                known = [*known[-200:], person]
            number += 1
            image = np.zeros((4, 4, 3), np.uint8)
            image.reshape(-1)[:8] = np.frombuffer(person.to_bytes(8, "big"), np.uint8)
            self._slots.replace(Frame(self._camera_id, number, datetime.now(UTC), time.monotonic_ns(), image))


class FeedPipeline:
    """Stands for a Pipeline: every frame is an arrival, already decided on; it has left by the next one."""

    view = None  # nothing is ever seen of a place

    def __init__(self, camera_id: str, *_networks: object, **_watched: object) -> None:
        self._camera_id = camera_id
        self._before: tuple[int, datetime] | None = None
        self._frames = 0

    def step(self, frame: Frame) -> Step:
        self._frames += 1
        person = int.from_bytes(frame.image.reshape(-1)[:8].tobytes(), "big")
        chip = np.ascontiguousarray(frame.image[:CHIP_PX, :CHIP_PX])
        at = frame.captured_at
        shots = tuple(
            BestShot(self._camera_id, frame.number, at - timedelta(milliseconds=200 * i), chip, jpeg(person), 0.9, 90.0)
            for i in range(3)
        )
        ended = self.finish().ended
        self._before = (frame.number, at)
        return Step((Arrival(self._camera_id, frame.number, at, shots, frozenset()),), (frame.number,), ended)

    def finish(self) -> Step:
        before, self._before = self._before, None
        return Step(ended=(Ended(self._camera_id, *before),) if before else ())

    def vitals(self, _now_ns: int | None = None) -> Vitals:
        frames, self._frames = self._frames, 0
        return Vitals(frames, 0, 500_000, 500_000)


class FeedDetector:
    """Stands for a Detector; nobody asks it, every frame is decided on already."""

    def detect(self, _image: Image, _region: Region | None = None) -> list[Face]:
        return []


class FeedEmbedder:
    """Stands for an Embedder: a chip's number is the seed of its vector."""

    chip_px = CHIP_PX
    dim = DIM

    def align(self, image: Image, _face: Face) -> Image:
        return np.ascontiguousarray(image[:CHIP_PX, :CHIP_PX])

    def embed(self, chips: Image) -> Float32:
        return np.stack([vector(int.from_bytes(chip.reshape(-1)[:8].tobytes(), "big")) for chip in chips])


def vector(person: int) -> NDArray[np.float32]:
    """A person's template: (DIM,) float32, L2 norm 1, the same each time; strangers' lie near 0 to each other."""
    drawn = np.random.default_rng(person).standard_normal(DIM)
    return (drawn / np.linalg.norm(drawn)).astype(np.float32)


def jpeg(person: int) -> bytes:
    """A small picture that no other person shares."""
    noise = np.random.default_rng(person).integers(0, 256, (24, 24, 3), np.uint8)
    done, data = cv2.imencode(".jpg", noise)
    assert done
    return data.tobytes()


def pack() -> Pack:
    """The pack that goes with it."""
    return Pack(PACK_ID, "feed", "none", FeedDetector(), FeedEmbedder(), CAUTIOUS)
