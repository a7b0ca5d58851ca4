"""The page of the node itself: whether it sees, records and delivers; and what every page says when it does not."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from edge.kiosk.roles import EVERYBODY
from edge.kiosk.shell import Shell
from sync.web.sessions import Session


def mount(shell: Shell) -> None:
    """Add /node and its fragments."""
    app, view = shell.app, shell.view
    page = Annotated[Session, Depends(shell.gate.page(*EVERYBODY))]
    part = Annotated[Session, Depends(shell.gate.part(*EVERYBODY))]

    @app.get("/node")
    def node_page(request: Request, session: page) -> Response:
        return shell.page(request, "node.html", session, **view.node())

    @app.get("/fragments/node")
    def node_fragment(request: Request, session: part) -> Response:
        return shell.part(request, "node_facts.html", session=session, **view.node())

    @app.get("/fragments/trouble")
    def trouble_fragment(request: Request, _session: part) -> Response:
        return shell.part(request, "trouble.html", **view.node())
