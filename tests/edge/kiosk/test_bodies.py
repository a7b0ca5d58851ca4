"""What strangers may send to the kiosk: no more than a form, and a picture only once they are signed in."""

from collections.abc import Callable

import httpx

from sync.web.bodies import MAX_FORM_BYTES
from sync.web.server import PageServer
from tests.conftest import answered_early, form_token

Visitor = Callable[..., httpx.Client]


def test_a_stranger_s_long_body_is_refused_before_it_is_read(kiosk: PageServer) -> None:
    for path, kind in (
        ("/login", "application/x-www-form-urlencoded"),
        ("/code/read", "multipart/form-data; boundary=x"),
    ):
        assert answered_early(kiosk.port, path, kind, MAX_FORM_BYTES).startswith(b"HTTP/1.1 413"), path


def test_a_picture_as_large_as_a_tablet_makes_them_is_read_for_who_is_signed_in(visitor: Visitor) -> None:
    picture, li = {"picture": ("a.jpg", bytes(2 * MAX_FORM_BYTES))}, visitor("li")
    form = {"csrf_token": form_token(li, "/")}
    assert li.post("/code/read", data=form, files=picture).status_code == 204, "read, and no code in it"
