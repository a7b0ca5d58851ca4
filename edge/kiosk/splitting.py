"""The page on which a manager says that a visit was somebody else's, with that face beside the person's others."""

import logging
from contextlib import closing
from typing import Annotated

from fastapi import Depends, Form, HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from edge.desk.shown import ShownVisit
from edge.desk.splitting import NotTakenOut, Splitting
from edge.kiosk.forms import sent_once
from edge.kiosk.history import last_visit
from edge.kiosk.roles import MANAGER
from edge.kiosk.shell import Shell
from edge.minted import new_request
from sync.node.in_force import KeyNotInForce
from sync.web.sessions import Session

_log = logging.getLogger(__name__)
_BESIDE = 4  # of the person's other visits; more would be smaller


def mount(shell: Shell) -> None:
    """Add /visits/ID/other-person."""
    app, home = shell.app, shell.home
    page = Annotated[Session, Depends(shell.gate.page(*MANAGER))]
    form = Annotated[Session, Depends(shell.gate.form(*MANAGER))]
    splitting = Splitting(shell.desk_ledger, home)

    def returned(visit_id: str) -> ShownVisit:
        visit = shell.known(visit_id)
        if visit.decision != "return" and visit.split_from is None:
            raise HTTPException(404)
        return visit

    def shown(
        request: Request, session: Session, visit: ShownVisit, *, status: int = 200, problem: str = ""
    ) -> Response:
        shell.look(session, "why", visit.visit_id)
        return shell.page(
            request,
            "other_person.html",
            session,
            status,
            visit=visit,
            others=_beside(shell, visit),
            problem=problem,
            request_id=new_request(),
        )

    @app.get("/visits/{visit_id}/other-person")
    def split_page(request: Request, visit_id: str, session: page) -> Response:
        return shown(request, session, returned(visit_id))

    @app.post("/visits/{visit_id}/other-person")
    def split(request: Request, visit_id: str, session: form, request_id: Annotated[str, Form()]) -> Response:
        visit, sent = returned(visit_id), sent_once(request_id)
        try:
            told = splitting.other_person(visit_id, visit.whose or "", sent, session.account.account_id)
        except NotTakenOut as error:
            _log.warning("visit not split out: %s", error)
            return shown(request, session, visit, status=409, problem="stale")
        except KeyNotInForce as error:
            _log.warning("split not recorded visit=%s: %s", visit_id, error)
            return shown(request, session, visit, status=409, problem="no_key")
        for record in told:
            shell.arrivals.add(record)  # the page that follows shows it; the watch will find them again
        return RedirectResponse(f"/visits/{visit_id}/other-person", 303)


def _beside(shell: Shell, visit: ShownVisit) -> list[ShownVisit]:
    """The person's other visits whose faces stand beside this one's, the newest first; an older one is looked up."""
    if visit.whose is None or visit.split_from is not None:
        return []
    others = [one for one in shell.arrivals.others_of(visit) if not one.forgotten]
    if not others:
        with closing(shell.home.open_ledger()) as ledger:
            told = last_visit(ledger, visit.whose, visit.at)
        for record in told:
            shell.arrivals.add(record)
        others = [one for one in shell.arrivals.others_of(visit) if not one.forgotten]
    return others[:_BESIDE]
