"""A private note to the auditor, left at one tap; and the auditor's page of them, which nobody else may open."""

import logging
from contextlib import closing
from typing import Annotated

from fastapi import Depends, Form
from starlette.requests import Request
from starlette.responses import Response

from edge.clock import wall_us
from edge.desk.desk_secrets import desk_secret
from edge.desk.notes import MOST_CHARS, Notes
from edge.kiosk.forms import sent_once
from edge.kiosk.roles import AUDITOR, DESK
from edge.kiosk.shell import Shell
from edge.minted import new_request
from sync.node.in_force import KeyNotInForce
from sync.web.sessions import Session

_log = logging.getLogger(__name__)


def mount(shell: Shell) -> None:
    """Add /visits/ID/note, /notes, and the job that lets old ones go."""
    home = shell.home
    notes = Notes(shell.desk_ledger, desk_secret(home.keys_database, "note"))
    writer = Annotated[Session, Depends(shell.gate.form(*DESK))]
    writing = Annotated[Session, Depends(shell.gate.page(*DESK))]
    reader = Annotated[Session, Depends(shell.gate.page(*AUDITOR))]

    def old_ones() -> None:
        days = home.ledger_days(home.settings())
        notes.drop(shell.surely_us() - days * 86_400_000_000)

    shell.jobs.daily(old_ones, 3, 40)

    def shown(request: Request, session: Session, visit_id: str, sent: str = "", problem: str = "") -> Response:
        with closing(home.open_ledger()) as ledger:
            kept = bool(sent) and notes.kept(ledger, sent)
        status = 409 if problem else 200
        visit = shell.known(visit_id)
        return shell.page(
            request,
            "note.html",
            session,
            status,
            visit=visit,
            kept=kept,
            problem=problem,
            most=MOST_CHARS,
            request_id=new_request(),
        )

    @shell.app.get("/visits/{visit_id}/note")
    def note_page(request: Request, visit_id: str, session: writing) -> Response:
        return shown(request, session, visit_id)

    @shell.app.post("/visits/{visit_id}/note")
    def leave(
        request: Request,
        visit_id: str,
        session: writer,
        request_id: Annotated[str, Form()],
        text: Annotated[str, Form(max_length=MOST_CHARS)] = "",
    ) -> Response:
        visit, sent = shell.known(visit_id), sent_once(request_id)
        try:
            notes.leave(visit.visit_id, session.account.account_id, text.strip(), sent, wall_us())
        except KeyNotInForce as error:
            _log.warning("note not kept: %s", error)
            return shown(request, session, visit_id, problem="no_key")
        return shown(request, session, visit_id, sent)  # no redirect: a shared tablet's history must not tell of it

    @shell.app.get("/notes")
    def notes_page(request: Request, session: reader) -> Response:
        with closing(home.open_ledger()) as ledger:
            found = list(notes.all(ledger))
        for note in found:
            shell.look(session, "note", note.visit_id)
        listed = [(one, shell.arrivals.get(one.visit_id)) for one in found]
        return shell.page(request, "notes.html", session, notes=listed)
