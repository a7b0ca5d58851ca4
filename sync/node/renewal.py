"""A node renews its certificate by itself, from two months before its end on, and after it just as well."""

import logging
import random
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from sync import SyncError
from sync.format.signing import PublicKey, Signer
from sync.node.joining import SERVER_FILE, call, hold_certificate
from sync.storage.files import read_text, write_durably
from sync.transport.possession import Renewal
from sync.transport.tls import RENEW_BEFORE, load_key, pinned, request, tls_files, utc_now

log = logging.getLogger(__name__)

LOOK_S = 3600.0


def renew_if_due(home: Path, node_id: str, node: Callable[[], Signer], root: PublicKey, now: datetime) -> bool:
    """Renew HOME's certificate where it has less than RENEW_BEFORE left; returns whether it was.

    node: gives the node key in force, which asks for it; root: central's. The certificate's own key stays: one file is
    replaced, whole. Raises SyncError where central is out of reach or refuses.
    """
    files = tls_files(home)
    if files is None or not (files.folder / SERVER_FILE).exists() or files.left(now) > RENEW_BEFORE:
        return False
    key = load_key(files.key)
    server = read_text(files.folder / SERVER_FILE, "server address").strip()
    asked = Renewal.make(node_id, request(node_id, key), root, node())
    text = call(server, pinned(files.ca), "POST", "/v1/renew", asked.encode()).get("certificate")
    if not isinstance(text, str):
        raise SyncError(f"{server}: an answer that is not understood")
    hold_certificate(text, node_id, key.public_key(), read_text(files.ca, "CA certificate"))
    write_durably(files.certificate, text)
    return True


class RenewalThread:
    """Looks once an hour; an outage is logged once."""

    def __init__(
        self, home: Path, node_id: str, node: Callable[[], Signer], root: PublicKey, look_s: float = LOOK_S
    ) -> None:
        """See renew_if_due. look_s: between two looks, the first within a tenth of it."""
        self._home, self._node_id, self._node, self._root, self._look_s = home, node_id, node, root, look_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="renewal", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        trouble: str | None = None
        wait_s = random.uniform(0, self._look_s / 10)  # not all nodes at once after a power cut
        while not self._stop.wait(wait_s):
            wait_s = self._look_s
            try:
                if renew_if_due(self._home, self._node_id, self._node, self._root, utc_now()):
                    log.info("certificate renewed home=%s", self._home)
                trouble = None
            except (SyncError, OSError) as error:
                if str(error) != trouble:
                    trouble = str(error)
                    log.warning("certificate not renewed error=%s", error)
