"""The kiosk's pages: who has arrived, whom the desk must look at, and how the node is."""

import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import Depends, FastAPI, Form, HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from edge import EdgeError
from edge.certificate import NoCertificate, issue
from edge.checkin import CheckIn
from edge.clock import Clock
from edge.epochs import moved
from edge.explanation import because
from edge.grade import ONLY_B
from edge.home import Home
from edge.kiosk import checkin
from edge.kiosk.arrivals import FEED, Arrivals
from edge.kiosk.desk import BadAnswer, Desk
from edge.kiosk.faces import Faces
from edge.kiosk.film import moving
from edge.kiosk.health import Health
from edge.kiosk.live import LedgerWatch
from edge.kiosk.shown import ShownVisit
from edge.kiosk.view import View
from edge.live_view import pictures
from edge.paper import PaperError
from sync import SyncError
from sync.node.in_force import KeyNotInForce
from sync.web.accounts import Accounts
from sync.web.gate import Gate
from sync.web.languages import Languages
from sync.web.live import Live
from sync.web.pages import SHARED_TEXTS, Pages
from sync.web.sessions import IDLE_S, Session, Sessions
from sync.web.tablets import Tablets
from sync.web.times import Times

log = logging.getLogger(__name__)

_HERE = Path(__file__).parent
DESK = ("front_desk", "manager")
MANAGER = ("manager",)


def create_app(home: Home, *, idle_s: float = IDLE_S) -> FastAPI:
    """Build the kiosk of a HOME; `app.state.live` ends its event streams. Raises EdgeError or SyncError."""
    settings = home.settings()
    home.signer("desk")  # a kiosk that cannot sign says so now, not at the first answer
    if moved(home.open_ledger()):
        raise EdgeError(f"{home.path}: was last run on another machine: start the node here first, for a new epoch")
    times = Times(settings.site.timezone)
    live, arrivals = Live(), Arrivals()
    health = Health(tuple(camera.id for camera in settings.camera))
    watch = LedgerWatch(home.open_ledger, arrivals, health, live)
    accounts, tablets = Accounts(home.database), Tablets(home.database)
    sessions = Sessions(home.database, idle_s)
    pages = Pages(_HERE, Languages(SHARED_TEXTS, _HERE / "texts.toml"))
    gate = Gate("kiosk", accounts, sessions, tablets, pages)
    drawing = threading.Lock()  # two certificates at once would take twice the memory, which the unit bounds
    clock, faces = Clock(), Faces(home.database, home.keys_database)
    desk = Desk(lambda: home.open_ledger("desk", clock), home.database, home.keys_database)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        watch.start()
        yield
        live.close()
        watch.stop()
        faces.close()

    app = FastAPI(title="FirstVisit kiosk", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.live = live
    pages.mount(app)
    gate.mount(app)
    view = View(home, times, arrivals, health, watch, accounts, settings.site.id, settings.node.id)

    closing = CheckIn(lambda: home.open_ledger("desk", clock), home.database, home.keys_database)
    checkin.mount(app, closing, home, pages, gate, arrivals, view.common, DESK)

    page = Annotated[Session, Depends(gate.page(*DESK))]
    part = Annotated[Session, Depends(gate.part(*DESK))]
    desk_form = Annotated[Session, Depends(gate.form(*DESK))]
    manager_page = Annotated[Session, Depends(gate.page(*MANAGER))]
    manager_part = Annotated[Session, Depends(gate.part(*MANAGER))]
    manager_form = Annotated[Session, Depends(gate.form(*MANAGER))]

    @app.get("/")
    def arrivals_page(request: Request, session: page) -> Response:
        return pages.render(
            request,
            "arrivals.html",
            session=session,
            **view.common(),
            **view.today(),
            **view.panels(),
            feed=arrivals.newest(FEED),
        )

    @app.get("/fragments/arrival/{visit_id}")
    def arrival_fragment(request: Request, visit_id: str, _session: part) -> Response:
        return pages.render(request, "card.html", **view.common(), visit=_known(visit_id))

    @app.get("/fragments/today")
    def today_fragment(request: Request, _session: part) -> Response:
        return pages.render(request, "today.html", **view.today())

    @app.get("/fragments/panels")
    def panels_fragment(request: Request, _session: part) -> Response:
        return pages.render(request, "panels.html", **view.common(), **view.panels())

    @app.get("/fragments/trouble")
    def trouble_fragment(request: Request, _session: part) -> Response:
        return pages.render(request, "trouble.html", **view.common(), **view.node())

    @app.get("/fragments/count")
    def count_fragment(request: Request, _session: part) -> Response:
        return pages.render(request, "count.html", count=len(arrivals.questions()))

    @app.get("/questions")
    def questions_page(request: Request, session: page, answered: str = "", already: str = "") -> Response:
        return _questions_page(request, session, arrivals.get(answered), already == "1")

    def _questions_page(
        request: Request, session: Session, settled: ShownVisit | None, already: bool, *, no_key: bool = False
    ) -> Response:
        return pages.render(
            request,
            "questions.html",
            status=409 if no_key else 200,
            session=session,
            **view.common(),
            questions=view.questions(),
            settled=settled if settled and settled.correction else None,
            already=already,
            no_key=no_key,
            csrf_token=session.csrf_token,
        )

    @app.get("/fragments/questions")
    def questions_fragment(request: Request, session: part) -> Response:
        questions = view.questions()
        return pages.render(
            request, "question_list.html", **view.common(), questions=questions, csrf_token=session.csrf_token
        )

    @app.post("/questions/{visit_id}")
    def answer(request: Request, visit_id: str, session: desk_form, person: Annotated[str, Form()]) -> Response:
        question = _known(visit_id)
        try:
            given = desk.answer(question, None if person == "new" else person, session.account.account_id)
        except BadAnswer as error:
            raise HTTPException(404) from error
        except KeyNotInForce as error:
            log.warning("answer not recorded visit=%s: %s", visit_id, error)
            return _questions_page(request, session, None, already=False, no_key=True)
        if given.news:
            arrivals.add(given.record)  # the page that follows shows it; the watch will find it again
        already = "" if given.agrees else "&already=1"
        return RedirectResponse(f"/questions?answered={visit_id}{already}", 303)

    @app.get("/crops/{visit_id}.jpg")
    def crop(visit_id: str, _session: part) -> Response:
        jpeg = faces.crop(visit_id)
        if jpeg is None:
            return Response(status_code=404)
        return Response(jpeg, media_type="image/jpeg")

    @app.get("/visits/{visit_id}/why")
    def why(request: Request, visit_id: str, session: page) -> Response:
        visit = _known(visit_id)
        kept = faces.explanation(visit_id)
        nearest = [(near, arrivals.last_of(near.person_id, visit.arrived_us)) for near in kept.nearest] if kept else []
        return pages.render(
            request,
            "why.html",
            session=session,
            **view.common(),
            visit=visit,
            fields=visit.decided.fields,
            because=because(visit.original, visit.decided.fields),
            kept=kept,
            nearest=nearest,
            only_b=ONLY_B,
        )

    @app.get("/cameras/{camera_id}")
    def camera_page(request: Request, camera_id: str, session: manager_page) -> Response:
        if not health.knows(camera_id):
            raise HTTPException(404)
        return pages.render(
            request, "camera.html", session=session, **view.common(), camera_id=camera_id, **view.node()
        )

    @app.get("/cameras/{camera_id}/live.mjpeg")
    async def camera_live(camera_id: str, session: manager_part) -> Response:
        if not health.knows(camera_id):
            raise HTTPException(404)
        return await moving(pictures(home.database.resolve().parent, camera_id), lambda: sessions.alive(session.key))

    @app.get("/certificates/{visit_id}")
    def certificate_page(request: Request, visit_id: str, session: page) -> Response:
        return _certificate_page(request, session, _known(visit_id))

    @app.post("/certificates/{visit_id}")
    def certificate(
        request: Request, visit_id: str, session: desk_form, form: Annotated[Literal["pdf", "zip"], Form()]
    ) -> Response:
        visit = _known(visit_id)
        if view.refused(visit):
            return _certificate_page(request, session, visit)
        ledger = home.open_ledger("desk", clock)
        try:
            with drawing:
                issued = issue(home, visit_id, form, ledger, account_id=session.account.account_id)
        except (NoCertificate, PaperError, SyncError) as error:
            log.warning("no certificate visit=%s: %s", visit_id, error)
            why = "font" if isinstance(error, PaperError) else "damaged"
            why = "key" if isinstance(error, KeyNotInForce) else why
            return _certificate_page(request, session, visit, why)
        finally:
            ledger.close()
        name = quote(f"{visit_id}.{form}")
        disposition = {"content-disposition": f'attachment; filename="{name}"'}
        return Response(issued.data, media_type=f"application/{form}", headers=disposition)

    def _certificate_page(request: Request, session: Session, visit: ShownVisit, refused: str = "") -> Response:
        refused = refused or view.refused(visit)
        return pages.render(
            request,
            "certificate.html",
            status=409 if request.method == "POST" else 200,
            session=session,
            **view.common(),
            visit=visit,
            refused=refused,
            csrf_token=session.csrf_token,
        )

    @app.get("/node")
    def node_page(request: Request, session: page) -> Response:
        return pages.render(request, "node.html", session=session, **view.common(), **view.node())

    @app.get("/fragments/node")
    def node_fragment(request: Request, session: part) -> Response:
        return pages.render(request, "node_facts.html", session=session, **view.common(), **view.node())

    @app.get("/tablets")
    def tablets_page(request: Request, session: manager_page) -> Response:
        registered = [(tablet, accounts.named(tablet.registered_by) or "?") for tablet in tablets.all()]
        return pages.render(
            request,
            "tablets.html",
            session=session,
            **view.common(),
            registered=registered,
            here=gate.tablet(request),
            csrf_token=session.csrf_token,
        )

    @app.post("/tablets")
    def register_tablet(request: Request, session: manager_form, name: Annotated[str, Form()] = "") -> Response:
        response = RedirectResponse("/tablets", 303)
        gate.register_tablet(request, response, name, session.account)
        return response

    @app.post("/tablets/{tablet_id}/revoke")
    def revoke_tablet(tablet_id: str, _session: manager_form) -> Response:
        tablets.revoke(tablet_id)
        return RedirectResponse("/tablets", 303)

    @app.get("/events")
    def events(session: part) -> Response:
        return live.response(lambda: sessions.alive(session.key))

    def _known(visit_id: str) -> ShownVisit:
        visit = arrivals.get(visit_id)
        if visit is None:
            raise HTTPException(404)
        return visit

    return app
