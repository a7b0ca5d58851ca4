"""The page that says why a visit was decided as it was."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from edge.kiosk.roles import EVIDENCE, MANAGER
from edge.kiosk.shell import Shell
from edge.recognition.grade import ONLY_B
from edge.visits.explanation import because
from sync.web.sessions import Session


def mount(shell: Shell) -> None:
    """Add /visits/ID/why."""
    page = Annotated[Session, Depends(shell.gate.page(*EVIDENCE))]

    @shell.app.get("/visits/{visit_id}/why")
    def why(request: Request, visit_id: str, session: page) -> Response:
        visit = shell.known(visit_id)
        shell.look(session, "why", visit_id)
        kept = shell.faces.explanation(visit_id)
        nearest = kept.nearest if kept else ()
        return shell.page(
            request,
            "why.html",
            session,
            visit=visit,
            fields=visit.decided.fields,
            because=because(visit.original, visit.decided.fields),
            kept=kept,
            nearest=[
                (near, shell.arrivals.last_of(near.person_id, visit.arrived_us) if near.person_id else None)
                for near in nearest
            ],
            only_b=ONLY_B,
            may_split=session.account.role in MANAGER and visit.decision == "return" and not visit.forgotten,
        )
