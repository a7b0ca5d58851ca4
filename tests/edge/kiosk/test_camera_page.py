"""The manager looks at a camera live; nobody else does."""

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing

import httpx
import pytest

from camera.pipeline import Step
from edge.cameras.live_view import LiveView
from edge.kiosk import film
from tests.conftest import form_token
from tests.edge.cameras.test_live_view import alone, frame
from tests.edge.kiosk.conftest import Desk, until

Visitor = Callable[..., httpx.Client]
PATH = "/cameras/entrance/live.mjpeg"


@pytest.fixture
def entrance(desk: Desk) -> Iterator[None]:
    """A node whose camera at the entrance runs."""
    view = LiveView(desk.home.database.resolve().parent)
    view.start()
    over = threading.Event()

    def run() -> None:
        number = 0
        while not over.wait(0.05):
            number += 1
            view.follow(frame(number, "entrance"), Step())

    camera = threading.Thread(target=run)
    camera.start()
    yield
    over.set()
    camera.join()
    view.stop()


@pytest.mark.usefixtures("entrance")
def test_a_manager_sees_the_camera_move_until_signed_out(visitor: Visitor) -> None:
    client, pictures = visitor("wang"), 0
    token = form_token(client, "/")
    with client.stream("GET", PATH) as moving:
        assert moving.headers["content-type"] == "multipart/x-mixed-replace; boundary=picture"
        for chunk in moving.iter_raw():
            pictures += chunk.count(b"Content-Type: image/jpeg")
            if pictures == 3:
                assert client.post("/logout", data={"csrf_token": token}).status_code == 303
    assert 3 <= pictures < 40  # the stream has ended by itself


@pytest.mark.usefixtures("entrance")
def test_nobody_else_sees_it(visitor: Visitor) -> None:
    assert visitor().get(PATH).status_code == 401
    client = visitor("li")
    assert client.get(PATH).status_code == 403
    assert client.get("/cameras/entrance").status_code == 403
    assert visitor("wang").get("/cameras/none/live.mjpeg").status_code == 404


def test_a_picture_that_comes_long_after_the_end_of_a_session_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film, "_LOOK_S", 0.0)
    signed_in = True

    async def slow() -> AsyncIterator[bytes]:
        nonlocal signed_in
        yield b"the first"
        signed_in = False
        yield b"the next"

    async def sent() -> bytes:
        answer = await film.moving(slow(), lambda: signed_in)
        return b"".join([part async for part in answer.body_iterator])  # type: ignore[attr-defined]

    assert b"the first" in (all_of_it := alone(sent()))
    assert b"the next" not in all_of_it


def test_without_a_node_the_film_says_so(visitor: Visitor) -> None:
    client = visitor("wang")
    assert client.get(PATH).status_code == 503
    assert "采集未运行" in client.get("/cameras/entrance").text
    assert 'href="/cameras/entrance"' in client.get("/fragments/node").text


def test_a_camera_that_only_the_command_line_named_has_its_page(visitor: Visitor, desk: Desk) -> None:
    client = visitor("wang")
    assert client.get("/cameras/film").status_code == 404
    with closing(desk.home.open_ledger("node")) as ledger:
        ledger.append("camera.up", {"camera": "film"})
    until(lambda: 'href="/cameras/film"' in client.get("/fragments/node").text)
    assert client.get("/cameras/film").status_code == 200
