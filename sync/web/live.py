"""Server-sent events: ids only, to people who are signed in, until they no longer are."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

_LOOK_S = 1.0  # how soon a stream notices that its session has ended
_PING_S = 15
_QUEUE = 256


@dataclass(frozen=True, slots=True)
class _Event:
    name: str
    id: str


@dataclass(frozen=True, slots=True)
class _Stream:
    loop: asyncio.AbstractEventLoop
    queue: "asyncio.Queue[_Event | None]"


class Live:
    """Tells every open page what has changed; any thread may publish."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # close() is called by a signal handler, maybe in the middle of publish()
        self._streams: set[_Stream] = set()
        self._closed = False

    def publish(self, name: str, id: str) -> None:
        """Send an event (what changed, and its id, nothing about it) to every stream."""
        self._each(_Event(name, id))

    def close(self) -> None:
        """End every stream, and every later one at once: the server is stopping."""
        with self._lock:
            self._closed = True
        self._each(None)

    def response(self, alive: Callable[[], bool], only: Collection[str] | None = None) -> EventSourceResponse:
        """A stream that lasts while `alive()` (asked before what has happened is told, and each second) says so.

        only: the names of the events it carries, all of them where left out.
        """
        return EventSourceResponse(self._events(alive, only), ping=_PING_S, headers={"Cache-Control": "no-store"})

    async def _events(self, alive: Callable[[], bool], only: Collection[str] | None) -> AsyncIterator[ServerSentEvent]:
        stream = _Stream(asyncio.get_running_loop(), asyncio.Queue(_QUEUE))
        with self._lock:
            if self._closed:
                return
            self._streams.add(stream)
        try:
            yield ServerSentEvent(event="start", data="", retry=2000)  # the page fetches what it missed
            while True:
                waiting: list[_Event | None] = []
                with suppress(TimeoutError):
                    waiting.append(await asyncio.wait_for(stream.queue.get(), _LOOK_S))
                while not stream.queue.empty():  # a bus of forty is one question about the session, not forty
                    waiting.append(stream.queue.get_nowait())
                if None in waiting:
                    return
                if not await run_in_threadpool(alive):
                    yield ServerSentEvent(event="ended", data="")
                    return
                for event in waiting:
                    if event is not None and (only is None or event.name in only or event.name == "start"):
                        yield ServerSentEvent(event=event.name, data=event.id)
        finally:
            with self._lock:
                self._streams.discard(stream)

    def _each(self, event: _Event | None) -> None:
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            try:
                stream.loop.call_soon_threadsafe(_put, stream.queue, event)
            except RuntimeError:  # its event loop has closed under it
                with self._lock:
                    self._streams.discard(stream)


def _put(queue: "asyncio.Queue[_Event | None]", event: _Event | None) -> None:
    if queue.full():  # a reader that is far behind starts over: `start` makes the page fetch everything
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(_Event("start", ""))
    queue.put_nowait(event)
