"""Moving pictures on a page: one JPEG after the other, as long as whoever watches is signed in."""

import time
from collections.abc import AsyncIterator, Callable

from fastapi import HTTPException
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from edge import EdgeError

_BOUNDARY = "picture"
_LOOK_S = 1.0  # how soon a film notices that its session has ended


async def moving(pictures: AsyncIterator[bytes], alive: Callable[[], bool]) -> Response:
    """A multipart/x-mixed-replace answer of JPEGs; 503 where there is not even a first one."""
    try:
        first = await anext(pictures)
    except (EdgeError, StopAsyncIteration) as error:
        raise HTTPException(503) from error

    async def parts() -> AsyncIterator[bytes]:
        picture, looked_s = first, time.monotonic()
        while True:
            yield f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n".encode()
            yield picture + b"\r\n"
            try:
                picture = await anext(pictures)
            except StopAsyncIteration:
                return
            if time.monotonic() - looked_s > _LOOK_S:  # before it is sent: it may have been long in coming
                if not await run_in_threadpool(alive):
                    return
                looked_s = time.monotonic()

    kind = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
    return StreamingResponse(parts(), media_type=kind, headers={"Cache-Control": "no-store"})
