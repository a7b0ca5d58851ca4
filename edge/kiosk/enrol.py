"""The page on which staff and agents are proposed for the roster: their consent, a face before a camera, or a badge."""

import logging
import time
import tomllib
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import segno
from fastapi import Depends, Form, HTTPException
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from edge import EdgeError
from edge.desk.sittings import ENOUGH, Applying, Sitting, Sittings
from edge.desk.staff_approvals import StaffApprovals
from edge.kiosk.forms import sent_once
from edge.kiosk.roles import MANAGER
from edge.kiosk.shell import Shell
from edge.minted import new_request
from edge.people.phones import BadPhone, Phone, parse_phone
from edge.people.vault import opened
from edge.recognition.enrol_look import look_through
from edge.recognition.enrolment import Enrolment, Faces, NotProposed, enrol
from sync.node.in_force import KeyNotInForce
from sync.web.sessions import Session

_log = logging.getLogger(__name__)
_TEXTS = tomllib.loads((Path(__file__).parents[1] / "desk/enrolment_texts.toml").read_text(encoding="utf-8"))
_LISTED = 50


def mount(shell: Shell) -> None:
    """Add /enrol, a sitting's page /enrol/ID, and the looks it takes."""
    app, home = shell.app, shell.home
    page = Annotated[Session, Depends(shell.gate.page(*MANAGER))]
    part = Annotated[Session, Depends(shell.gate.part(*MANAGER))]
    form = Annotated[Session, Depends(shell.gate.form(*MANAGER))]
    settings = home.settings()
    cameras = tuple(camera.id for camera in settings.camera)
    staff = StaffApprovals(shell.desk_ledger, home, settings.site.id)
    sittings = Sittings(time.monotonic)

    def shown(request: Request, session: Session, *, status: int = 200, problem: str = "") -> Response:
        with closing(home.open_ledger()) as ledger, opened(home.database, home.keys_database) as vault:
            applicants = staff.applicants(ledger, vault)[:_LISTED]
        for applicant in applicants:
            shell.look(session, "person", applicant.person_id)
        return shell.page(
            request,
            "enrol.html",
            session,
            status,
            applicants=applicants,
            texts=_TEXTS,
            cameras=cameras,
            problem=problem,
            request_id=new_request(),
        )

    def sat(request: Request, session: Session, sitting_id: str, sitting: Sitting, problem: str = "") -> Response:
        status = 409 if problem else 200
        more = {"sitting_id": sitting_id, "sitting": sitting, "enough": ENOUGH, "problem": problem}
        return shell.page(request, "sitting.html", session, status, **more, request_id=new_request())

    def propose(session: Session, applying: Applying, faces: Faces | None, sent: str) -> Enrolment:
        with closing(shell.desk_ledger()) as ledger, opened(home.database, home.keys_database) as vault:
            return enrol(
                ledger,
                vault,
                faces,
                role=applying.role,
                consent=applying.consent,
                agent_code=applying.code,
                now=datetime.now(UTC),
                phone=applying.phone,
                account=session.account,
                request=sent,
            )

    @app.get("/enrol")
    def enrol_page(request: Request, session: page) -> Response:
        return shown(request, session)

    @app.post("/enrol")
    def begin(
        request: Request,
        session: form,
        role: Annotated[Literal["staff", "agent"], Form()],
        request_id: Annotated[str, Form()],
        consent: Annotated[str, Form(max_length=64)] = "",
        code: Annotated[str, Form(max_length=64)] = "",
        phone: Annotated[str, Form(max_length=40)] = "",
        camera: Annotated[str, Form(max_length=64)] = "",
        by: Annotated[Literal["face", "badge"], Form()] = "face",
    ) -> Response:
        sent = sent_once(request_id)
        try:
            number: Phone | None = parse_phone(phone) if phone.strip() else None
        except BadPhone:
            return shown(request, session, status=422, problem="phone")
        version = str(_TEXTS[role]["version"])
        applying = Applying(session.account.account_id, role, version, code.strip() or None, number, camera)
        if applying.code is not None and (by == "badge" or role == "staff"):
            return shown(request, session, status=422, problem="badge")
        if by == "badge":
            try:
                proposed = propose(session, applying, None, sent)
            except NotProposed as error:
                return shown(request, session, status=409, problem=error.fault)
            except KeyNotInForce as error:
                _log.warning("enrolment not recorded: %s", error)
                return shown(request, session, status=409, problem="no_key")
            if proposed.badge is None:  # this form has shown it
                return RedirectResponse("/enrol", 303)
            shell.look(session, "person", proposed.person_id)
            drawn = segno.make(proposed.badge, error="m").svg_inline(scale=8, border=4, omitsize=True)
            return shell.page(request, "badge.html", session, role=role, code=proposed.badge, qr=Markup(drawn))
        if consent != version:
            return shown(request, session, status=422, problem="consent")
        if camera not in cameras:
            raise HTTPException(422, "form")
        return RedirectResponse(f"/enrol/{sittings.begin(applying)}", 303)

    @app.get("/enrol/{sitting_id}")
    def sitting_page(request: Request, sitting_id: str, session: page) -> Response:
        return sat(request, session, sitting_id, _sitting(sitting_id, session))

    @app.get("/fragments/enrol/{sitting_id}")
    def look(request: Request, sitting_id: str, session: part) -> Response:
        sitting, away = _sitting(sitting_id, session), False
        shell.look(session, "camera", sitting.applying.camera_id)
        try:
            taken = look_through(home.database.resolve().parent, sitting.applying.camera_id)
            sitting = sittings.take(sitting_id, taken) or sitting
        except EdgeError as error:
            _log.warning("no look: %s", error)
            away = True
        return shell.part(request, "looks.html", sitting=sitting, enough=ENOUGH, away=away)

    @app.post("/enrol/{sitting_id}")
    def finish(request: Request, sitting_id: str, session: form, request_id: Annotated[str, Form()]) -> Response:
        sitting, sent = _sitting(sitting_id, session), sent_once(request_id)
        if sitting.faces is None:
            return sat(request, session, sitting_id, sitting, "too_few")
        try:
            propose(session, sitting.applying, sitting.faces, sent)
        except NotProposed as error:
            sittings.end(sitting_id)
            return shown(request, session, status=409, problem=error.fault)
        except KeyNotInForce as error:
            _log.warning("enrolment not recorded: %s", error)
            return sat(request, session, sitting_id, sitting, "no_key")
        sittings.end(sitting_id)
        return RedirectResponse("/enrol", 303)

    def _sitting(sitting_id: str, session: Session) -> Sitting:
        found = sittings.get(sitting_id, session.account.account_id)
        if found is None:
            raise HTTPException(404)
        return found
