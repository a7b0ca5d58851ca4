"""The auditor's page: what the office asks for, beside what is on record, approved or refused at one tap."""

import logging
import secrets
from contextlib import closing
from typing import Annotated, Literal

from fastapi import Depends, Form, HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from edge.desk.approvals import Approvals, NotAsked, NotTheirs
from edge.kiosk.checkin import sent_once
from edge.kiosk.roles import APPROVALS
from edge.kiosk.shell import Shell
from sync.node.in_force import KeyNotInForce
from sync.web.sessions import Session

_log = logging.getLogger(__name__)
_LISTED = 50


def mount(shell: Shell) -> None:
    """Add /approvals and the answers to what stands there."""
    page = Annotated[Session, Depends(shell.gate.page(*APPROVALS))]
    form = Annotated[Session, Depends(shell.gate.form(*APPROVALS))]
    approvals = Approvals(shell.desk_ledger, shell.home.path, shell.home.settings().site.id)

    def shown(request: Request, session: Session, *, status: int = 200, problem: str = "") -> Response:
        with closing(shell.home.open_ledger()) as ledger:
            asked = approvals.asked(ledger)[:_LISTED]
        for one in asked:
            shell.look(session, "approval", one.visit_id)
        return shell.page(
            request,
            "approvals.html",
            session,
            status,
            asked=[(one, shell.arrivals.get(one.visit_id)) for one in asked],
            problem=problem,
            request_id=secrets.token_hex(16),
        )

    @shell.app.get("/approvals")
    def approvals_page(request: Request, session: page) -> Response:
        return shown(request, session)

    @shell.app.post("/approvals/{proposal}")
    def answer(
        request: Request,
        proposal: str,
        session: form,
        verdict: Annotated[Literal["approved", "refused"], Form()],
        request_id: Annotated[str, Form()],
    ) -> Response:
        sent = sent_once(request_id)
        try:
            record = approvals.answer(proposal, verdict, sent, session.account)
        except NotAsked as error:
            raise HTTPException(404) from error
        except NotTheirs as error:
            _log.warning("approval refused: %s", error)
            return shown(request, session, status=403, problem="not_yours")
        except KeyNotInForce as error:
            _log.warning("approval not recorded: %s", error)
            return shown(request, session, status=409, problem="no_key")
        shell.arrivals.add(record)
        if record.fields["request"] != sent:
            return shown(request, session, status=409, problem="already")
        return RedirectResponse("/approvals", 303)
