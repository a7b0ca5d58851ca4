"""The auditor's page: what the office asks for, beside what is on record, approved or refused at one tap."""

import logging
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Annotated, Literal

from fastapi import Depends, Form, HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from edge.desk.approvals import Approvals, NotAsked, NotConfirmed, NotTheirs
from edge.desk.staff_approvals import StaffApprovals
from edge.head_office import confirmed
from edge.kiosk.forms import sent_once
from edge.kiosk.roles import APPROVALS
from edge.kiosk.shell import Shell
from edge.minted import new_request
from edge.people.vault import opened
from sync.format.accounts import Account
from sync.format.records import Record
from sync.node.in_force import KeyNotInForce
from sync.web.sessions import Session

_log = logging.getLogger(__name__)
_LISTED = 50
_LAPSE_EVERY_S = 3600.0


def mount(shell: Shell) -> None:
    """Add /approvals, the answers to what stands there, and the job that lets unanswered faces go."""
    page = Annotated[Session, Depends(shell.gate.page(*APPROVALS))]
    form = Annotated[Session, Depends(shell.gate.form(*APPROVALS))]
    home, site_id = shell.home, shell.home.settings().site.id
    approvals = Approvals(shell.desk_ledger, home.path, site_id)
    staff = StaffApprovals(shell.desk_ledger, home, site_id)
    shell.jobs.every(lambda: staff.lapse(shell.surely_us()), _LAPSE_EVERY_S)

    def shown(request: Request, session: Session, *, status: int = 200, problem: str = "") -> Response:
        with closing(home.open_ledger()) as ledger, opened(home.database, home.keys_database) as vault:
            asked = approvals.asked(ledger)[:_LISTED]
            speaks = confirmed(home.path, ledger, session.account)
            applicants = staff.applicants(ledger, vault)[:_LISTED]
        for one in asked:
            shell.look(session, "approval", one.visit_id)
        for applicant in applicants:
            shell.look(session, "person", applicant.person_id)
        return shell.page(
            request,
            "approvals.html",
            session,
            status,
            applicants=applicants,
            asked=[(one, shell.arrivals.get(one.visit_id)) for one in asked],
            problem=problem,
            speaks=speaks,
            joined=home.joined,
            request_id=new_request(),
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
        answered = _answered(request, session, sent_once(request_id), partial(approvals.answer, proposal, verdict))
        if isinstance(answered, Record):
            shell.arrivals.add(answered)
            return RedirectResponse("/approvals", 303)
        return answered

    @shell.app.post("/approvals/staff/{proposal}")
    def answer_staff(
        request: Request,
        proposal: str,
        session: form,
        verdict: Annotated[Literal["approved", "refused"], Form()],
        request_id: Annotated[str, Form()],
    ) -> Response:
        answered = _answered(request, session, sent_once(request_id), partial(staff.answer, proposal, verdict))
        return RedirectResponse("/approvals", 303) if isinstance(answered, Record) else answered

    def _answered(
        request: Request, session: Session, sent: str, answer: Callable[[str, Account], Record]
    ) -> Record | Response:
        try:
            record = answer(sent, session.account)
        except NotAsked as error:
            raise HTTPException(404) from error
        except NotTheirs as error:
            _log.warning("approval refused: %s", error)
            return shown(request, session, status=403, problem="not_yours")
        except NotConfirmed as error:
            _log.warning("approval refused: %s", error)
            return shown(request, session, status=403, problem="not_confirmed")
        except KeyNotInForce as error:
            _log.warning("approval not recorded: %s", error)
            return shown(request, session, status=409, problem="no_key")
        if record.fields["request"] != sent:
            return shown(request, session, status=409, problem="already")
        return record
