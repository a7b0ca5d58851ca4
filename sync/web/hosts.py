"""Which names an application answers to: another site's name that leads here (DNS rebinding) is not one of them."""

from collections.abc import Iterable
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class KnownHosts:
    """ASGI middleware: 421 for a request whose Host is neither a known name nor an address.

    A page of another site can be led here under that site's own name, never under an address or a name of ours.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self._app = app
        self._names = frozenset(name.lower() for name in names if name) | {"localhost"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._known(Headers(scope=scope).get("host", "")):
            refusal = PlainTextResponse("This address is not one of ours: see kiosk.url or console.url.\n", 421)
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _known(self, host: str) -> bool:
        name, bracket, port = host.rpartition("]") if host.startswith("[") else (host.partition(":")[0], "", "")
        if bracket:
            name = name[1:]
        else:
            port = host[len(name) :]
        if port and not (port[0] == ":" and port[1:].isdecimal()):
            return False
        if name.lower() in self._names:
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True
