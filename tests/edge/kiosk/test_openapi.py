"""Schemathesis over every route of the kiosk, as each role, and of the visitors' page: whatever is sent, no 5xx."""

import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

from sync.web.server import PageServer
from tests.conftest import form_token
from tests.edge.kiosk.conftest import until_shown
from tests.edge.kiosk.door import Door
from tests.edge.kiosk.test_app import FORMS, OPEN, PAGES, PARTS, ROLES
from tests.edge.kiosk.test_visitor import Site, site

__all__ = ["site"]  # a fixture

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
ENDLESS = {"/events", "/cameras/{camera_id}/live.mjpeg"}
FEW = settings(
    max_examples=3,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
Hidden = Callable[[], dict[str, str]]


def broken(
    server: PageServer, routes: set[str], client: httpx.Client, known: dict[str, str], hidden: Hidden
) -> tuple[list[str], set[int]]:
    """What the application's own schema leads Schemathesis to send, right and wrong: answers of 5xx, and all statuses.

    known: what names something that is there, put into half of the addresses. hidden: what a page's form brings along;
    half of the forms are sent with it.
    """
    schema = schemathesis.openapi.from_dict(server.app.openapi())  # type: ignore[attr-defined]
    faults: list[str] = []
    statuses: set[int] = set()
    asked: set[str] = set()

    def send(case: Any, there: bool) -> None:
        asked.add(case.operation.path)
        if there:
            case.path_parameters.update({name: known[name] for name in case.path_parameters if name in known})
            if isinstance(case.body, dict):
                case.body.update(hidden())
        answer = case.call(base_url=server.url, headers={"Origin": server.url}, cookies=dict(client.cookies))
        statuses.add(answer.status_code)
        if answer.status_code >= 500:
            faults.append(f"{answer.status_code} {case.method} {case.formatted_path} {case.query} {case.body!r}"[:600])

    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path in routes:
            for mode in schemathesis.GenerationMode:
                with suppress(Unsatisfiable):  # nothing can be wrong about an address that takes nothing
                    FEW(given(case=operation.as_strategy(generation_mode=mode), there=st.booleans())(send))()
    assert asked == routes
    return faults, statuses


@pytest.mark.parametrize("name", ROLES)
def test_nothing_that_somebody_signed_in_sends_breaks_the_desk(
    kiosk: PageServer, door: Door, visitor: Callable[..., httpx.Client], name: str
) -> None:
    visit, known = door.arrive("first", ago_s=60)
    asked, _ = door.arrive("unsure", candidates=((known, 0.46),), similarity=0.46)
    client = visitor(name)
    until_shown(visitor("li"), asked)
    token = form_token(client, "/node")
    routes, sent = (
        {route for table in tables for route, roles in table.items() if ROLES[name] in roles and _asks(roles) == name}
        for tables in ((PAGES, PARTS, FORMS), (FORMS,))
    )
    names = {"visit_id": visit if name == "li" else asked, "alias": known, "camera_id": "entrance", "place": "1.2"}
    faults, statuses = broken(
        kiosk,
        routes - ENDLESS,
        client,
        {**names, "epoch": "1", "seq": "2"},
        lambda: {"csrf_token": token, "request_id": secrets.token_hex(16)},
    )
    assert faults == []
    assert 200 in statuses
    assert not sent or {403, 422} & statuses, "forms without a token, and nonsense"


def _asks(roles: set[str]) -> str:
    """Who of those whom a route answers asks it here: whoever may do least, once for all of them."""
    return next(name for name in ("installer", "auditor", "privacy", "li", "wang") if ROLES[name] in roles)


def test_nothing_that_nobody_sends_breaks_the_sign_in(kiosk: PageServer, visitor: Callable[..., httpx.Client]) -> None:
    client = visitor()
    token = form_token(client)
    faults, statuses = broken(kiosk, set(OPEN), client, {}, lambda: {"csrf_token": token})
    assert faults == []
    assert {200, 401, 403} <= statuses


def test_nothing_that_a_phone_sends_breaks_the_visitors_page(site: Site) -> None:
    routes = {route.path for route in site.visitors.app.routes if hasattr(route, "methods")}  # type: ignore[attr-defined]
    with site.phone() as phone:
        token = site.opened(phone).removeprefix("/f/")
        faults, statuses = broken(site.visitors, routes, phone, {"token": token, "code": site.code()}, dict)
    assert faults == []
    assert {200, 410, 422} <= statuses
