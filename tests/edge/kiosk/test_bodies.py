"""What strangers may send to the kiosk: no more than a form, and a picture only once they are signed in."""

import socket
from collections.abc import Callable

import httpx

from edge.kiosk.bodies import MAX_FORM_BYTES
from sync.web.server import PageServer
from tests.conftest import form_token

Visitor = Callable[..., httpx.Client]
PICTURE = b'--x\r\nContent-Disposition: form-data; name="picture"; filename="a"\r\n\r\n'


def answered(kiosk: PageServer, path: str, kind: str, size: int) -> bytes:
    """What a stranger hears who sends `size` bytes to begin with, and says that far more will come."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: 900000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", kiosk.port), timeout=20) as connection:
        connection.sendall(head.encode() + PICTURE + b"a" * size)
        return connection.recv(64)


def test_a_stranger_s_long_body_is_refused_before_it_is_read(kiosk: PageServer) -> None:
    for path, kind in (
        ("/login", "application/x-www-form-urlencoded"),
        ("/code/read", "multipart/form-data; boundary=x"),
    ):
        assert answered(kiosk, path, kind, MAX_FORM_BYTES).startswith(b"HTTP/1.1 413"), path


def test_a_picture_as_large_as_a_tablet_makes_them_is_read_for_who_is_signed_in(visitor: Visitor) -> None:
    picture, li = {"picture": ("a.jpg", bytes(2 * MAX_FORM_BYTES))}, visitor("li")
    form = {"csrf_token": form_token(li, "/")}
    assert li.post("/code/read", data=form, files=picture).status_code == 204, "read, and no code in it"
