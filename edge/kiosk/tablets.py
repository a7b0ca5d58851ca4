"""The page of the tablets on which a PIN is enough."""

from typing import Annotated

from fastapi import Depends, Form
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from edge.kiosk.forms import sent_once
from edge.kiosk.roles import MANAGER
from edge.kiosk.shell import Shell
from edge.minted import new_request
from sync.web.sessions import Session


def mount(shell: Shell) -> None:
    """Add /tablets, its forms for registering this device and revoking one."""
    app, gate, tablets = shell.app, shell.gate, shell.tablets
    page = Annotated[Session, Depends(gate.page(*MANAGER))]
    form = Annotated[Session, Depends(gate.form(*MANAGER))]

    @app.get("/tablets")
    def tablets_page(request: Request, session: page) -> Response:
        registered = [(tablet, shell.accounts.named(tablet.registered_by) or "?") for tablet in tablets.all()]
        return shell.page(
            request, "tablets.html", session, registered=registered, here=gate.tablet(request), request_id=new_request()
        )

    @app.post("/tablets")
    def register_tablet(
        request: Request, session: form, request_id: Annotated[str, Form()], name: Annotated[str, Form()] = ""
    ) -> Response:
        response = RedirectResponse("/tablets", 303)
        gate.register_tablet(request, response, sent_once(request_id), name, session.account)
        return response

    @app.post("/tablets/{tablet_id}/revoke")
    def revoke_tablet(tablet_id: str, session: form) -> Response:
        tablets.revoke(tablet_id, session.account.account_id)
        return RedirectResponse("/tablets", 303)
