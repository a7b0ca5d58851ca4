"""The button with which a host takes their own registration back."""

import logging
from functools import partial
from typing import Annotated

from fastapi import Depends, Form
from starlette.requests import Request
from starlette.responses import Response

from edge.desk.undo import TooLate, undo
from edge.kiosk.checkin import checked_in, checkin_page
from edge.kiosk.forms import sent_once
from edge.kiosk.roles import DESK
from edge.kiosk.shell import Shell
from sync.web.sessions import Session

_log = logging.getLogger(__name__)


def mount(shell: Shell) -> None:
    """Add /visits/ID/undo."""
    form = Annotated[Session, Depends(shell.gate.form(*DESK))]

    @shell.app.post("/visits/{visit_id}/undo")
    def undo_registration(
        request: Request, visit_id: str, session: form, request_id: Annotated[str, Form()]
    ) -> Response:
        visit, sent = shell.known(visit_id), sent_once(request_id)
        account_id = session.account.account_id
        write = partial(undo, shell.desk_ledger, shell.home, request=sent, account_id=account_id, sure=shell.sure)
        try:
            return checked_in(shell, request, session, visit, write)
        except TooLate:
            return checkin_page(shell, request, session, visit, status=409, problem="undo_late")
