"""A camera's thread, from real RTSP, files and missing devices."""

import logging
import os
import queue
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camera import CameraError
from camera.outage import DOWN_AFTER_S
from camera.slot import Slots
from camera.source import Frame
from camera.worker import CameraEvent, CameraWorker, probe

START = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


class Watch:
    """A running worker, what it said, and the frames it delivered (taken whenever asked)."""

    def __init__(self, uri: str, **options: Any) -> None:
        fast = options.pop("fast", False)
        self.slots = Slots(["door"], lossless=fast)
        self.queue: queue.SimpleQueue[CameraEvent] = queue.SimpleQueue()
        self.worker = CameraWorker("door", uri, self.slots, self.queue, fast=fast, run_started_at=START, **options)
        self.events: list[CameraEvent] = []
        self.frames: list[Frame] = []
        self.worker.start()

    def look(self) -> "Watch":
        while (frame := self.slots.take(0)) is not None:
            self.frames.append(frame)
        with suppress(queue.Empty):
            while True:
                self.events.append(self.queue.get_nowait())
        return self

    def said(self, *kinds: str) -> bool:
        return [event.kind for event in self.look().events] == list(kinds)


@pytest.fixture
def watch() -> Any:
    """A function that starts a worker; all are stopped with the test."""
    watches: list[Watch] = []

    def start(uri: str | Path, **options: Any) -> Watch:
        watches.append(Watch(str(uri), **options))
        return watches[-1]

    yield start
    for one in watches:
        one.slots.close()
        one.worker.stop()


def test_a_fast_file_is_delivered_whole_and_in_order(
    watch: Callable[..., Watch], grey_video: Path, wait_for: Callable[..., None]
) -> None:
    door = watch(grey_video, fast=True)
    wait_for(lambda: door.said("up", "ended") and door.slots.empty())
    assert [frame.number for frame in door.frames] == list(range(1, 21))
    assert door.slots.dropped("door") == 0
    assert [event.at for event in door.events] == [START, START + timedelta(seconds=19 / 25)]


def test_a_paced_file_takes_its_own_time_and_drops_what_nobody_takes(
    watch: Callable[..., Watch], scene_video: Path
) -> None:
    started_s = time.monotonic()
    door = watch(scene_video)
    assert door.worker.join(30)
    assert time.monotonic() - started_s >= 49 / 25 - 0.05
    door.look()
    assert [frame.number for frame in door.frames] == [50]
    assert door.slots.dropped("door") == 49


def test_an_unreadable_file_fails_with_the_reason(
    watch: Callable[..., Watch], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "clip.mp4").write_text("no video")
    door = watch(tmp_path / "clip.mp4")
    assert door.worker.join(30)
    assert door.said("failed")
    assert "clip.mp4" in door.events[0].message
    assert door.events[0].reason == "unreadable"
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []  # said once, by who hears it


def test_a_worker_whose_frames_nobody_takes_still_stops(
    watch: Callable[..., Watch], scene_video: Path, wait_for: Callable[..., None]
) -> None:
    door = watch(scene_video, fast=True)
    wait_for(lambda: not door.slots.empty())
    started_s = time.monotonic()
    door.worker.stop()
    assert door.worker.join(0)
    assert time.monotonic() - started_s < 5


def test_a_missing_usb_camera_is_down_and_named(
    watch: Callable[..., Watch], wait_for: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(CameraError, match="/dev/video217 does not exist"):
        probe("usb:217", 1, "door")
    started_s = time.monotonic()
    door = watch("usb:217")
    wait_for(lambda: door.said("down"))
    assert time.monotonic() - started_s >= DOWN_AFTER_S - 0.1
    assert door.events[0].reason == "unreachable"
    assert "/dev/video217 does not exist" in door.events[0].message
    lost = [record.levelno for record in caplog.records if "camera lost" in record.message]
    assert lost == [logging.DEBUG]  # not once an attempt; above DEBUG the event's hearer says it


def test_a_killed_rtsp_camera_goes_down_once_and_comes_up_again(
    watch: Callable[..., Watch],
    rtsp_server: Callable[..., Any],
    scene_video: Path,
    wait_for: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    server = rtsp_server(scene_video)
    door = watch(server.url)
    wait_for(lambda: door.said("up") and len(door.frames) >= 10)
    assert abs(door.frames[-1].captured_at - datetime.now(UTC)) < timedelta(seconds=30)
    server.kill()
    wait_for(lambda: door.said("up", "down"))
    assert door.events[1].reason in ("unreachable", "ended")
    before = len(door.frames)
    server.start()
    wait_for(lambda: door.said("up", "down", "up") and len(door.frames) > before + 5, timeout_s=60)
    numbers = [frame.number for frame in door.frames]
    assert numbers == sorted(set(numbers))  # numbering goes on over the reconnect
    assert len([line for line in caplog.messages if "camera has frames" in line]) == 2


def test_every_part_of_every_rtsp_picture_arrives(
    watch: Callable[..., Watch], rtsp_server: Callable[..., Any], tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    rng = np.random.default_rng(9)
    noise = rng.integers(100, 160, (480, 640, 3), dtype=np.uint8)
    clip = write_video(tmp_path / "noise.mp4", [np.roll(noise, 3 * number, axis=1) for number in range(50)])
    door = watch(rtsp_server(clip).url)
    deadline_s = time.monotonic() + 60
    while len(door.frames) < 40:
        assert time.monotonic() < deadline_s
        if (frame := door.slots.take(1)) is not None:
            door.frames.append(frame)
    means = np.array([[band.mean() for band in np.array_split(frame.image, 8)] for frame in door.frames])
    assert np.abs(means - 130).max() < 10  # x264 cuts these pictures into slices; each must be decoded


def test_a_camera_that_stands_still_is_told_from_one_that_is_gone(
    watch: Callable[..., Watch], rtsp_server: Callable[..., Any], scene_video: Path, wait_for: Callable[..., None]
) -> None:
    server = rtsp_server(scene_video)
    door = watch(server.url)
    wait_for(lambda: door.said("up"))
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        wait_for(lambda: door.said("up", "down"))
        assert door.events[1].reason == "stalled"
    finally:
        os.kill(server.process.pid, signal.SIGCONT)


@pytest.mark.parametrize("method", ["digest", "basic"])
def test_a_wrong_password_is_told_from_no_answer_and_is_written_nowhere(
    method: str,
    watch: Callable[..., Watch],
    rtsp_server: Callable[..., Any],
    scene_video: Path,
    wait_for: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    server = rtsp_server(scene_video, "--user", "admin", "--password", "r1ght/one", "--auth", method)
    address = server.url.removeprefix("rtsp://")
    with pytest.raises(CameraError, match="refuses this user or password") as caught:
        probe(f"rtsp://admin:wr0ng@{address}", 10, "door")
    assert caught.value.__cause__ is None
    door = watch(f"rtsp://admin:wr0ng@{address}")
    assert probe(f"rtsp://admin:r1ght%2Fone@{address}", 10).image.shape == (180, 320, 3)
    wait_for(lambda: door.said("down"))
    assert door.events[0].reason == "auth"
    said = caplog.text + str(caught.value) + repr(door.events)
    assert "wr0ng" not in said
    assert "r1ght" not in said
    server.kill()
    with pytest.raises(CameraError, match="connection refused"):
        probe(f"rtsp://admin:wr0ng@{address}", 10, "door")


def test_a_host_that_accepts_and_never_answers_does_not_hang_the_probe() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started_s = time.monotonic()
        with pytest.raises(CameraError, match="no answer"):
            probe(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/cam", 1.0)
        assert time.monotonic() - started_s < 10
