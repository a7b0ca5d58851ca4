"""Video files and image folders."""

import os
import resource
import struct
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest

from camera.recorded import recorded_frames
from camera.source import Frame, SourceError

START = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
START_NS = 1_000_000_000_000


def read(path: Path, **options: float) -> list[Frame]:
    return list(recorded_frames("door", str(path), run_started_at=START, run_started_ns=START_NS, **options))


def test_a_video_gives_every_frame_in_order_with_its_pixels(grey_video: Path) -> None:
    frames = read(grey_video)
    assert [frame.number for frame in frames] == list(range(1, 21))
    for frame in frames:
        assert frame.image.shape == (96, 128, 3)
        assert abs(float(frame.image.mean()) - 10 * frame.number) < 5


def test_the_time_of_a_video_frame_is_the_start_of_the_run_plus_its_time_in_the_file(grey_video: Path) -> None:
    for frame in read(grey_video):
        seconds = (frame.number - 1) / 25
        assert abs(frame.captured_ns - START_NS - seconds * 1e9) < 1e6
        assert abs(frame.captured_at - START - timedelta(seconds=seconds)) < timedelta(milliseconds=1)


def test_a_gif_is_a_video_too(tmp_path: Path) -> None:
    pil = pytest.importorskip("PIL.Image")
    images = [pil.fromarray(np.full((40, 60, 3), 60 * n, np.uint8)) for n in range(1, 4)]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=80, loop=0)
    frames = read(tmp_path / "a.gif")
    assert [round(float(frame.image.mean()), -1) for frame in frames] == [60, 120, 180]
    assert round((frames[1].captured_ns - frames[0].captured_ns) / 1e6) == 80


def test_a_folder_gives_its_images_as_people_count_ten_a_second(tmp_path: Path) -> None:
    for number in (10, 9, 1, 2):
        cv2.imwrite(str(tmp_path / f"frame{number}.png"), np.full((20, 30, 3), number, np.uint8))
    (tmp_path / "notes.txt").write_text("not an image")
    frames = read(tmp_path)
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [1, 2, 9, 10]
    assert [frame.captured_ns - START_NS for frame in frames] == [0, 100_000_000, 200_000_000, 300_000_000]
    assert [frame.captured_ns - START_NS for frame in read(tmp_path, folder_frames_per_s=2.0)][:2] == [0, 500_000_000]


def test_a_damaged_video_gives_what_can_be_decoded(scene_video: Path, tmp_path: Path) -> None:
    data = bytearray(scene_video.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = b"\xff" * 400
    (tmp_path / "damaged.mp4").write_bytes(data)
    assert 5 < len(read(tmp_path / "damaged.mp4")) <= 50


@pytest.mark.parametrize("case", ["missing", "text", "empty", "sound", "no images", "bad image", "header only"])
def test_an_unreadable_source_is_named_in_one_line(case: str, tmp_path: Path, scene_video: Path) -> None:
    path = tmp_path / "clip.mp4"
    if case == "text":
        path.write_text("this is no video" * 100)
    elif case == "empty":
        path.touch()
    elif case == "sound":
        _write_sound(path)
    elif case == "no images":
        path.mkdir()
    elif case == "bad image":
        path.mkdir()
        (path / "a.jpg").write_bytes(b"\xff\xd8nothing")
    elif case == "header only":
        path.write_bytes(scene_video.read_bytes()[:200])
    with pytest.raises(SourceError) as caught:
        read(path)
    assert caught.value.reason == "unreadable"
    assert str(caught.value).startswith("camera door: ")
    assert "clip.mp4" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", ["clip.mp4", "folder/1.png"])
def test_what_is_no_file_is_named_and_waited_for_by_nobody(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / name)
    with pytest.raises(SourceError, match="a file") as caught:
        read((tmp_path / name) if name == "clip.mp4" else tmp_path / "folder")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("as_video", [False, True])
def test_a_picture_that_claims_more_than_memory_is_refused_unread(as_video: bool, tmp_path: Path) -> None:
    side = 30_000
    (tmp_path / "1.png").write_bytes(_black_png(side, rows=1000))
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SourceError) as caught:
        read(tmp_path / "1.png" if as_video else tmp_path)
    assert caught.value.reason == "unreadable"
    assert "1.png" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 300_000


def test_a_video_filmed_on_its_side_comes_out_upright(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    image = np.zeros((64, 128, 3), np.uint8)
    image[:, 96:] = 255  # bright on the right
    path = write_video(tmp_path / "phone.mp4", [image] * 3)
    data = path.read_bytes()
    at = data.index(b"tkhd") + 4 + 40  # version 0 of ISO 14496-12 8.3.2: the matrix follows 40 bytes of fields
    identity = b"\x00\x01\x00\x00" + bytes(12) + b"\x00\x01\x00\x00" + bytes(12) + b"\x40\x00\x00\x00"
    assert data[at : at + 36] == identity
    # a = 0, b = 1, c = -1, d = 0: players turn the picture a quarter clockwise
    turned = bytes(4) + b"\x00\x01\x00\x00" + bytes(4) + b"\xff\xff\x00\x00" + bytes(16) + b"\x40\x00\x00\x00"
    path.write_bytes(data[:at] + turned + data[at + 36 :])
    upright = read(path)[0].image
    assert upright.shape == (128, 64, 3)
    assert upright[-20:].mean() > 240  # the right side is now below
    assert upright[:20].mean() < 15


def _write_sound(path: Path) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _black_png(side: int, rows: int) -> bytes:
    """A square picture of which `rows` rows are there."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes((1 + 3 * side) * rows), 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
