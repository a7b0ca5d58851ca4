"""The visitors' page on its own address, beside the kiosk and in its process: it tells the desk's pages of a form."""

from pathlib import Path
from urllib.parse import urlsplit

from edge.home import Home
from edge.settings import TlsSettings, VisitorSettings
from edge.visitor.app import create_visitor_app
from sync.transport.server_pair import ServerPair
from sync.web.live import Live
from sync.web.server import PageServer


def server_pair(home: Path, tls: TlsSettings) -> ServerPair | None:
    """The certificate and key that a section of the configuration names, None where it names none."""
    return None if tls.cert is None or tls.key is None else ServerPair(home / tls.cert, home / tls.key)


def visitor_url(settings: VisitorSettings) -> str:
    """What the desk's QR code begins with; settings: of a visitors' page that is listening."""
    scheme = "https" if settings.tls.cert is not None else "http"
    return (settings.url or f"{scheme}://{settings.listen}").rstrip("/")


def serve_visitors(home: Home, live: Live) -> PageServer | None:
    """Make the server of a HOME's visitors' page, None where `visitor.listen` is not set; raises SyncError."""
    settings = home.settings().visitor
    if settings.listen is None:
        return None
    pair = server_pair(home.path, settings.tls)
    app = create_visitor_app(home, live, position=_position(settings, pair))
    host, port = settings.address
    return PageServer(app, host, port, lambda: None, settings.url, pair=pair)


def _position(settings: VisitorSettings, pair: ServerPair | None) -> bool:
    """Whether phones see a certificate that they trust: ours, or that of the proxy which `visitor.url` stands for."""
    url = urlsplit(visitor_url(settings))
    return url.scheme == "https" and (pair is None or pair.publicly_valid(url.hostname or ""))
