"""Rendered pages: templates, the headers that keep them private, and the assets both applications share."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sync.web.languages import COOKIE, Languages, Texts

_HERE = Path(__file__).parent
SHARED_TEXTS = _HERE / "texts.toml"
SHARED_STATIC = _HERE / "static"
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_YEAR_S = 365 * 24 * 3600
_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with no-referrer, browsers send `Origin: null` and our own forms would fail
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
_PERMISSIONS = ("camera", "microphone", "geolocation")


class PrivateHeaders:
    """ASGI middleware: strict headers on everything, and nothing but assets may be stored anywhere."""

    def __init__(self, app: ASGIApp, permissions: Sequence[str] = ()) -> None:
        """permissions: what of a device pages may ask for, where they come over TLS; browsers give it to no others."""
        self._app = app
        allowed = ", ".join(f"{one}={'(self)' if one in permissions else '()'}" for one in _PERMISSIONS)
        self._secure = {**_HEADERS, "permissions-policy": allowed}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        private = self._secure if scope["scheme"] == "https" else _HEADERS
        asset = scope["path"].startswith(("/static/", "/shared/"))

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in private.items():
                    headers[name] = value
                headers["cache-control"] = "no-cache" if asset else "no-store"
            await send(message)

        await self._app(scope, receive, send_with_headers)


class Pages:
    """Renders the templates of one application over the shared ones."""

    def __init__(self, folder: Path, languages: Languages, permissions: Sequence[str] = ()) -> None:
        """folder: holds templates/ and static/. permissions: as PrivateHeaders takes them."""
        self._permissions = permissions
        self.languages = languages
        self._folder = folder
        self._environment = Environment(
            loader=ChoiceLoader([FileSystemLoader(folder / "templates"), FileSystemLoader(_HERE / "templates")]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,  # a page of a hundred parties looked at its files 400 times
        )

        self._environment.filters["dates"] = _unbroken_dates

    def mount(self, app: FastAPI, *, shared: bool = True) -> None:
        """Serve /static (the application's own) and, unless it has all it needs, /shared; and guard every answer."""
        app.mount("/static", StaticFiles(directory=self._folder / "static"))
        if shared:
            app.mount("/shared", StaticFiles(directory=SHARED_STATIC))
        app.add_middleware(PrivateHeaders, permissions=self._permissions)

    def texts(self, request: Request) -> Texts:
        return self.languages.of(request)

    def render(self, request: Request, template: str, status: int = 200, **values: Any) -> Response:
        """A page, or a piece of one, in the reader's language."""
        texts = self.texts(request)
        html = self._environment.get_template(template).render(
            t=texts,
            request=request,
            path=request.url.path,
            other_language="en" if texts.language == "zh" else "zh",
            **values,
        )
        response = HTMLResponse(html, status)
        if request.query_params.get("lang") == texts.language:
            secure = request.url.scheme == "https"
            response.set_cookie(
                COOKIE, texts.language, max_age=_YEAR_S, samesite="strict", httponly=True, secure=secure
            )
        return response


def _unbroken_dates(text: str) -> Markup:
    """Text whose dates stay on one line: a browser would break 2026-11-02 at its hyphens."""
    return Markup(_DATE.sub(lambda date: f'<span class="number">{date[0]}</span>', str(escape(text))))
