"""A central whose API is really served, with TLS, and nodes that are let in by it; for the tests of sync."""

import ssl
import threading
from datetime import datetime, timedelta
from pathlib import Path

import httpx

from sync.central.admission import confirm, invite
from sync.central.api import create_api
from sync.central.ca import Authority, open_authority
from sync.central.inbox import Inbox
from sync.node.joining import Joining
from sync.transport.invitation import Invitation
from sync.transport.tls import FOLDER, TlsFiles, pinned, utc_now
from sync.web.server import PageServer
from tests.sync.uplink_site import Central, Node, free_port


class ApiSite:
    """One central with its API; its clock may be set apart."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.central = Central(folder / "central")
        self.authority: Authority = open_authority(self.central.directory, "c1", utc_now())
        self.ahead = timedelta(0)
        self.inbox = Inbox()
        self._pages: PageServer | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def now(self) -> datetime:
        return utc_now() + self.ahead

    def start(self, broker_url: str | None = None, backfill_per_s: int | None = None) -> None:
        """Serve API and ingest; broker_url: one that is there, else the ingest tries one in vain."""
        self.inbox = Inbox()
        directory = self.central.directory
        app = create_api(directory, self.authority, self.inbox, now=self.now)
        server = TlsFiles(directory / FOLDER, "server")
        self._pages = PageServer(app, "127.0.0.1", self.port, self.inbox.close, self.url, server)
        self._pages.start()
        self.central.start(broker_url or f"mqtt://127.0.0.1:{free_port()}", backfill_per_s, self.inbox)

    def stop(self) -> None:
        if self._pages is not None:
            self._pages.stop()
            self.central.stop()
            self._pages = None

    def invite(self, node_id: str | None = None, uplink: str | None = None) -> Invitation:
        return invite(self.central.directory, self.authority, self.url, uplink or self.url, node_id, self.now())

    def joining(self, node: Node, invitation: Invitation) -> Joining:
        return Joining(node.home, invitation, node.key, node.desk)

    def confirm(self, node: Node, fingerprint: str | None = None) -> None:
        typed = node.key.public.fingerprint if fingerprint is None else fingerprint
        confirm(self.central.directory, self.authority, node.node_id, typed, self.now())

    def joined(self, node: Node) -> Node:
        """A node all the way in."""
        joining = self.joining(node, self.invite())
        joining.ask()
        self.confirm(node)
        joining.wait(print)
        joining.finish()
        joining.forget()
        return node

    def client(self, node: Node | None = None) -> httpx.Client:
        """A client that trusts our authority, and shows a node's certificate."""
        context: ssl.SSLContext = pinned(self.central.directory / FOLDER / "ca.crt")
        if node is not None:
            context.load_cert_chain(node.home / "tls/client.crt", node.home / "tls/client.key")
        return httpx.Client(base_url=self.url, verify=context, timeout=30)


def in_thread(joining: Joining) -> threading.Thread:
    """Wait to be let in, in a thread."""
    thread = threading.Thread(target=joining.wait, args=(print,), daemon=True)
    thread.start()
    return thread
