"""The page on which the office asks to correct a visit's source or first arrival; nothing changes by asking."""

import logging
from typing import Annotated

from fastapi import Depends, Form
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from edge.clock import wall_us
from edge.desk.approvals import REASONS, WAYS, Approvals, Change, NotAsked
from edge.desk.shown import ShownVisit
from edge.kiosk.forms import sent_once
from edge.kiosk.roles import DESK
from edge.kiosk.shell import Shell
from edge.minted import new_request
from sync.node.in_force import KeyNotInForce
from sync.web.sessions import Session
from sync.web.times import Times

_log = logging.getLogger(__name__)


def mount(shell: Shell) -> None:
    """Add /visits/ID/correct and the form on it."""
    page = Annotated[Session, Depends(shell.gate.page(*DESK))]
    form = Annotated[Session, Depends(shell.gate.form(*DESK))]
    site = shell.home.settings().site
    approvals, times = Approvals(shell.desk_ledger, shell.home.path, site.id), Times(site.timezone)

    def shown(
        request: Request,
        session: Session,
        visit: ShownVisit,
        *,
        status: int = 200,
        problem: str = "",
        typed: dict[str, str] | None = None,
    ) -> Response:
        shell.look(session, "checkin", visit.visit_id)
        return shell.page(
            request,
            "correct.html",
            session,
            status,
            visit=visit,
            origin=visit.origin,
            reasons=REASONS,
            ways=WAYS,
            problem=problem,
            typed=typed or {},
            request_id=new_request(),
        )

    @shell.app.get("/visits/{visit_id}/correct")
    def correct_page(request: Request, visit_id: str, session: page) -> Response:
        return shown(request, session, shell.known(visit_id))

    @shell.app.post("/visits/{visit_id}/correct")
    def ask(
        request: Request,
        visit_id: str,
        session: form,
        request_id: Annotated[str, Form()],
        reason: Annotated[str, Form(max_length=32)],
        way: Annotated[str, Form(max_length=32)] = "",
        agent: Annotated[str, Form(max_length=64)] = "",
        first: Annotated[str, Form(max_length=32)] = "",
    ) -> Response:
        visit, sent = shell.known(visit_id), sent_once(request_id)
        typed = {"reason": reason, "way": way, "agent": agent, "first": first}
        first_us = times.parsed_us(first) if first else None
        if first and (first_us is None or not 0 < first_us <= wall_us()):
            return shown(request, session, visit, status=422, problem="first", typed=typed)
        try:
            change = Change(way or None, agent.strip() or None, first_us)
            record = approvals.ask(visit_id, visit.at, change, reason, sent, session.account)
        except NotAsked as error:
            status = 409 if error.fault in ("open", "waiting") else 422
            return shown(request, session, visit, status=status, problem=error.fault, typed=typed)
        except KeyNotInForce as error:
            _log.warning("correction not asked for visit=%s: %s", visit_id, error)
            return shown(request, session, visit, status=409, problem="no_key", typed=typed)
        shell.arrivals.add(record)  # the page that follows shows it; the watch will find it again
        return RedirectResponse(f"/visits/{visit_id}/correct", 303)
