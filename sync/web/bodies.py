"""How much a request may bring along: anybody on the network may send one, and forms are read before the door asks."""

from collections.abc import Callable, Mapping

from fastapi import HTTPException
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_FORM_BYTES = 2**18  # a signature and the ids of a bus load take a quarter of it


class LongestBody:
    """ASGI middleware: 413 for a body that no form of ours has.

    A body is in memory or in a temporary file by the time a route runs: without it a stranger fills the disk.
    """

    def __init__(
        self, app: ASGIApp, signed_in: Callable[[Request], bool], larger: Mapping[str, int] | None = None
    ) -> None:
        """larger: bytes that whoever is signed in may bring, by how the path ends."""
        self._app = app
        self._signed_in = signed_in
        self._larger = larger or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        left, path = MAX_FORM_BYTES, scope["path"]
        larger = max((most for end, most in self._larger.items() if path.endswith(end)), default=0)
        if larger and await run_in_threadpool(self._signed_in, Request(scope)):
            left = larger

        async def counted() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413, "form")
            return message

        await self._app(scope, counted, send)
