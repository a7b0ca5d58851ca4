"""What every folder of tests shares."""

import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_BESIDE = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real faces, footage and models beside the checkout; the test skips where it is absent."""
    found = Path(os.environ.get("FIRSTVISIT_SHARED", _BESIDE))
    if not found.is_dir():
        pytest.skip(f"no shared data at {found}")
    return found


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """Debian's Chromium, headless; the test skips where it is not installed."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("no chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api")
    quiet = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(
            executable_path=found, args=[*quiet.split(), "--disable-component-update", "--disable-sync"]
        )
        yield chromium
        chromium.close()


@pytest.fixture
def sign_in() -> Callable[..., httpx.Response]:
    """Signs a client in by the form, as a browser on that page would."""

    def sign_in(client: httpx.Client, name: str, password: str) -> httpx.Response:
        return client.post("/login", data={"csrf_token": form_token(client), "name": name, "password": password})

    return sign_in


def answered_early(port: int, path: str, kind: str, size: int) -> bytes:
    """What a stranger hears who sends `size` bytes of a picture to begin with, and says that far more will come."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: 900000000\r\n\r\n"
    part = b'--x\r\nContent-Disposition: form-data; name="picture"; filename="a"\r\n\r\n'
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(head.encode() + part + b"a" * size)
        return connection.recv(64)


def form_token(client: httpx.Client, path: str = "/login") -> str:
    """The token in a page's form."""
    found = re.search(r'name="csrf_token" value="([^"]+)"', client.get(path).text)
    assert found, f"no form on {path}"
    return found[1]
