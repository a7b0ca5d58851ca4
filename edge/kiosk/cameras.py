"""The page of one camera: what it sees and what the node makes of it, live."""

from typing import Annotated

from fastapi import Depends, HTTPException
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from edge.cameras.live_view import pictures
from edge.kiosk.film import moving
from edge.kiosk.roles import CAMERAS
from edge.kiosk.shell import Shell
from sync.web.sessions import Session


def mount(shell: Shell) -> None:
    """Add /cameras/ID and its moving picture."""
    app = shell.app
    page = Annotated[Session, Depends(shell.gate.page(*CAMERAS))]
    part = Annotated[Session, Depends(shell.gate.part(*CAMERAS))]

    @app.get("/cameras/{camera_id}")
    def camera_page(request: Request, camera_id: str, session: page) -> Response:
        _hold_to_known(camera_id)
        return shell.page(request, "camera.html", session, camera_id=camera_id, **shell.view.node())

    @app.get("/cameras/{camera_id}/live.mjpeg")
    async def camera_live(camera_id: str, session: part) -> Response:
        _hold_to_known(camera_id)
        await run_in_threadpool(shell.look, session, "camera", camera_id)
        source = pictures(shell.home.database.resolve().parent, camera_id)
        return await moving(source, lambda: shell.sessions.alive(session.key))

    def _hold_to_known(camera_id: str) -> None:
        if not shell.health.knows(camera_id):
            raise HTTPException(404)
