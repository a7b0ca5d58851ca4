"""Keeps central's own certificates in date while it runs, for years, and shows the new ones."""

import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from sync.central.access import Access
from sync.central.ca import BROKER_NAME, Authority, renew_if_due
from sync.central.watching import Watcher
from sync.transport.tls import FOLDER, RENEW_BEFORE, TlsFiles, utc_now

log = logging.getLogger(__name__)

LOOK_S = 60.0


class CertificateKeeper:
    """Renews central's two certificates in time; one that a command renewed is noticed too."""

    def __init__(self, authority: Authority, directory: Path, look_s: float = LOOK_S) -> None:
        """Renew at once what is due; raises SyncError. look_s: between two looks at the files."""
        self._authority, self._directory, self._look_s = authority, directory, look_s
        self.server = TlsFiles(directory / FOLDER, "server")
        self.on_change: Callable[[TlsFiles], None] = lambda _files: None
        renew_if_due(authority, directory, utc_now())
        self._shown = self._text()
        self._broker_told = False
        self._watcher = Watcher("certificates", log, self._watch, look_s, look_s)

    def start(self) -> None:
        self._watcher.start()

    def stop(self) -> None:
        self._watcher.stop(2)

    def look(self) -> bool:
        """Renew what is due, and tell of a server's certificate that is another than before; returns whether it was."""
        renew_if_due(self._authority, self._directory, utc_now())
        self._watch_broker(utc_now())
        text = self._text()
        if text == self._shown:
            return False
        self.on_change(self.server)
        self._shown = text
        log.info("certificate taken up file=%s", self.server.certificate)
        return True

    def _watch_broker(self, now: datetime) -> None:
        """Say once that the broker's certificate nears its end: it lies where central may not write."""
        with Access(self._directory) as access:
            newest = access.newest(BROKER_NAME)
        near = newest is not None and newest.not_after_us / 1e6 - now.timestamp() < RENEW_BEFORE.total_seconds()
        if near and not self._broker_told:
            log.warning("the broker's certificate ends in two months: run central broker-config and restart the broker")
        self._broker_told = near

    def _watch(self) -> float:
        self.look()
        return self._look_s

    def _text(self) -> str:
        return self.server.certificate.read_text(encoding="ascii")
