"""The page that hands out a visit's certificate, or says why there is none."""

import logging
import threading
from contextlib import closing
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import Depends, Form
from starlette.requests import Request
from starlette.responses import Response

from edge.desk.shown import ShownVisit
from edge.kiosk.roles import EVIDENCE
from edge.kiosk.shell import Shell
from edge.papers.certificate import NoCertificate, issue
from edge.papers.paper import PaperError
from sync import SyncError
from sync.node.in_force import KeyNotInForce
from sync.web.sessions import Session

_log = logging.getLogger(__name__)


def mount(shell: Shell) -> None:
    """Add /certificates/ID and the form on it."""
    app = shell.app
    page = Annotated[Session, Depends(shell.gate.page(*EVIDENCE))]
    form = Annotated[Session, Depends(shell.gate.form(*EVIDENCE))]
    drawing = threading.Lock()  # two certificates at once would take twice the memory, which the unit bounds

    def shown(request: Request, session: Session, visit: ShownVisit, refused: str = "") -> Response:
        status = 409 if request.method == "POST" else 200
        shell.look(session, "certificate", visit.visit_id)
        refused = refused or shell.view.refused(visit)
        return shell.page(request, "certificate.html", session, status, visit=visit, refused=refused)

    @app.get("/certificates/{visit_id}")
    def certificate_page(request: Request, visit_id: str, session: page) -> Response:
        return shown(request, session, shell.known(visit_id))

    @app.post("/certificates/{visit_id}")
    def certificate(
        request: Request, visit_id: str, session: form, form: Annotated[Literal["pdf", "zip"], Form()]
    ) -> Response:
        visit = shell.known(visit_id)
        if shell.view.refused(visit):
            return shown(request, session, visit)
        try:
            with closing(shell.desk_ledger()) as ledger, drawing:
                issued = issue(shell.home, visit_id, form, ledger, account_id=session.account.account_id)
        except (NoCertificate, PaperError, SyncError) as error:
            _log.warning("no certificate visit=%s: %s", visit_id, error)
            why = "font" if isinstance(error, PaperError) else "damaged"
            why = "key" if isinstance(error, KeyNotInForce) else why
            return shown(request, session, visit, why)
        name = quote(f"{visit_id}.{form}")
        disposition = {"content-disposition": f'attachment; filename="{name}"'}
        return Response(issued.data, media_type=f"application/{form}", headers=disposition)
