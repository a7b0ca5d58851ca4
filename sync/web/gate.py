"""The door of an application: signing in and out, and who may see which route."""

import hmac
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from fastapi import FastAPI, Form, HTTPException
from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from sync.format.accounts import Account
from sync.storage.database import DatabaseError
from sync.web import csrf
from sync.web.accounts import Accounts, Refused
from sync.web.backoff import Wait
from sync.web.pages import Pages
from sync.web.sessions import LONGEST_S, Session, Sessions
from sync.web.tablets import Tablet, Tablets

_log = logging.getLogger(__name__)
_TABLET_S = 400 * 24 * 3600  # the longest that browsers keep a cookie
_FORM_S = 24 * 3600


class BelongsElsewhere(Exception):
    """The first page is not for this role, which has one of its own."""

    def __init__(self, path: str) -> None:
        self.path = path


class SignInNeeded(Exception):
    """Nobody is signed in; a page sends its reader to the sign-in, a fragment answers 401."""

    def __init__(self, page: bool) -> None:
        self.page = page


@dataclass(frozen=True, slots=True)
class CookieNames:
    """Cookies of one application: ports share them, and both applications may run on one machine."""

    session: str
    form: str
    tablet: str

    @classmethod
    def of(cls, application: str) -> "CookieNames":
        return cls(f"fv_{application}_session", f"fv_{application}_form", f"fv_{application}_tablet")


class Gate:
    """Sign-in routes and the checks that the other routes depend on."""

    def __init__(
        self,
        application: str,
        accounts: Accounts,
        sessions: Sessions,
        tablets: Tablets | None,
        pages: Pages,
        homes: Mapping[str, str] | None = None,
    ) -> None:
        """tablets: None where the application knows no PINs. homes: role to path, for whom `/` is not."""
        self._homes = homes or {}
        self._cookies = CookieNames.of(application)
        self._accounts = accounts
        self._sessions = sessions
        self._tablets = tablets
        self._pages = pages

    # -- checks --------------------------------------------------------------------------------------------

    def page(self, *roles: str) -> Callable[[Request], Session]:
        """A dependency for pages: the session, kept alive by being used; without one, off to the sign-in."""

        def check(request: Request) -> Session:
            return self._session(request, roles, page=True)

        return check

    def part(self, *roles: str) -> Callable[[Request], Session]:
        """A dependency for what pages fetch by themselves: 401 without a session, and no keeping alive."""

        def check(request: Request) -> Session:
            return self._session(request, roles, page=False)

        return check

    def form(self, *roles: str) -> Callable[..., Session]:
        """A dependency for POST: the session, our own origin, and the session's token in the form."""

        def check(request: Request, csrf_token: Annotated[str, Form()] = "") -> Session:
            session = self._session(request, roles, page=True)
            self._same_origin(request)
            if not csrf.same_token(csrf_token, session.csrf_token):
                raise HTTPException(403, "form")
            return session

        return check

    def signed_in(self, request: Request) -> bool:
        """Whether somebody is; asking does not keep the session alive."""
        return self._sessions.find(request.cookies.get(self._cookies.session), touch=False) is not None

    def tablet(self, request: Request) -> Tablet | None:
        """The registered tablet this request comes from; a display is none: no PIN opens anything on it."""
        held = self._held(request)
        return None if held is None or held.display else held

    def display(self, request: Request) -> Tablet | None:
        """The display this request comes from."""
        held = self._held(request)
        return held if held is not None and held.display else None

    def keep_display(self, request: Request, response: Response) -> None:
        """Let a display's cookie, which browsers keep for 400 days at most, begin anew."""
        self._set(request, response, self._cookies.tablet, request.cookies[self._cookies.tablet], _TABLET_S)

    def register_tablet(self, request: Request, response: Response, form: str, name: str, account: Account) -> None:
        """Allow PINs on the device that sent this request. form: its id; sent twice, it registers one tablet."""
        self._register(request, response, form, name, account, display=False)

    def register_display(self, request: Request, response: Response, form: str, name: str, session: Session) -> None:
        """Make a display of the device that sent this request, and sign its user out: it will stand there alone."""
        self._register(request, response, form, name, session.account, display=True)
        self._sessions.end(session.key)
        response.delete_cookie(self._cookies.session)

    def _register(
        self, request: Request, response: Response, form: str, name: str, account: Account, *, display: bool
    ) -> None:
        if self._tablets is None:
            raise HTTPException(404)
        before = self._held(request)
        # made of the session's secret: whichever answer to a form sent twice comes last, its cookie holds
        secret = request.cookies[self._cookies.session].encode()
        token = hmac.digest(secret, f"tablet:{form}".encode(), "sha256").hex()
        tablet_id = self._tablets.register(token, name, account.account_id, display=display)
        # a device is one tablet: what its cookie said before opens nothing any more
        if before is not None and before.tablet_id != tablet_id:
            self._tablets.revoke(before.tablet_id, account.account_id)
        self._set(request, response, self._cookies.tablet, token, _TABLET_S)

    def _held(self, request: Request) -> Tablet | None:
        return self._tablets.find(request.cookies.get(self._cookies.tablet)) if self._tablets else None

    def _session(self, request: Request, roles: tuple[str, ...], *, page: bool) -> Session:
        session = self._sessions.find(request.cookies.get(self._cookies.session), touch=page)
        if session is None:
            raise SignInNeeded(page)
        role = session.account.role
        if role not in roles:
            if request.url.path == "/" and role in self._homes:
                raise BelongsElsewhere(self._homes[role])
            raise HTTPException(403, "role")
        return session

    @staticmethod
    def _same_origin(request: Request) -> None:
        if not csrf.same_origin(request):
            raise HTTPException(403, "form")

    # -- routes --------------------------------------------------------------------------------------------

    def mount(self, app: FastAPI) -> None:
        """Add /login and /logout, and the pages for what is refused."""
        app.get("/login")(self._login_page)
        app.post("/login")(self._login)
        app.post("/login/pin")(self._login_by_pin)
        app.post("/logout")(self._logout)
        app.get("/session")(self._whether)
        app.exception_handler(SignInNeeded)(self._sign_in_needed)
        app.exception_handler(BelongsElsewhere)(self._elsewhere)
        app.exception_handler(HTTPException)(self._refused)
        app.exception_handler(404)(self._refused)
        app.exception_handler(RequestValidationError)(self._refused)
        app.exception_handler(DatabaseError)(self._not_written)

    def _login_page(self, request: Request) -> Response:
        session = self._sessions.find(request.cookies.get(self._cookies.session), touch=False)
        if session is not None and not (session.on_tablet and "switch" in request.query_params):
            return RedirectResponse("/", 303)
        return self._show_login(request)

    def _login(
        self,
        request: Request,
        name: Annotated[str, Form()] = "",
        password: Annotated[str, Form()] = "",
        csrf_token: Annotated[str, Form()] = "",
        after: Annotated[str, Form()] = "/",
    ) -> Response:
        self._own_form(request, csrf_token)
        tablet = self.tablet(request)
        answer = self._accounts.by_password(name, password, tablet, _address(request))
        return self._let_in(request, answer, tablet, after, name=name)

    def _login_by_pin(
        self,
        request: Request,
        account: Annotated[str, Form()] = "",
        pin: Annotated[str, Form()] = "",
        csrf_token: Annotated[str, Form()] = "",
        after: Annotated[str, Form()] = "/",
    ) -> Response:
        self._own_form(request, csrf_token)
        tablet = self.tablet(request)
        if tablet is None:
            raise HTTPException(403, "tablet")
        answer = self._accounts.by_pin(account, pin, tablet, _address(request))
        return self._let_in(request, answer, tablet, after, chosen=account)

    def _logout(self, request: Request, csrf_token: Annotated[str, Form()] = "") -> Response:
        session = self._sessions.find(request.cookies.get(self._cookies.session), touch=False)
        if session is not None:
            self._same_origin(request)
            if not csrf.same_token(csrf_token, session.csrf_token):
                raise HTTPException(403, "form")
            self._sessions.end(session.key)
        response = RedirectResponse("/login", 303)
        response.delete_cookie(self._cookies.session)
        return response

    def _whether(self, request: Request) -> Response:
        """204 while somebody is signed in, else 401: how a page learns why its stream was refused."""
        if not self.signed_in(request):
            raise SignInNeeded(page=False)
        return Response(status_code=204)

    def _own_form(self, request: Request, csrf_token: str) -> None:
        """Before there is a session, the form's token is held against a cookie that only our own page sets."""
        self._same_origin(request)
        if not csrf.same_token(csrf_token, request.cookies.get(self._cookies.form)):
            raise HTTPException(403, "form")

    def _let_in(
        self,
        request: Request,
        answer: Account | Refused | Wait,
        tablet: Tablet | None,
        after: str,
        name: str = "",
        chosen: str = "",
    ) -> Response:
        match answer:
            case Account():
                response = RedirectResponse(_local(after), 303)
                before = self._sessions.find(request.cookies.get(self._cookies.session), touch=False)
                if before is not None:
                    self._sessions.end(before.key)
                self._set(
                    request, response, self._cookies.session, self._sessions.start(answer, tablet), int(LONGEST_S)
                )
                response.delete_cookie(self._cookies.form)
                return response
            case Wait(seconds):
                return self._show_login(
                    request, 429, problem="wait", wait_s=max(1, round(seconds)), after=after, name=name, chosen=chosen
                )
            case Refused():
                return self._show_login(request, 401, problem="wrong", after=after, name=name, chosen=chosen)

    def _show_login(
        self,
        request: Request,
        status: int = 200,
        problem: str = "",
        wait_s: int = 0,
        after: str = "",
        name: str = "",
        chosen: str = "",
    ) -> Response:
        token = request.cookies.get(self._cookies.form) or csrf.new_token()
        tablet = self.tablet(request)
        response = self._pages.render(
            request,
            "login.html",
            status,
            csrf_token=token,
            problem=problem,
            wait_s=wait_s,
            after=after or request.query_params.get("after", "/"),
            name=name,
            chosen=chosen,
            nobody_yet=self._accounts.empty(),
            tablet=tablet,
            with_pin=self._accounts.with_pin() if tablet else [],
        )
        self._set(request, response, self._cookies.form, token, _FORM_S)
        if status == 429:
            response.headers["retry-after"] = str(wait_s)
        return response

    def _sign_in_needed(self, request: Request, error: Exception) -> Response:
        if isinstance(error, SignInNeeded) and error.page:
            query = {"lang": request.query_params["lang"]} if "lang" in request.query_params else {}
            if request.method == "GET" and request.url.path != "/":
                query["after"] = request.url.path
            return RedirectResponse(f"/login{'?' if query else ''}{urlencode(query)}", 303)
        return Response(status_code=401)

    def _elsewhere(self, _request: Request, error: Exception) -> Response:
        assert isinstance(error, BelongsElsewhere)
        return RedirectResponse(error.path, 303)

    def _not_written(self, request: Request, error: Exception) -> Response:
        """A database that is busy or full ends in words and a way back, not in a broken page."""
        _log.error("%s %s: %s", request.method, request.url.path, error)
        return self._refused(request, HTTPException(503, "database"))

    def _refused(self, request: Request, error: Exception) -> Response:
        status, why = 404, "missing"
        if isinstance(error, HTTPException):
            status = error.status_code
            why = str(error.detail) if error.detail in _REASONS else "missing"
        elif isinstance(error, RequestValidationError):
            status, why = 422, "form"
        session = self._sessions.find(request.cookies.get(self._cookies.session), touch=False)
        return self._pages.render(request, "refused.html", status, why=why, session=session)

    @staticmethod
    def _set(request: Request, response: Response, name: str, value: str, max_age_s: int) -> None:
        response.set_cookie(
            name, value, max_age=max_age_s, httponly=True, samesite="strict", secure=request.url.scheme == "https"
        )


_REASONS = ("role", "form", "tablet", "unlogged", "database", "unconfirmed")


def _address(request: Request) -> str:
    return request.client.host if request.client else "unknown"


def _local(path: str) -> str:
    """A path of ours to go on to, never another host (`//host`, `/\\host`)."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) else "/"
