"""Serves an application on one address, says so to systemd, and stops within seconds, open streams or not."""

import asyncio
import gc
import logging
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

import sdnotify
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from sync import SyncError
from sync.transport.server_pair import ServerPair
from sync.transport.tls import TlsFiles, utc_now
from sync.web.crowd import Listener
from sync.web.hosts import KnownHosts

_log = logging.getLogger(__name__)
_WATCHDOG_S = 10
_GRACE_S = 3


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # signals are PageServer's: uvicorn would raise them again, and a clean stop would end as a kill


class _PeerProtocol(H11Protocol):
    """Tells the application which certificate the other side has shown: `request.state.peer_certificate`, DER."""

    def __init__(self, listener: Listener, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._listener = listener

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        super().connection_made(transport)
        secured = transport.get_extra_info("ssl_object")
        shown = secured.getpeercert(binary_form=True) if secured is not None else None
        if shown is not None:
            self.app_state = {**self.app_state, "peer_certificate": shown}
            self._listener.known(transport.get_extra_info("socket").fileno(), shown)


class PageServer:
    """One application on one address; on_stop ends what would hold its connections open (its event streams)."""

    def __init__(
        self,
        app: FastAPI,
        host: str,
        port: int,
        on_stop: Callable[[], None],
        public_url: str | None = None,
        tls: TlsFiles | None = None,
        pair: ServerPair | None = None,
    ) -> None:
        """Take the address at once; port 0 takes a free one. Raises SyncError where it cannot be had.

        public_url: what people type, where that is not this address: its name is answered to, and where it is https,
        a proxy on this machine is believed about whom it speaks for. Nobody else is. tls: serve with this certificate
        and no proxy; a client may show one of the same authority, which the application finds in `request.state`.
        pair: serve with this certificate, which is checked first, to people's browsers, and under its names.
        """
        public = urlsplit(public_url or "")
        names: tuple[str, ...] = ()
        if pair is not None:
            pair.check(utc_now())
            names = pair.names()
        self._socket = _listen(host, port)
        secure: dict[str, Any] = {}
        if tls is not None:
            secure = {
                "ssl_certfile": tls.certificate,
                "ssl_keyfile": tls.key,
                "ssl_ca_certs": str(tls.ca),
                "ssl_cert_reqs": ssl.CERT_OPTIONAL,
                "http": partial(_PeerProtocol, self._socket),
            }
        elif pair is not None:
            secure = {"ssl_certfile": pair.certificate, "ssl_keyfile": pair.key}
        self.app = app
        self._on_stop = on_stop
        self.port: int = self._socket.getsockname()[1]
        self.url = f"{'https' if secure else 'http'}://{f'[{host}]' if ':' in host else host}:{self.port}"
        self._notifier: sdnotify.SystemdNotifier | None = None
        self._ready = threading.Event()
        self._server = _Server(
            uvicorn.Config(
                KnownHosts(app, (host, public.hostname or "", *names)),
                proxy_headers=public.scheme == "https" and not secure,
                forwarded_allow_ips="127.0.0.1,::1",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=_GRACE_S,
                callback_notify=self._notify,
                timeout_notify=_WATCHDOG_S,
                **secure,
            )
        )
        self._thread: threading.Thread | None = None

    def run(self) -> None:
        """Serve in this, the main thread until SIGTERM or SIGINT, and tell systemd of it."""
        self._notifier = sdnotify.SystemdNotifier()

        def on_signal(number: int, _frame: FrameType | None) -> None:
            _log.info("pages stopping signal=%s", signal.Signals(number).name)
            self._ask_to_stop()

        before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            self._serve()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def start(self) -> None:
        """Serve in a thread of its own; returns once requests are answered. systemd is the caller's to tell."""
        self._thread = threading.Thread(target=self._serve, name="pages", daemon=True)
        self._thread.start()
        if not self._ready.wait(30):
            raise SyncError(f"{self.url}: the pages did not start")

    def stop(self) -> None:
        """End what `start` began, and wait for it."""
        self._ask_to_stop()
        if self._thread is not None:
            self._thread.join(2 * _GRACE_S)

    def take_up(self, tls: TlsFiles) -> None:
        """Show a certificate that was renewed to whoever connects from now on."""
        context = self._server.config.ssl
        if context is not None:
            context.load_cert_chain(tls.certificate, tls.key)

    def _serve(self) -> None:
        try:
            asyncio.run(self._server.serve(sockets=[self._socket]))
        finally:
            self._socket.close()

    def _ask_to_stop(self) -> None:
        self._tell("STOPPING=1")
        self._server.should_exit = True
        self._on_stop()

    async def _notify(self) -> None:
        if not self._ready.is_set():
            self._ready.set()
            _log.info("pages ready url=%s", self.url)
            self._tell("READY=1")
            if self._notifier is not None:
                keep_what_is_there()
        self._tell("WATCHDOG=1")

    def _tell(self, what: str) -> None:
        if self._notifier is not None:
            self._notifier.notify(what)


def keep_what_is_there() -> None:
    """Let Python's collector pass over all that a process has loaded by now; for one whose work is about to begin.

    Else every now and then a request waits until a hundred and eighty thousand objects have been looked through that
    stay for as long as the process does: 90 to 120 ms. # measured: edge/README.md
    """
    gc.collect()
    gc.freeze()


def _listen(host: str, port: int) -> Listener:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = Listener(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(128)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise SyncError(f"{host}:{port}: cannot listen there: {error.strerror or error}") from error
    return listener
