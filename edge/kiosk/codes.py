"""Codes at check-in: typed by a scanner, in a picture, or before the node's own camera; judged here, offline."""

import logging
import time
from contextlib import aclosing, closing
from dataclasses import replace
from typing import Annotated, Any

from fastapi import Depends, File, Form, UploadFile
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from edge import EdgeError
from edge.cameras.live_view import pictures
from edge.desk.badges import badge_of
from edge.desk.checkin import CheckIn, Registration, Way
from edge.desk.codes import MAX_TEXT, CodeReader, CodeRefused, ShownCode
from edge.desk.pictures import MAX_PICTURE_BYTES, NoCode, code_in
from edge.desk.scans import record_refusal
from edge.desk.shown import ShownVisit
from edge.kiosk.checkin import checked_in, checkin_page
from edge.kiosk.consent import ConsentDesk, NotAgreed
from edge.kiosk.forms import Registering, registering, sent_once
from edge.kiosk.parties import BadParty, PartyView
from edge.kiosk.roles import DESK
from edge.kiosk.shell import Shell
from edge.people.phones import BadPhone, Phone, is_mobile, parse_phone
from edge.people.vault import opened
from edge.recognition.roster import Member
from sync.node.in_force import KeyNotInForce
from sync.web.sessions import Session

_log = logging.getLogger(__name__)
CAMERA_S = 6.0  # how long a code may take to be held before the node's camera
_CONFIRMS = ("agent", "foreign")  # nothing of the customer is in them: the desk says whether that is all
_CONFLICTS = ("no_key", "moved", "consent_late", "consent_two")


def mount(shell: Shell) -> None:
    """Add the forms that a visit's page sends codes with, and what reads a picture of a tablet's camera."""
    app, home = shell.app, shell.home
    desk, consents = CheckIn(shell.desk_ledger, home, shell.sure), ConsentDesk(shell)
    reader = CodeReader(home.path, home.keys_database, home.settings().site.id)
    parties = PartyView(shell)
    form = Annotated[Session, Depends(shell.gate.form(*DESK))]
    told_with = Annotated[Registering, Depends(registering)]

    def judged(
        request: Request, session: Session, visit: ShownVisit, text: str, told: Registering, confirmed: bool = False
    ) -> Response:
        if not text.strip():
            return page(request, session, visit, told, "code_empty")
        if not confirmed and (badge := whose_badge(text)) is not None:
            return page(request, session, visit, told, "", badge=badge, scanned_text=text.strip())
        if is_mobile(text) and not told.phone.strip():
            return page(request, session, visit, replace(told, phone=text.strip()), "code_is_phone")
        try:
            party, problem = parties.together(visit, told.companions, told.heads), ""
        except BadParty as error:
            return page(request, session, visit, told, error.fault)
        try:
            number = parse_phone(told.phone) if told.phone.strip() else None
        except BadPhone as error:
            number, problem = None, f"phone_{error.fault}"
        try:
            with closing(home.open_ledger()) as ledger:
                judging_us = shell.sure.judging_us(ledger)
            shown = reader.read(text, number, judging_us)
            if problem or _asks(shown, number, confirmed):
                return page(request, session, visit, told, problem, scanned=shown, scanned_text=text.strip())
            way: Way = "walk_in" if shown.kind == "site" else "code"
            agreed = consents.agreed_to(visit, list(told.consent), told.language, told.signature)
            account_id = session.account.account_id
            registration = Registration(way, number, agreed, heads=party.heads, code=shown)
            return checked_in(
                shell,
                request,
                session,
                visit,
                lambda arrival: desk.register(
                    arrival, registration, told.request_id, account_id, companions=party.companions
                ),
            )
        except NotAgreed as error:
            return page(request, session, visit, told, error.problem)
        except CodeRefused as refused:
            return refusal(request, session, visit, refused, told)

    def whose_badge(text: str) -> Member | None:
        with closing(home.open_ledger()) as ledger, opened(home.database, home.keys_database) as vault:
            return badge_of(home.path, ledger, vault, text)

    def refusal(
        request: Request, session: Session, visit: ShownVisit, refused: CodeRefused, told: Registering
    ) -> Response:
        account_id = session.account.account_id
        try:
            record = record_refusal(shell.desk_ledger, refused, visit.visit_id, visit.at, told.request_id, account_id)
        except KeyNotInForce as error:
            _log.warning("refused code not recorded visit=%s: %s", visit.visit_id, error)
            return page(request, session, visit, told, "no_key")
        return page(request, session, visit, told, f"code_{record.fields['reason']}", refused=record)

    def page(
        request: Request, session: Session, visit: ShownVisit, told: Registering, problem: str, **given: Any
    ) -> Response:
        status = (409 if problem in _CONFLICTS else 422) if problem else 200
        return checkin_page(shell, request, session, visit, status=status, problem=problem, typed=told.phone, **given)

    @app.post("/visits/{visit_id}/code")
    def by_scanner(
        request: Request,
        visit_id: str,
        session: form,
        told: told_with,
        code: Annotated[str, Form(max_length=MAX_TEXT)] = "",
        way: Annotated[str, Form()] = "",
    ) -> Response:
        return judged(request, session, shell.known(visit_id), code, told, confirmed=way == "code")

    @app.post("/visits/{visit_id}/badge")
    def by_badge(
        request: Request,
        visit_id: str,
        session: form,
        request_id: Annotated[str, Form()],
        code: Annotated[str, Form(max_length=MAX_TEXT)] = "",
    ) -> Response:
        """The host's tap after a badge was shown: the badge is held to the roster once more."""
        visit, sent = shell.known(visit_id), sent_once(request_id)
        badge = whose_badge(code)
        if badge is None:
            return checkin_page(shell, request, session, visit, status=422, problem="badge_none")
        account_id = session.account.account_id
        return checked_in(shell, request, session, visit, lambda arrival: desk.badge(arrival, badge, sent, account_id))

    @app.post("/visits/{visit_id}/code/picture")
    def by_picture(
        request: Request, visit_id: str, session: form, told: told_with, picture: Annotated[UploadFile, File()]
    ) -> Response:
        visit = shell.known(visit_id)
        try:
            text = code_in(picture.file.read(MAX_PICTURE_BYTES + 1))
        except NoCode as error:
            return page(request, session, visit, told, f"code_{error.fault}")
        return judged(request, session, visit, text, told)

    @app.post("/visits/{visit_id}/code/camera")
    async def by_camera(
        request: Request,
        visit_id: str,
        session: form,
        told: told_with,
        camera: Annotated[str, Form(max_length=64)],
    ) -> Response:
        visit = shell.known(visit_id)
        try:
            text = await _held_up(shell, camera)
        except NoCode as error:
            return await run_in_threadpool(page, request, session, visit, told, f"code_{error.fault}")
        return await run_in_threadpool(judged, request, session, visit, text, told)

    @app.post("/code/read")
    def read_picture(_session: form, picture: Annotated[UploadFile, File()]) -> Response:
        """What a tablet's camera asks again and again until it sees a code; the page then sends it as if typed."""
        try:
            return JSONResponse({"text": code_in(picture.file.read(MAX_PICTURE_BYTES + 1))})
        except NoCode:
            return Response(status_code=204)


def _asks(shown: ShownCode, phone: Phone | None, confirmed: bool) -> bool:
    """Whether the desk must add something first: a report is of a customer, who has a phone."""
    return phone is None and (shown.kind == "report" or (shown.kind in _CONFIRMS and not confirmed))


async def _held_up(shell: Shell, camera_id: str) -> str:
    """The code that somebody holds before a camera of the node's within CAMERA_S; raises NoCode."""
    if not shell.health.knows(camera_id):
        raise NoCode("no_camera")
    until_s, fault = time.monotonic() + CAMERA_S, "none"
    try:
        async with aclosing(pictures(shell.home.database.resolve().parent, camera_id)) as film:
            async for picture in film:
                try:
                    return await run_in_threadpool(code_in, picture)
                except NoCode as error:
                    fault = error.fault
                if time.monotonic() > until_s:
                    raise NoCode(fault)
    except NoCode:
        raise
    except EdgeError as error:
        raise NoCode("no_camera") from error
    raise NoCode("no_camera")
