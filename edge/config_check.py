"""What a configuration leaves out or gets wrong that shows only once somebody stands at the desk.

Who answers for the visitors' data, which the law wants told; the certificates of the pages, which a browser refuses
long after the file was typed.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from edge.finding import Finding
from edge.settings import Settings, TlsSettings
from sync import SyncError
from sync.transport.server_pair import ServerPair
from sync.transport.tls import load_certificate

RENEW_BEFORE = timedelta(days=30)  # a public one is renewed by itself with about as much left, ours by hand
_EVERYWHERE = ("", "0.0.0.0", "::")
_LACKING = {
    "name": "consent texts and access files say 'this sales office', and firstvisit sign prints no sign",
    "contact": "nobody is told how to reach whoever answers for the data, and firstvisit sign prints no sign",
}


def operator_findings(settings: Settings) -> Iterator[Finding]:
    """Who answers for the visitors' data, and what cannot be told them where the configuration does not say it."""
    missing = settings.operator.missing
    for key in missing:
        yield Finding("operator", "warn", f"operator.{key} missing: {_LACKING[key]} (section [operator])")
    if not missing:
        yield Finding("operator", "good", f"{settings.operator.name}, {settings.operator.contact}")


def page_findings(home: Path, settings: Settings, now: datetime) -> Iterator[Finding]:
    """The certificate of each page that has one: its file, its key, its time, and whether the page's name is in it."""
    desk, visitors = settings.kiosk, settings.visitor
    yield from _page("kiosk", home, desk.tls, _name(desk.url, desk.host), now)
    yield from _page("visitor", home, visitors.tls, _name(visitors.url, visitors.address[0]), now)


def _page(page: str, home: Path, tls: TlsSettings, name: str, now: datetime) -> Iterator[Finding]:
    """name: that by which browsers reach the page, empty where the configuration gives none."""
    if tls.cert is None or tls.key is None:
        return
    pair = ServerPair(home / tls.cert, home / tls.key)
    try:
        pair.check(now)
        ends, names = load_certificate(pair.certificate).not_valid_after_utc, pair.names()
    except SyncError as error:
        yield Finding("tls", "bad", f"{page}: {error}")
        return
    if name and not any(_covers(held, name) for held in names):
        yield Finding("tls", "bad", f"{page}: {pair.certificate} is for {', '.join(names)}, not for {name}")
        return
    soon = ends - now < RENEW_BEFORE
    yield Finding("tls", "warn" if soon else "good", f"{page}: the certificate holds until {ends:%Y-%m-%d}")


def _name(url: str | None, host: str) -> str:
    name = (urlsplit(url).hostname or "") if url else host
    return "" if name in _EVERYWHERE else name


def _covers(held: str, name: str) -> bool:
    """Whether a name of a certificate stands for another; a star is one whole first label (RFC 9525 6.3)."""
    held, name = held.lower(), name.lower()
    return held == name or (held.startswith("*.") and name.partition(".")[2] == held[2:])
