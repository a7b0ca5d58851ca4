"""What one phone, or one code, may ask of the visitors' page: strangers reach it, the desk must not feel them."""

import ipaddress
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeAlias

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 8192  # the form has nine fields; a consent is named by its version
PER_ADDRESS = 600  # requests a minute: an office's guest Wi-Fi shows us a bus of forty as one address
PER_CODE = 120  # forms a code opens for one address in its two minutes; a bus of forty, each three times. Opening keeps
# nothing: a limit over all addresses would only let one phone in the hall close the page for everybody else
SENT_PER_ADDRESS = 50  # forms kept in 15 minutes: a bus of forty is one address behind an office's Wi-Fi or a carrier's
# NAT; nine such windows touch a form's two hours, so that one address alone leaves room among the 500 that wait.
# Whose forms make room where many addresses fill those: desk/visitor_forms.py
SENT_WINDOW_S = 900.0
WINDOW_S = 60.0
_MOST_KEYS = 4096  # counted at once; the longest unused is forgotten

Now: TypeAlias = Callable[[], float]


class Window:
    """Counts in windows of a fixed length, of so many keys at once; any thread may count."""

    def __init__(self, most: int, now_s: Now, window_s: float = WINDOW_S) -> None:
        self._most = most
        self._now_s = now_s
        self._window_s = window_s
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._lock = threading.Lock()

    def admits(self, key: str) -> bool:
        """Count one more of a key; whether that is still within its limit."""
        now_s = self._now_s()
        with self._lock:
            since_s, count = self._counts.pop(key, (now_s, 0))
            if now_s - since_s >= self._window_s:
                since_s, count = now_s, 0
            self._counts[key] = (since_s, count + 1)
            if len(self._counts) > _MOST_KEYS:
                self._counts.popitem(last=False)
            return count < self._most


def sender_of(address: str) -> str:
    """Whom to count for an address: of IPv6 its /64, in which one phone takes as many addresses as it likes."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


class Limits:
    """ASGI middleware: 429 for an address that asks too often, 413 for a body that no form of ours has."""

    def __init__(self, app: ASGIApp, now_s: Now) -> None:
        self._app = app
        self._addresses = Window(PER_ADDRESS, now_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        address = scope["client"][0] if scope["client"] else "unknown"
        if not self._addresses.admits(sender_of(address)):
            refusal = PlainTextResponse("请稍后再试。Please try again in a minute.\n", 429, {"retry-after": "60"})
            await refusal(scope, receive, send)
            return
        if scope["method"] == "POST":
            body = await _body(receive)
            if body is None:
                await PlainTextResponse("内容过长。Too long.\n", 413)(scope, receive, send)
                return
            receive = _again(body, receive)
        await self._app(scope, receive, send)


async def _body(receive: Receive) -> bytes | None:
    """The whole body, None once it is longer than any of ours."""
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return body
        part: bytes = message.get("body", b"")
        body += part
        if len(body) > MAX_BODY_BYTES:
            return None
        if not message.get("more_body", False):
            return body


def _again(body: bytes, receive: Receive) -> Receive:
    told = False

    async def from_the_start() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return from_the_start
