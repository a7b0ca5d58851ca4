"""The visitors' page: an application of its own, with its own port, routes and limits, and nobody signed in."""

import time
from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI, HTTPException
from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import Response

from edge.home import Home
from edge.visitor.limits import Limits, Now
from edge.visitor.page import VisitorPage
from sync.web.languages import Languages
from sync.web.live import Live
from sync.web.pages import Pages

_HERE = Path(__file__).parent
ANSWERS = _HERE.parent / "desk" / "visitor_texts.toml"


def create_visitor_app(
    home: Home, live: Live, *, position: bool, now_s: Now = time.time, monotonic_s: Now = time.monotonic
) -> FastAPI:
    """Build the visitors' page of a HOME; live: tells the desk's pages of a form.

    position: whether the page may ask a browser where it is, which needs a certificate that every phone trusts.
    """
    app = FastAPI(title="FirstVisit visitor", docs_url=None, redoc_url=None, openapi_url=None)
    pages = Pages(_HERE, Languages(_HERE / "texts.toml", ANSWERS), ("geolocation",) if position else ())
    page = VisitorPage(home, pages, live, position, now_s, monotonic_s)
    pages.mount(app, shared=False)
    page.mount(app)
    refused = _refusing(pages)
    app.exception_handler(HTTPException)(refused)
    app.exception_handler(404)(refused)
    app.exception_handler(405)(refused)
    app.exception_handler(RequestValidationError)(refused)
    app.add_middleware(Limits, now_s=monotonic_s)
    return app


def _refusing(pages: Pages) -> Callable[[Request, Exception], Response]:
    def refused(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 422
        status = getattr(error, "status_code", status)
        why = {410: "over", 429: "busy"}.get(status, "missing")
        return pages.render(request, "notice.html", status, why=why, site_name="")

    return refused
