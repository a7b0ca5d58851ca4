"""The page of questions: an unsure visitor beside whom they may be, two ids that may be one person; each one tap."""

import logging
from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import Depends, Form, HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from edge.desk.answers import Answers, BadAnswer
from edge.desk.merging import BadPair, Merging, Said
from edge.desk.shown import MergeSaid, ShownVisit
from edge.kiosk.forms import sent_once
from edge.kiosk.roles import DESK, MANAGER
from edge.kiosk.shell import Shell
from edge.minted import new_request
from sync.node.in_force import KeyNotInForce
from sync.web.sessions import Session

_log = logging.getLogger(__name__)


def mount(shell: Shell) -> None:
    """Add /questions, the answers to them, /merges for two ids, and the count in the navigation."""
    app, view, arrivals = shell.app, shell.view, shell.arrivals
    page = Annotated[Session, Depends(shell.gate.page(*DESK))]
    part = Annotated[Session, Depends(shell.gate.part(*DESK))]
    form = Annotated[Session, Depends(shell.gate.form(*DESK))]
    manager_form = Annotated[Session, Depends(shell.gate.form(*MANAGER))]
    answers = Answers(shell.desk_ledger, shell.home.database, shell.home.keys_database)
    merging = Merging(shell.desk_ledger, shell.home)

    def shown(
        request: Request,
        session: Session,
        settled: ShownVisit | None = None,
        *,
        already: bool = False,
        no_key: bool = False,
        said: MergeSaid | None = None,
        stale: bool = False,
    ) -> Response:
        return shell.page(
            request,
            "questions.html",
            session,
            409 if no_key or stale else 200,
            questions=view.questions(),
            proposals=view.proposals(),
            merges=arrivals.merges(),
            settled=settled if settled and settled.correction else None,
            already=already,
            no_key=no_key,
            said=said,
            stale=stale,
            may_split=session.account.role in MANAGER,
            request_id=new_request(),
        )

    def of_two(request: Request, session: Session, say: Callable[[], Said]) -> Response:
        try:
            said = say()
        except BadPair:
            return shown(request, session, stale=True)
        except KeyNotInForce as error:
            _log.warning("word on two ids not recorded: %s", error)
            return shown(request, session, no_key=True)
        arrivals.add(said.record)
        return RedirectResponse(f"/questions?said={said.record.seq}", 303)

    @app.get("/questions")
    def questions_page(
        request: Request, session: page, answered: str = "", already: str = "", said: int = 0
    ) -> Response:
        return shown(request, session, arrivals.get(answered), already=already == "1", said=arrivals.said(said))

    @app.get("/fragments/questions")
    def questions_fragment(request: Request, session: part) -> Response:
        return shell.part(
            request,
            "question_list.html",
            questions=view.questions(),
            proposals=view.proposals(),
            csrf_token=session.csrf_token,
            request_id=new_request(),
        )

    @app.get("/fragments/count")
    def count_fragment(request: Request, _session: part) -> Response:
        return shell.part_for_all(request, "count.html", dict)

    @app.post("/questions/{visit_id}")
    def answer(
        request: Request,
        visit_id: str,
        session: form,
        person: Annotated[str, Form()] = "",
        pair: Annotated[str, Form()] = "",
        request_id: Annotated[str, Form()] = "",
    ) -> Response:
        question, account_id = shell.known(visit_id), session.account.account_id
        if bool(person) == bool(pair):  # a form without its button, or with both
            raise HTTPException(422, "form")
        if pair:  # a twin of this candidate: somebody new, and the two a pair from here on
            sent = sent_once(request_id)
            if pair not in {candidate.person_id for candidate in question.candidates}:
                raise HTTPException(404)
        try:
            given = answers.answer(question, None if person == "new" or pair else person, account_id)
        except BadAnswer as error:
            raise HTTPException(404) from error
        except KeyNotInForce as error:
            _log.warning("answer not recorded visit=%s: %s", visit_id, error)
            return shown(request, session, no_key=True)
        if given.news:
            arrivals.add(given.record)  # the page that follows shows it; the watch will find it again
        if pair and given.record.fields.get("decision") == "first" and question.provisional is not None:
            two = (pair, question.provisional)
            return of_two(request, session, lambda: merging.look_alike(two, visit_id, sent, account_id))
        already = "" if given.agrees else "&already=1"
        return RedirectResponse(f"/questions?answered={visit_id}{already}", 303)

    @app.post("/merges/{visit_id}")
    def merge(
        request: Request,
        visit_id: str,
        session: form,
        word: Annotated[Literal["merged", "lookalike"], Form()],
        request_id: Annotated[str, Form()],
    ) -> Response:
        visit, sent = shell.known(visit_id), sent_once(request_id)
        if len(visit.merge) != 2:
            raise HTTPException(404)
        two, say = (visit.merge[0], visit.merge[1]), merging.one_person if word == "merged" else merging.look_alike
        return of_two(request, session, lambda: say(two, visit_id, sent, session.account.account_id))

    @app.post("/merges/{alias}/back")
    def split(request: Request, alias: str, session: manager_form, request_id: Annotated[str, Form()]) -> Response:
        sent = sent_once(request_id)
        return of_two(request, session, lambda: merging.not_same(alias, sent, session.account.account_id))
