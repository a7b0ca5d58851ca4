"""The page of questions: an unsure visitor beside whom they may be, answered at one tap."""

import logging
from typing import Annotated

from fastapi import Depends, Form, HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from edge.desk.answers import Answers, BadAnswer
from edge.desk.shown import ShownVisit
from edge.kiosk.roles import DESK
from edge.kiosk.shell import Shell
from sync.node.in_force import KeyNotInForce
from sync.web.sessions import Session

_log = logging.getLogger(__name__)


def mount(shell: Shell) -> None:
    """Add /questions, the answers to them, and the count in the navigation."""
    app, view, arrivals = shell.app, shell.view, shell.arrivals
    page = Annotated[Session, Depends(shell.gate.page(*DESK))]
    part = Annotated[Session, Depends(shell.gate.part(*DESK))]
    form = Annotated[Session, Depends(shell.gate.form(*DESK))]
    answers = Answers(shell.desk_ledger, shell.home.database, shell.home.keys_database)

    def shown(
        request: Request, session: Session, settled: ShownVisit | None, already: bool, *, no_key: bool = False
    ) -> Response:
        return shell.page(
            request,
            "questions.html",
            session,
            409 if no_key else 200,
            questions=view.questions(),
            settled=settled if settled and settled.correction else None,
            already=already,
            no_key=no_key,
        )

    @app.get("/questions")
    def questions_page(request: Request, session: page, answered: str = "", already: str = "") -> Response:
        return shown(request, session, arrivals.get(answered), already == "1")

    @app.get("/fragments/questions")
    def questions_fragment(request: Request, session: part) -> Response:
        return shell.part(request, "question_list.html", questions=view.questions(), csrf_token=session.csrf_token)

    @app.get("/fragments/count")
    def count_fragment(request: Request, _session: part) -> Response:
        return shell.part(request, "count.html")

    @app.post("/questions/{visit_id}")
    def answer(request: Request, visit_id: str, session: form, person: Annotated[str, Form()]) -> Response:
        question = shell.known(visit_id)
        try:
            given = answers.answer(question, None if person == "new" else person, session.account.account_id)
        except BadAnswer as error:
            raise HTTPException(404) from error
        except KeyNotInForce as error:
            _log.warning("answer not recorded visit=%s: %s", visit_id, error)
            return shown(request, session, None, already=False, no_key=True)
        if given.news:
            arrivals.add(given.record)  # the page that follows shows it; the watch will find it again
        already = "" if given.agrees else "&already=1"
        return RedirectResponse(f"/questions?answered={visit_id}{already}", 303)
