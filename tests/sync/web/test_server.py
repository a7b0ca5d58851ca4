"""Which requests reach an application that is really served."""

import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request

from sync.web.server import PageServer

Serve = Callable[..., PageServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves an application that answers with whom and what it believes to speak to."""
    servers: list[PageServer] = []
    app = FastAPI()

    @app.get("/")
    def whom(request: Request) -> dict[str, Any]:
        return {"address": request.client.host if request.client else None, "scheme": request.url.scheme}

    def serve(public_url: str | None = None) -> PageServer:
        servers.append(PageServer(app, "127.0.0.1", 0, lambda: None, public_url))
        servers[-1].start()
        return servers[-1]

    yield serve
    for server in servers:
        server.stop()


def _status(server: PageServer, host: str) -> int:
    return httpx.get(server.url, headers={"host": host}).status_code


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8500", "localhost:8500", "LocalHost", "192.168.1.9", "[::1]:80"]
)
def test_this_machine_answers_to_its_addresses(serve: Serve, host: str) -> None:
    assert _status(serve(), host) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8500",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "127.0.0.1@evil.example",
        "127.0.0.1:x",
        "[",
        "[::1",
        "[x]",
        ":",
        "",
    ],
)
def test_a_name_that_is_not_ours_is_refused(serve: Serve, host: str) -> None:
    assert _status(serve(), host) in (400, 421)


def test_a_name_is_answered_to_once_it_is_configured(serve: Serve) -> None:
    assert _status(serve(), "desk.office.example") == 421
    named = serve("http://Desk.office.example:8500")
    assert _status(named, "desk.office.example:8500") == 200
    assert _status(named, "evil.example") == 421


def test_a_client_is_believed_about_its_address_only_behind_a_configured_proxy(serve: Serve) -> None:
    claim = {"x-forwarded-for": "198.51.100.9", "x-forwarded-proto": "https"}
    for url in (None, "http://desk.office.example"):
        assert httpx.get(serve(url).url, headers=claim).json() == {"address": "127.0.0.1", "scheme": "http"}
    proxied = httpx.get(serve("https://desk.office.example").url, headers=claim)
    assert proxied.json() == {"address": "198.51.100.9", "scheme": "https"}


SERVED = textwrap.dedent(
    """
    import gc
    from fastapi import FastAPI
    from sync.web.server import PageServer

    app = FastAPI()
    app.state.loaded = [{number} for number in range(50_000)]  # as arrivals of the last days are

    @app.get("/")
    def looked_through():
        return len(gc.get_objects())

    server = PageServer(app, "127.0.0.1", 0, lambda: None)
    print(server.url, flush=True)
    server.run()
    """
)


def test_what_a_server_has_loaded_is_not_looked_through_while_it_serves() -> None:
    with subprocess.Popen([sys.executable, "-c", SERVED], stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            url = child.stdout.readline().strip()
            ready = httpx.Client(base_url=url, transport=httpx.HTTPTransport(retries=20), timeout=30)
            until(lambda: ready.get("/").json() < 20_000)
        finally:
            child.send_signal(signal.SIGTERM)


def until(true: Callable[[], bool], within_s: float = 30) -> None:
    deadline_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline_s
        time.sleep(0.1)
