"""The code that visitors scan at the desk, and the tap that binds what they have sent to an arrival."""

import logging
from typing import Annotated

from fastapi import Depends, Form
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from edge.desk.checkin import CheckIn, Registration
from edge.desk.visitor_forms import NotWaiting
from edge.kiosk.checkin import checked_in, checkin_page
from edge.kiosk.forms import sent_once
from edge.kiosk.parties import BadParty, PartyView
from edge.kiosk.phone_forms import PhoneForms
from edge.kiosk.roles import DESK
from edge.kiosk.shell import Shell
from edge.kiosk.shown_code import ShownCode
from edge.visitor.page import EVENT
from sync.web.sessions import Session

_log = logging.getLogger(__name__)
_SWEEP_S = 60.0


def mount(shell: Shell) -> None:
    """Add /visitor-code and its picture, the list of what was sent, and the form that binds one to an arrival."""
    app = shell.app
    phones, parties, code = PhoneForms(shell), PartyView(shell), ShownCode(shell.home)
    desk = CheckIn(shell.desk_ledger, shell.home, shell.sure)
    page = Annotated[Session, Depends(shell.gate.page(*DESK))]
    part = Annotated[Session, Depends(shell.gate.part(*DESK))]
    form = Annotated[Session, Depends(shell.gate.form(*DESK))]
    shell.jobs.every(phones.sweep, _SWEEP_S)

    @app.get("/visitor-code")
    def code_page(request: Request, session: page) -> Response:
        return shell.page(request, "visitor_code.html", session, **code.drawn())

    @app.get("/fragments/visitor-code")
    def code_fragment(request: Request, _session: part) -> Response:
        return shell.part(request, "visitor_qr.html", **code.drawn())

    @app.get("/fragments/forms")
    def forms_fragment(
        request: Request, session: part, visit: str = "", digits: str = "", form: str = "", request_id: str = ""
    ) -> Response:
        return shell.part(
            request,
            "visitor_forms.html",
            v=shell.known(visit) if visit else None,
            csrf_token=session.csrf_token,
            **phones.listed(digits),
            **phones.choosing(form, request_id, parties.listed()["waiting_parties"] if form else ()),
        )

    @app.post("/visits/{visit_id}/visitor")
    def bind(
        request: Request,
        visit_id: str,
        session: form,
        form_id: Annotated[str, Form(max_length=32)],
        request_id: Annotated[str, Form()],
        companion: Annotated[list[str] | None, Form()] = None,
        heads: Annotated[str, Form(max_length=8)] = "",
    ) -> Response:
        visit, sent = shell.known(visit_id), sent_once(request_id)
        try:
            party = parties.together(visit, companion or (), heads)
        except BadParty as error:
            status = 422 if error.fault == "heads_bad" else 409
            return checkin_page(shell, request, session, visit, status=status, problem=error.fault)
        found = phones.find(form_id)
        if found is None:
            state = phones.state(form_id)
            if state is not None and state.visit_id == visit_id:  # the same tap again: its receipt
                return RedirectResponse(f"/visits/{visit_id}/checkin", 303)
            return checkin_page(shell, request, session, visit, status=409, problem="form_gone")
        try:
            answer = checked_in(
                shell,
                request,
                session,
                visit,
                lambda arrival: desk.register(
                    arrival,
                    Registration(
                        "visitor",
                        found.phone,
                        phones.consent(visit, found),
                        heads=party.heads,
                        form=(found, phones.place(found)),
                    ),
                    sent,
                    session.account.account_id,
                    companions=party.companions,
                ),
            )
        except NotWaiting as error:
            _log.info("form not bound visit=%s: %s", visit_id, error)
            return checkin_page(shell, request, session, visit, status=409, problem="form_gone")
        phones.sweep()
        shell.live.publish(EVENT, form_id)
        return answer
