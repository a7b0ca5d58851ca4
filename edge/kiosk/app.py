"""The kiosk: its parts wired together, and a page a module."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from fastapi import FastAPI

from edge import EdgeError
from edge.access_log import AccessLog
from edge.clock import Clock
from edge.desk.arrivals import Arrivals
from edge.desk.pictures import MAX_PICTURE_BYTES
from edge.head_office import basis
from edge.home import Home
from edge.keys.epochs import moved
from edge.kiosk import (
    access,
    approvals,
    cameras,
    certificates,
    checkin,
    codes,
    consent,
    corrections,
    display,
    enrol,
    erasures,
    front,
    lookback,
    manager,
    node_page,
    notes,
    offline,
    parties,
    questions,
    receipts,
    rights,
    rota,
    splitting,
    tablets,
    trust,
    undo,
    visitor,
    why,
)
from edge.kiosk.faces import Faces
from edge.kiosk.health import Health
from edge.kiosk.jobs import Jobs
from edge.kiosk.live import LedgerWatch
from edge.kiosk.made_once import MadeOnce
from edge.kiosk.roles import HOMES, IDLE_S
from edge.kiosk.shell import Shell
from edge.kiosk.sign_in import accounts_of, records_of, tablets_of
from edge.kiosk.view import View
from edge.sure_time import SureTime
from edge.visitor.app import ANSWERS
from sync.node.in_force import KeyNotInForce
from sync.web.bodies import MAX_FORM_BYTES, LongestBody
from sync.web.gate import Gate
from sync.web.languages import Languages
from sync.web.live import Live
from sync.web.pages import SHARED_TEXTS, Pages
from sync.web.sessions import Sessions
from sync.web.times import Times

_log = logging.getLogger(__name__)
_HERE = Path(__file__).parent
_PICTURES = dict.fromkeys(("/code/picture", "/code/read"), MAX_PICTURE_BYTES + MAX_FORM_BYTES)
_PAGES = (
    access,
    approvals,
    corrections,
    rights,
    erasures,
    enrol,
    front,
    parties,
    questions,
    receipts,
    checkin,
    undo,
    rota,
    consent,
    codes,
    lookback,
    why,
    splitting,
    certificates,
    cameras,
    manager,
    node_page,
    notes,
    tablets,
    trust,
    visitor,
    display,
    offline,
)


def create_app(home: Home, *, idle_s: float = IDLE_S) -> FastAPI:
    """Build the kiosk of a HOME; `app.state.live` ends its event streams. Raises EdgeError or SyncError."""
    settings = home.settings()
    home.signer("desk")  # a kiosk that cannot sign says so now, not at the first answer
    if moved(home.open_ledger()):
        raise EdgeError(f"{home.path}: was last run on another machine: start the node here first, for a new epoch")
    times = Times(settings.site.timezone)
    live, arrivals = Live(), Arrivals(partial(basis, home))
    health = Health(tuple(camera.id for camera in settings.camera))
    sure = SureTime()
    watch = LedgerWatch(home.open_ledger, arrivals, health, live, sure=sure)
    accounts, registered = accounts_of(home), tablets_of(home)
    try:
        records_of(home).find()
    except KeyNotInForce as error:  # the pages still show; whoever wants to sign is told so
        _log.error("accounts not recorded: %s", error)
    sessions = Sessions(home.database, idle_s)
    pages = Pages(_HERE, Languages(SHARED_TEXTS, _HERE / "texts.toml", ANSWERS), permissions=("camera",))
    gate = Gate("kiosk", accounts, sessions, registered, pages, HOMES)
    jobs = Jobs(settings.site.timezone)
    faces = Faces(home.database, home.keys_database)
    looks = AccessLog(home.database)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        watch.start()
        jobs.start()
        yield
        live.close()
        jobs.stop()
        watch.stop()
        faces.close()
        looks.close()

    app = FastAPI(title="FirstVisit kiosk", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.live = live
    app.add_middleware(LongestBody, signed_in=gate.signed_in, larger=_PICTURES)
    pages.mount(app)
    gate.mount(app)
    view = View(home, times, arrivals, health, watch, accounts, settings.site.id, settings.node.id)
    shell = Shell(
        app=app,
        home=home,
        gate=gate,
        pages=pages,
        view=view,
        arrivals=arrivals,
        health=health,
        faces=faces,
        live=live,
        clock=Clock(),
        accounts=accounts,
        sessions=sessions,
        tablets=registered,
        jobs=jobs,
        made_once=MadeOnce(),
        access=looks,
        sure=sure,
    )
    for page in _PAGES:
        page.mount(shell)
    return app
