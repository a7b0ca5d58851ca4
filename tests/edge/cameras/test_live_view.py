"""The live view: drawn for whoever watches, for nobody else, and in no file."""

import asyncio
import os
import shutil
import socket
import stat
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import pytest

from camera.pipeline import Ended, Step
from camera.source import Frame
from camera.tracker import Sighting
from edge import EdgeError
from edge.cameras.live_view import SOCKET, WATCHERS, WIDTH_PX, LiveView, pictures
from models.faces import Face
from tests.edge.visiting import T0, Node, after, like, person

T = TypeVar("T")
GREY = np.full((1080, 1920, 3), 90, np.uint8)
FACE = Face(np.array([400, 300, 600, 560], np.float32), np.zeros((5, 2), np.float32), 0.9)


def frame(number: int, camera_id: str = "door") -> Frame:
    return Frame(camera_id, number, datetime(2026, 7, 1, tzinfo=UTC), number * 40_000_000, GREY)


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[tuple[Path, LiveView]]:
    """A view whose camera runs as the loop would; in a folder deeper than a socket's name may be."""
    folder = tmp_path / ("deep" * 30)
    folder.mkdir()
    view = LiveView(folder)
    view.start()
    over = threading.Event()

    def run() -> None:
        number = 0
        while not over.wait(0.04):
            number += 1
            view.follow(frame(number), Step(sightings=(Sighting(7, FACE, 0),)))

    camera = threading.Thread(target=run)
    camera.start()
    yield folder, view
    over.set()
    camera.join()
    view.stop()


def alone(film: Coroutine[Any, Any, T]) -> T:
    """Run on a thread of its own: where a browser has been driven before, this one has a loop already."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, film).result()


async def first(folder: Path, camera_id: str, count: int) -> list[bytes]:
    taken: list[bytes] = []
    async for picture in pictures(folder, camera_id):
        taken.append(picture)
        if len(taken) == count:
            break
    return taken


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_a_watcher_is_sent_pictures_with_boxes_around_whoever_is_tracked(shown: tuple[Path, LiveView]) -> None:
    folder, _ = shown
    sent = alone(first(folder, "door", 3))
    assert len(sent) == 3
    picture = cv2.imdecode(np.frombuffer(sent[0], np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (540, WIDTH_PX, 3)
    assert abs(int(picture[280, 200].mean()) - 160) < 30  # the left side of the box, in the colour of the undecided
    assert abs(int(picture[100, 800].mean()) - 90) < 10


def test_nothing_is_kept_of_a_camera_once_nobody_watches(shown: tuple[Path, LiveView]) -> None:
    folder, view = shown
    alone(first(folder, "door", 1))
    until(lambda: not view._watched)
    assert view._pictures == {}
    assert [path.name for path in folder.iterdir()] == [SOCKET]


def test_what_was_decided_of_a_track_is_forgotten_with_it(tmp_path: Path) -> None:
    view = LiveView(tmp_path)
    view.decided("door", 7, None)
    view.ended(Ended("door", 7, datetime(2026, 7, 1, tzinfo=UTC)))
    assert view._labels == {}


def test_what_stands_at_a_face_is_a_sign_in_no_language_and_the_page_has_each(tmp_path: Path, node: Node) -> None:
    view = LiveView(tmp_path)
    view.decided("door", 1, node.arrive(person(0), 1, T0))
    view.decided("door", 2, node.arrive(like(person(0), 0.4), 2, after(60)))
    view.decided("door", 3, None)
    assert [view._labels["door", track][0] for track in (1, 2, 3)] == ["+", "? 0.40", "o"]
    page = (resources.files("edge") / "kiosk" / "templates" / "camera.html").read_text(encoding="utf-8")
    for key, sign in (("first", "+"), ("return", "="), ("unsure", "?"), ("seen", "o")):
        assert f'<span class="key {key}">{sign} ' in page


def test_more_watchers_than_there_are_places_are_turned_away(shown: tuple[Path, LiveView]) -> None:
    folder, view = shown

    async def crowd() -> list[int]:
        watching = [pictures(folder, "door") for _ in range(WATCHERS)]
        for film in watching:
            await anext(film)
        refused = await first(folder, "door", 1)
        for film in watching:
            await film.aclose()  # type: ignore[attr-defined]
        return [len(refused)]

    assert alone(crowd()) == [0]
    until(lambda: not view._watched)


def test_whoever_says_nothing_takes_a_place_and_no_more_threads_than_there_are_places(tmp_path: Path) -> None:
    view = LiveView(tmp_path)
    view.start()
    silent = [socket.socket(socket.AF_UNIX) for _ in range(3 * WATCHERS)]
    try:
        for one in silent:
            one.connect(str(tmp_path / SOCKET))
            one.settimeout(2)
        turned_away = [one.recv(1) == b"" for one in silent[WATCHERS:]]
    finally:
        for one in silent:
            one.close()
        view.stop()
    assert all(turned_away)


@pytest.mark.parametrize(("umask", "mode"), [(0o007, 0o660), (0o077, 0o600)])
def test_the_socket_gets_its_mode_with_its_name_and_never_by_it(tmp_path: Path, umask: int, mode: int) -> None:
    # by its name the mode of a file would be changed that somebody has put in its place meanwhile
    view = LiveView(tmp_path)
    before = os.umask(umask)
    try:
        view.start()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / SOCKET).stat().st_mode) == mode
    view.stop()


def test_without_a_node_there_is_no_film(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="no node is there"):
        alone(first(tmp_path, "door", 1))


def test_a_folder_that_allows_no_socket_costs_only_the_view(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    view = LiveView(folder)
    shutil.rmtree(folder)
    view.start()
    assert "no live view" in caplog.text
    view.follow(frame(1), Step())
    view.stop()
