"""A screen at the entrance that shows the visitors' code all day: a registered device, with nobody signed in."""

from typing import Annotated

from fastapi import Depends, Form, HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from edge.kiosk.forms import sent_once
from edge.kiosk.roles import CAMERAS
from edge.kiosk.shell import Shell
from edge.kiosk.shown_code import ShownCode
from edge.minted import new_request
from sync.web.sessions import Session


def mount(shell: Shell) -> None:
    """Add /display, what it fetches each minute, its stream, and the form that makes a display of a device.

    A display's cookie opens these and nothing else; whoever revokes it on the tablets' page ends it within a second.
    """
    app, gate, code = shell.app, shell.gate, ShownCode(shell.home)
    set_up = gate.page(*CAMERAS)
    form = Annotated[Session, Depends(gate.form(*CAMERAS))]
    languages = shell.pages.languages
    zh, en = languages.named("zh"), languages.named("en")
    site_name = shell.home.settings().operator.name

    def shown(request: Request, template: str) -> Response:
        return shell.pages.render(request, template, zh=zh, en=en, site_name=site_name, **code.drawn())

    def display(request: Request) -> None:
        if gate.display(request) is None:
            raise HTTPException(401)

    part = Depends(display)

    @app.get("/display")
    def display_page(request: Request) -> Response:
        if gate.display(request) is None:
            return shell.page(request, "display_set_up.html", set_up(request), request_id=new_request(), **code.drawn())
        response = shown(request, "display.html")
        gate.keep_display(request, response)
        return response

    @app.post("/display")
    def register_display(
        request: Request,
        session: form,
        request_id: Annotated[str, Form()],
        name: Annotated[str, Form(max_length=80)] = "",
    ) -> Response:
        response = RedirectResponse("/display", 303)
        gate.register_display(request, response, sent_once(request_id), name, session)
        return response

    @app.get("/display/code", dependencies=[part])
    def display_code(request: Request) -> Response:
        return shown(request, "display_code.html")

    @app.get("/display/events", dependencies=[part])
    def display_events(request: Request) -> Response:
        return shell.live.response(lambda: gate.display(request) is not None, only=())
