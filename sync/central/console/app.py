"""The console's pages, read from central's store: nodes, one node, visits."""

import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, get_args

from fastapi import Depends, FastAPI, HTTPException
from starlette.requests import Request
from starlette.responses import Response

from sync.central.accounts import standings
from sync.central.console import corrections
from sync.central.console.live import StoreWatch
from sync.central.console.places import Places
from sync.central.nightly import last_check
from sync.central.store.location import accounts_path, open_store
from sync.central.store.rows import VisitRow
from sync.central.store.store import Store
from sync.format.visit_fields import Decision
from sync.web.accounts import Accounts
from sync.web.bodies import LongestBody
from sync.web.gate import Gate
from sync.web.languages import Languages
from sync.web.live import Live
from sync.web.pages import SHARED_TEXTS, Pages
from sync.web.sessions import IDLE_S, Session, Sessions
from sync.web.times import Times, bounded, lasting

READERS = ("viewer", *corrections.AUDITORS)
_HERE = Path(__file__).parent
_TIMEZONE = "Asia/Shanghai"  # design.md 3: the default of every site
_PAGE = 50
_LOOKED_THROUGH = 2000  # visits read at most to fill a filtered page
_SHOWN_RECORDS = 20
_SHOWN_NOTICES = 20
_CURSOR = re.compile(r"([0-9]{1,19})\.([0-9]{1,19})")


def create_app(central_dir: Path, *, idle_s: float = IDLE_S) -> FastAPI:
    """Build the console of a central; `app.state.live.close()` ends its event streams. Raises SyncError."""
    path = accounts_path(central_dir)
    open_store(central_dir).close()
    times, live, places = Times(_TIMEZONE), Live(), Places()
    watch = StoreWatch(central_dir, live)
    accounts = Accounts(path)
    sessions = Sessions(path, idle_s)
    pages = Pages(_HERE, Languages(SHARED_TEXTS, _HERE / "texts.toml"))
    gate = Gate("console", accounts, sessions, None, pages)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        watch.start()
        yield
        live.close()
        watch.stop()

    app = FastAPI(title="FirstVisit console", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.live = live
    app.add_middleware(LongestBody, signed_in=gate.signed_in)
    pages.mount(app)
    gate.mount(app)

    page = Annotated[Session, Depends(gate.page(*READERS))]
    part = Annotated[Session, Depends(gate.part(*READERS))]

    def common() -> dict[str, Any]:
        return {"times": times, "now_us": time.time_ns() // 1000, "lasting": lasting, "bounded": bounded}

    def nodes() -> dict[str, Any]:
        with open_store(central_dir) as store:
            rows, refusals = store.nodes(), store.refusals()
            stands = {node.node_id: places.of(store, node) for node in rows}
        return {
            "nodes": rows,
            "places": stands,
            "refusals": refusals,
            "night": last_check(central_dir),
            "online": sum(node.online for node in rows),
            "waiting": sum(node.lag or 0 for node in rows),
            "alarms": sum(node.chain != "ok" for node in rows),
            "unsynced": sum(node.clock_source == "unsynced" for node in rows),
        }

    def node(node_id: str) -> dict[str, Any]:
        with open_store(central_dir) as store:
            found = store.node(node_id)
            if found is None:
                raise HTTPException(404)
            tail = list(store.records(node_id, after=(found.epoch, max(0, found.seq - _SHOWN_RECORDS))))
            return {
                "node": found,
                "notices": store.newest_notices(node_id, _SHOWN_NOTICES),
                "accounts": standings(store, node_id),
                "records": tail[::-1],
                "place": places.of(store, found),
                "witness": next(iter(store.signed_back(node_id)), None),
            }

    def visits(node_id: str, decision: str, before: str) -> dict[str, Any]:
        with open_store(central_dir) as store:
            rows = store.nodes()
            found, more = _matching(store, node_id, decision, _cursor(before))
        return {
            "nodes": rows,
            "visits": found,
            "chosen_node": node_id,
            "chosen_decision": decision,
            "decisions": get_args(Decision),
            "before": before,
            "older": f"{found[-1].cursor[0]}.{found[-1].cursor[1]}" if more else "",
        }

    @app.get("/")
    def nodes_page(request: Request, session: page) -> Response:
        return pages.render(request, "nodes.html", session=session, **common(), **nodes())

    @app.get("/fragments/nodes")
    def nodes_fragment(request: Request, _session: part) -> Response:
        return pages.render(request, "node_list.html", **common(), **nodes())

    @app.get("/nodes/{node_id}")
    def node_page(request: Request, node_id: str, session: page) -> Response:
        return pages.render(request, "node.html", session=session, **common(), **node(node_id))

    @app.get("/fragments/nodes/{node_id}")
    def node_fragment(request: Request, node_id: str, _session: part) -> Response:
        return pages.render(request, "node_facts.html", **common(), **node(node_id))

    @app.get("/visits")
    def visits_page(request: Request, session: page, node: str = "", decision: str = "", before: str = "") -> Response:
        return pages.render(request, "visits.html", session=session, **common(), **visits(node, decision, before))

    @app.get("/fragments/visits")
    def visits_fragment(
        request: Request, _session: part, node: str = "", decision: str = "", before: str = ""
    ) -> Response:
        return pages.render(request, "visit_list.html", **common(), **visits(node, decision, before))

    corrections.mount(app, central_dir, gate, pages, accounts, common, READERS)

    @app.get("/events")
    def events(session: part) -> Response:
        return live.response(lambda: sessions.alive(session.key))

    return app


def _matching(store: Store, node_id: str, decision: str, before: tuple[int, int] | None) -> tuple[list[VisitRow], bool]:
    """A page of visits, and whether there may be more; decisions are corrected ones, so they are chosen here."""
    found: list[VisitRow] = []
    looked = 0
    while len(found) < _PAGE and looked < _LOOKED_THROUGH:
        batch = store.visits(limit=_PAGE, before=before, node_id=node_id or None)
        looked += len(batch)
        wanted = (visit for visit in batch if not decision or visit.decision == decision)
        found += islice(wanted, _PAGE - len(found))
        if len(batch) < _PAGE:
            return found, False
        before = found[-1].cursor if len(found) == _PAGE else batch[-1].cursor
    return found, bool(found)


def _cursor(text: str) -> tuple[int, int] | None:
    """Read `before`; what no page of ours has written counts as none."""
    found = _CURSOR.fullmatch(text)
    if found is None:
        return None
    arrived_us, row = int(found[1]), int(found[2])
    return (arrived_us, row) if max(arrived_us, row) < 2**63 else None  # SQLite's integers
