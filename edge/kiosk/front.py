"""The front page, whom the desk is to serve; the log of arrivals; and the parts of both that renew themselves."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from edge.desk.arrivals import FEED
from edge.kiosk.parties import PartyView
from edge.kiosk.phone_forms import PhoneForms
from edge.kiosk.roles import DESK, EVERYBODY, EVIDENCE
from edge.kiosk.shell import Shell
from sync.web.sessions import Session

_OF_NOBODY = ("node", "acked")  # events that name no visit: all that the others' pages follow


def mount(shell: Shell) -> None:
    """Add / and /arrivals, their fragments, the faces on the cards and the stream of events."""
    app, view = shell.app, shell.view
    page = Annotated[Session, Depends(shell.gate.page(*DESK))]
    part = Annotated[Session, Depends(shell.gate.part(*DESK))]
    evidence_part = Annotated[Session, Depends(shell.gate.part(*EVIDENCE))]
    anybody = Annotated[Session, Depends(shell.gate.part(*EVERYBODY))]

    parties, phones = PartyView(shell), PhoneForms(shell)
    visitors_page = shell.home.settings().visitor.listen is not None

    @app.get("/")
    def desk_page(request: Request, session: page, form: str = "", digits: str = "") -> Response:
        shown = parties.listed()
        given = view.today() | view.panels() | shown | phones.listed(digits)
        given |= phones.choosing(form, "", shown["waiting_parties"])
        return shell.page(request, "desk.html", session, **given, v=None, visitors_page=visitors_page)

    @app.get("/fragments/parties")
    def parties_fragment(request: Request, session: part, form: str = "", request_id: str = "") -> Response:
        if not form:
            return shell.part_for_all(request, "party_list.html", lambda: parties.listed() | {"chosen": None})
        shown = parties.listed()
        given = shown | phones.choosing(form, request_id, shown["waiting_parties"])
        return shell.part(request, "party_list.html", csrf_token=session.csrf_token, **given)

    @app.get("/arrivals")
    def arrivals_page(request: Request, session: page) -> Response:
        feed = shell.arrivals.newest(FEED)
        return shell.page(request, "arrivals.html", session, **view.today(), **view.panels(), feed=feed)

    @app.get("/fragments/arrival/{visit_id}")
    def arrival_fragment(request: Request, visit_id: str, _session: part) -> Response:
        return shell.part(request, "card.html", visit=shell.known(visit_id))

    @app.get("/fragments/today")
    def today_fragment(request: Request, _session: part) -> Response:
        return shell.part_for_all(request, "today.html", view.today)

    @app.get("/fragments/panels")
    def panels_fragment(request: Request, _session: part) -> Response:
        return shell.part_for_all(request, "panels.html", view.panels)

    @app.get("/crops/{visit_id}.jpg")
    def crop(visit_id: str, session: evidence_part) -> Response:
        jpeg = shell.faces.crop(visit_id)
        if jpeg is None:
            return Response(status_code=404)
        shell.look(session, "face", visit_id)
        return Response(jpeg, media_type="image/jpeg")

    @app.get("/events")
    def events(session: anybody) -> Response:
        only = None if session.account.role in DESK else _OF_NOBODY
        return shell.live.response(lambda: shell.sessions.alive(session.key), only)
