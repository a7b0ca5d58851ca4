"""The rota: who serves whom, and the manager's page for the day's order."""

import logging
from contextlib import closing
from typing import Annotated

from fastapi import Depends, Form, HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from edge.desk.rota import SKIPS, BadRota, Rota, assignments_since, order_of, queue, set_order
from edge.kiosk.checkin import checkin_page
from edge.kiosk.forms import sent_once
from edge.kiosk.roles import DESK, MANAGER
from edge.kiosk.serving import skipped_of, today
from edge.kiosk.shell import Shell
from sync.node.in_force import KeyNotInForce
from sync.web.sessions import Session

_log = logging.getLogger(__name__)
_SERVE = ("front_desk", "manager")


def mount(shell: Shell) -> None:
    """Add /visits/ID/assign, and /rota with its form."""
    app, home, times = shell.app, shell.home, shell.view.times
    form = Annotated[Session, Depends(shell.gate.form(*DESK))]
    manager_page = Annotated[Session, Depends(shell.gate.page(*MANAGER))]
    manager_form = Annotated[Session, Depends(shell.gate.form(*MANAGER))]
    rota = Rota(shell.desk_ledger)

    def order() -> tuple[str, ...]:
        with closing(home.open_ledger()) as ledger:
            return order_of(ledger.connection, today(times)[0])

    @app.post("/visits/{visit_id}/assign")
    def assign(
        request: Request,
        visit_id: str,
        session: form,
        consultant: Annotated[str, Form()],
        request_id: Annotated[str, Form()],
        skipped: Annotated[str, Form(max_length=4000)] = "",
        skip: Annotated[str, Form()] = "",
    ) -> Response:
        visit, sent, passed = shell.known(visit_id), sent_once(request_id), skipped_of(skipped)
        if skip:
            if skip not in SKIPS:
                raise HTTPException(422, "form")
            named = ",".join([*(f"{who}:{why}" for who, why in passed.items()), f"{consultant}:{skip}"])
            return RedirectResponse(f"/visits/{visit_id}/checkin?skipped={named}#serve", 303)
        day, from_us = today(times)
        passed.pop(consultant, None)  # chosen after all
        try:
            record = rota.assign(
                visit_id,
                visit.person_id,
                consultant,
                passed,
                sent,
                session.account.account_id,
                day=day,
                from_us=from_us,
            )
        except BadRota:
            return checkin_page(shell, request, session, visit, status=409, problem="not_on_rota")
        except KeyNotInForce as error:
            _log.warning("assignment not recorded visit=%s: %s", visit_id, error)
            return checkin_page(shell, request, session, visit, status=409, problem="no_key")
        shell.arrivals.add(record)
        return RedirectResponse(f"/visits/{visit_id}/checkin#serve", 303)

    def shown(request: Request, session: Session, *, status: int = 200, problem: str = "") -> Response:
        day, from_us = today(times)
        with closing(home.open_ledger()) as ledger:
            ordered = order_of(ledger.connection, day)
            told = assignments_since(ledger, from_us)
        accounts = [one for one in shell.accounts.all() if one.role in _SERVE and one.account_id not in ordered]
        skips = [
            (skip["consultant"], skip["reason"], record) for record in told for skip in record.fields.get("skipped", ())
        ]
        return shell.page(
            request,
            "rota.html",
            session,
            status,
            order=ordered,
            waiting=queue(ordered, told),
            served=told,
            skips=skips,
            accounts=accounts,
            problem=problem,
        )

    @app.get("/rota")
    def rota_page(request: Request, session: manager_page) -> Response:
        return shown(request, session)

    @app.post("/rota")
    def change(
        request: Request, session: manager_form, what: Annotated[str, Form()], who: Annotated[str, Form()] = ""
    ) -> Response:
        ordered = list(order())
        if what == "add":
            ordered.append(who.strip())
        elif who not in ordered:
            raise HTTPException(422, "form")
        elif what == "remove":
            ordered.remove(who)
        elif what == "up":
            place = ordered.index(who)
            ordered.insert(max(0, place - 1), ordered.pop(place))
        else:
            raise HTTPException(422, "form")
        try:
            set_order(home.database, today(times)[0], ordered)
        except BadRota:
            return shown(request, session, status=422, problem="bad_code")
        return RedirectResponse("/rota", 303)
