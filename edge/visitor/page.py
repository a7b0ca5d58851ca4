"""One form for a visitor: phone, purpose, source and, apart from them, a consent; what became of it; taking it back."""

import logging
import math
from contextlib import closing
from datetime import timedelta
from typing import Annotated, Literal, get_args

from fastapi import FastAPI, Form, HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from edge import EdgeError
from edge.desk.consents import ConsentTexts, NothingToForget
from edge.desk.desk_secrets import desk_secret
from edge.desk.receipts import drawn, slip_of
from edge.desk.visitor_code import OpenedForm, VisitorCode
from edge.desk.visitor_forms import ClaimedPosition, FormState, Purpose, SentForm, Source, VisitorForms, sender_mark
from edge.home import Home
from edge.people.phones import BadPhone, parse_phone
from edge.people.vault import opened as opened_vault
from edge.visitor.limits import PER_CODE, SENT_PER_ADDRESS, SENT_WINDOW_S, Now, Window, sender_of
from edge.visitor.taking_back import Standing, TakingBack
from sync.node.in_force import KeyNotInForce
from sync.web.live import Live
from sync.web.pages import Pages
from sync.web.times import Times

_log = logging.getLogger(__name__)
EVENT = "form"  # what the desk's pages hear of: a visitor has sent one


class VisitorPage:
    """The routes of the visitors' application."""

    def __init__(self, home: Home, pages: Pages, live: Live, position: bool, now_s: Now, monotonic_s: Now) -> None:
        settings = home.settings()
        self._home = home
        self._pages = pages
        self._live = live
        self._position = position
        self._now_s = now_s
        self._operator = settings.operator.name
        self._times = Times(settings.site.timezone)
        self._texts = ConsentTexts(settings.operator.name, timedelta(days=settings.retention.consented_days))
        self._phones_days = settings.retention.phones_days
        self._secret = desk_secret(home.keys_database, "visitor_code")
        self._codes = VisitorCode(self._secret)
        self._forms = VisitorForms(home.database, home.keys_database)
        self._taking_back = TakingBack(home)
        self._opened = Window(PER_CODE, monotonic_s, window_s=120.0)
        self._senders = Window(SENT_PER_ADDRESS, monotonic_s, window_s=SENT_WINDOW_S)

    def mount(self, app: FastAPI) -> None:
        """Add /, /v/CODE, /f/FORM with its state, its way back and, once it is bound, its receipt."""
        app.get("/")(self._front)
        app.get("/v/{code}")(self._scanned)
        app.get("/f/{token}")(self._form)
        app.post("/f/{token}")(self._send)
        app.post("/f/{token}/back")(self._take_back)
        app.get("/f/{token}/state")(self._state)
        app.get("/f/{token}/receipt.svg")(self._receipt)

    def _front(self, request: Request) -> Response:
        return self._pages.render(request, "notice.html", why="scan", site_name=self._operator)

    def _scanned(self, request: Request, code: str) -> Response:
        now_s = self._now_s()
        if not self._codes.opens(code, now_s):
            raise HTTPException(410)
        if not self._opened.admits(f"{code} {_sender(request)}"):
            raise HTTPException(429)
        language = request.query_params.get("lang")
        return RedirectResponse(f"/f/{self._codes.open(now_s)}{'?lang=en' if language == 'en' else ''}", 303)

    def _form(self, request: Request, token: str) -> Response:
        opened = self._known(token)
        state = self._forms.state(opened.form_id, self._now_us())
        if state is not None:
            return self._sent(request, token, opened, state, "sent.html")
        if "taken" in request.query_params:
            return self._pages.render(request, "notice.html", why="taken", site_name=self._operator)
        if not opened.may_send:
            raise HTTPException(410)
        return self._show(request, token)

    def _send(
        self,
        request: Request,
        token: str,
        phone: Annotated[str, Form(max_length=40)] = "",
        purpose: Annotated[str, Form(max_length=16)] = "",
        source: Annotated[str, Form(max_length=16)] = "",
        consent: Annotated[tuple[str, ...], Form()] = (),
        language: Annotated[str, Form(max_length=2)] = "zh",
        lat: Annotated[str, Form(max_length=24)] = "",
        lon: Annotated[str, Form(max_length=24)] = "",
        accuracy: Annotated[str, Form(max_length=24)] = "",
    ) -> Response:
        opened = self._known(token)
        if self._forms.state(opened.form_id, self._now_us()) is not None:  # the same form again: its receipt
            return RedirectResponse(f"/f/{token}", 303)
        if not opened.may_send:
            raise HTTPException(410)
        given = {"phone": phone, "purpose": purpose, "source": source}
        try:
            number = parse_phone(phone)
        except BadPhone as error:
            return self._show(request, token, 422, problem=f"phone_{error.fault}", **given)
        if purpose not in get_args(Purpose) or source not in get_args(Source):
            return self._show(request, token, 422, problem="choose", **given)
        if len(consent) > 1:
            return self._show(request, token, 422, problem="consent_two", **given)
        if language not in ("zh", "en") or (consent and self._texts.shown_as(consent[0], language) is None):
            raise HTTPException(422)
        sender = _sender(request)
        if not self._senders.admits(sender):
            _log.warning("visitor form refused: one address has sent %d in %.0f s", SENT_PER_ADDRESS, SENT_WINDOW_S)
            return self._pages.render(request, "notice.html", 429, why="full", site_name=self._operator)
        form = SentForm(
            opened.form_id,
            self._now_us(),
            number,
            purpose,  # type: ignore[arg-type]  # held to the list above
            source,  # type: ignore[arg-type]
            language,
            consent[0] if consent else None,
            _position(lat, lon, accuracy) if self._position else None,
        )
        self._forms.keep(form, sender_mark(self._secret, sender))
        self._live.publish(EVENT, opened.form_id)
        return RedirectResponse(f"/f/{token}", 303)

    def _state(self, request: Request, token: str) -> Response:
        opened = self._known(token)
        state = self._forms.state(opened.form_id, self._now_us())
        if state is None:
            raise HTTPException(404)
        return self._sent(request, token, opened, state, "state.html")

    def _take_back(self, token: str, what: Annotated[Literal["form", "face", "phone"], Form()]) -> Response:
        opened = self._known(token)
        if what == "form":
            self._forms.take_back(opened.form_id)
            self._live.publish(EVENT, opened.form_id)
            return RedirectResponse(f"/f/{token}?taken", 303)
        state = self._forms.state(opened.form_id, self._now_us())
        bound = None if state is None else state.visit_id
        record = None if bound is None else self._taking_back.standing(opened.form_id, bound).record
        try:
            if record is not None and what == "face":
                self._taking_back.face(record)
            elif record is not None:
                self._taking_back.phone(record)
        except NothingToForget:
            _log.info("nothing to take back form=%s", opened.form_id)  # the page that follows shows how it stands
        except (EdgeError, KeyNotInForce) as error:
            _log.warning("not taken back what=%s: %s", what, error)
            return RedirectResponse(f"/f/{token}?desk", 303)
        return RedirectResponse(f"/f/{token}", 303)

    def _receipt(self, token: str) -> Response:
        opened = self._known(token)
        state = self._forms.state(opened.form_id, self._now_us())
        bound = None if state is None else state.visit_id
        record = None if bound is None else self._taking_back.standing(opened.form_id, bound).record
        if record is None:
            raise HTTPException(404)
        home = self._home
        with closing(home.open_ledger()) as ledger, opened_vault(home.database, home.keys_database) as vault:
            try:
                slip = slip_of(home, ledger, vault, record.epoch, record.seq)
            except KeyNotInForce as error:
                raise HTTPException(404) from error
        if slip is None:
            raise HTTPException(404)
        return Response(drawn(slip.receipt), media_type="image/svg+xml")

    def _known(self, token: str) -> OpenedForm:
        opened = self._codes.form(token, self._now_s())
        if opened is None:
            raise HTTPException(410)
        return opened

    def _show(
        self,
        request: Request,
        token: str,
        status: int = 200,
        *,
        problem: str = "",
        phone: str = "",
        purpose: str = "",
        source: str = "",
    ) -> Response:
        language = self._pages.texts(request).language
        return self._pages.render(
            request,
            "form.html",
            status,
            token=token,
            problem=problem,
            phone=phone,
            purpose=purpose,
            source=source,
            purposes=get_args(Purpose),
            sources=get_args(Source),
            consents=(self._texts.text("visitor", language), self._texts.text("guardian", language)),
            position=self._position,
            phones_days=self._phones_days,
            site_name=self._operator,
        )

    def _sent(self, request: Request, token: str, opened: OpenedForm, state: FormState, template: str) -> Response:
        bound = state.visit_id
        return self._pages.render(
            request,
            template,
            token=token,
            state=state,
            stands=Standing() if bound is None else self._taking_back.standing(opened.form_id, bound),
            refused="desk" in request.query_params,
            times=self._times,
            site_name=self._operator,
        )

    def _now_us(self) -> int:
        return round(self._now_s() * 1e6)


def _sender(request: Request) -> str:
    return sender_of(request.client.host if request.client else "unknown")


def _position(lat: str, lon: str, accuracy: str) -> ClaimedPosition | None:
    """What a browser sent as its place; None where it sent none, or nothing that can be one."""
    try:
        position = ClaimedPosition(float(lat), float(lon), float(accuracy))
    except ValueError:
        return None
    values = (position.lat, position.lon, position.accuracy_m)
    if not all(math.isfinite(value) for value in values):
        return None
    inside = abs(position.lat) <= 90 and abs(position.lon) <= 180 and 0 <= position.accuracy_m <= 1e6
    return position if inside else None
