"""The privacy officer's page: phones erased or shown in full, disputes, receipts, access files, the impact report."""

import logging
from contextlib import closing
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import Depends, Form
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from edge import EdgeError
from edge.clock import wall_us
from edge.kiosk.forms import sent_once
from edge.kiosk.roles import ACCESS, PRIVACY
from edge.kiosk.shell import Shell
from edge.minted import new_request
from edge.papers.paper import PaperError
from edge.people.restricted import all_restricted
from edge.people.vault import opened
from edge.rights.access_request import find_subject, make_file, record_made
from edge.rights.claims import REASONS, Claim, Claims, open_claims
from edge.rights.impact import gather, report
from edge.rights.impact_pdf import draw_report
from edge.rights.phone_erasure import EnoughToday, NotProven, PhoneErasures, SentCode
from edge.rights.receipts import newest_receipts
from edge.rights.send_code import Sender
from edge.rights.unmask import REASONS as UNMASK_REASONS
from edge.rights.unmask import NoNumber, Unmasked, Unmasking
from edge.rights.volume import DUTY, SOON, faces_stored
from sync.node.in_force import KeyNotInForce
from sync.web.sessions import Session
from sync.web.times import Times

_log = logging.getLogger(__name__)
_RECEIPTS = 20


def mount(shell: Shell) -> None:
    """Add /rights and its forms: phones are the privacy officer's alone, disputes the auditor's too."""
    app, home = shell.app, shell.home
    settings = home.settings()
    page = Annotated[Session, Depends(shell.gate.page(*ACCESS))]
    head_office_form = Annotated[Session, Depends(shell.head_office_form(*ACCESS))]
    officer_page = Annotated[Session, Depends(shell.gate.page(*PRIVACY))]
    officer_form = Annotated[Session, Depends(shell.head_office_form(*PRIVACY))]
    command = settings.rights.send_command
    phones = PhoneErasures(
        shell.desk_ledger,
        home.database,
        home.keys_database,
        Sender(command, settings.site.id) if command else None,
    )
    claims = Claims(shell.desk_ledger)
    unmasking = Unmasking(shell.desk_ledger, home.database, home.keys_database)
    moment = Times(settings.site.timezone).moment

    def shown(
        request: Request,
        session: Session,
        *,
        status: int = 200,
        problem: str = "",
        at: str = "",
        sent: SentCode | None = None,
        asked: str = "",
        unmasked: Unmasked | None = None,
    ) -> Response:
        with closing(home.open_ledger()) as ledger:
            receipts = newest_receipts(ledger, _RECEIPTS, joined=home.joined)
            faces, disputes = faces_stored(ledger.connection), open_claims(ledger.connection)
            restricted = all_restricted(ledger.connection)
        officer = session.account.role in PRIVACY
        return shell.page(
            request,
            "rights.html",
            session,
            status,
            officer=officer,
            requests=[one for one in phones.requests() if one.done is None] if officer else [],
            by_command=phones.by_command,
            claims=disputes,
            claim_reasons=REASONS,
            restricted=restricted,
            receipts=receipts,
            faces=faces,
            soon=SOON,
            duty=DUTY,
            problem=problem,
            at=at,
            sent=sent,
            asked=asked,
            unmasked=unmasked,
            unmask_reasons=UNMASK_REASONS,
            request_id=new_request(),
        )

    def refused(request: Request, session: Session, error: Exception, problem: str, at: str = "") -> Response:
        _log.warning("rights: %s: %s", problem, error)
        why = "no_key" if isinstance(error, KeyNotInForce) else problem
        return shown(request, session, status=409, problem=why, at=at)

    @app.get("/rights")
    def rights_page(request: Request, session: page) -> Response:
        return shown(request, session)

    @app.post("/rights/phones/{contact_id}/code")
    def send_code(
        request: Request, contact_id: str, session: officer_form, request_id: Annotated[str, Form()]
    ) -> Response:
        shell.look(session, "person", contact_id)
        try:
            sent = phones.send(contact_id, sent_once(request_id), session.account.account_id)
        except EnoughToday as error:
            return refused(request, session, error, "enough_today", contact_id)
        except EdgeError as error:
            return refused(request, session, error, "not_sent", contact_id)
        except KeyNotInForce as error:
            return refused(request, session, error, "no_key", contact_id)
        return shown(request, session, at=contact_id, sent=sent)

    @app.post("/rights/phones/{contact_id}/prove")
    def prove(
        request: Request,
        contact_id: str,
        session: officer_form,
        request_id: Annotated[str, Form()],
        code: Annotated[str, Form(max_length=12)] = "",
    ) -> Response:
        try:
            record = phones.prove(contact_id, code, sent_once(request_id), session.account.account_id)
        except NotProven as error:
            return refused(request, session, error, f"code_{error.why}", contact_id)
        except EdgeError as error:
            return refused(request, session, error, "not_found", contact_id)
        except KeyNotInForce as error:
            return refused(request, session, error, "no_key", contact_id)
        if record.kind == "person.erased":
            return RedirectResponse(f"/erasures/{record.epoch}-{record.seq}", 303)
        return RedirectResponse("/rights", 303)

    @app.post("/rights/claims")
    def open_claim(
        request: Request,
        session: head_office_form,
        request_id: Annotated[str, Form()],
        whom: Annotated[str, Form(max_length=64)],
        reason: Annotated[str, Form(max_length=32)],
    ) -> Response:
        sent, account_id = sent_once(request_id), session.account.account_id
        try:
            with closing(home.open_ledger()) as ledger, opened(home.database, home.keys_database) as vault:
                subject = find_subject(ledger, vault, whom)
            opened_before = {one.visit_id for one in _open(shell)}
            for number, visit_id in enumerate(one for one in subject.visits if one not in opened_before):
                claims.open(visit_id, reason, sent if number == 0 else f"{sent}.{number}", account_id)
        except EdgeError as error:
            return refused(request, session, error, "not_found")
        except KeyNotInForce as error:
            return refused(request, session, error, "no_key")
        return RedirectResponse("/rights", 303)

    @app.post("/rights/claims/{visit_id}/close")
    def close_claim(
        request: Request, visit_id: str, session: head_office_form, request_id: Annotated[str, Form()]
    ) -> Response:
        try:
            claims.close(visit_id, sent_once(request_id), session.account.account_id)
            phones.settle_all(session.account.account_id)
        except EdgeError as error:
            return refused(request, session, error, "not_found")
        except KeyNotInForce as error:
            return refused(request, session, error, "no_key")
        return RedirectResponse("/rights", 303)

    @app.post("/rights/unmask")
    def unmask(
        request: Request,
        session: officer_form,
        request_id: Annotated[str, Form()],
        whom: Annotated[str, Form(max_length=64)],
        reason: Annotated[Literal["dispute", "access", "erasure", "legal"], Form()],
    ) -> Response:
        """The only page that shows a whole number: the look and the record come first, and a reload shows none."""
        sent = sent_once(request_id)
        try:
            contact_id = unmasking.contact(whom)
            shell.look(session, "unmask", contact_id)
            found = unmasking.show(contact_id, reason, sent, session.account.account_id)
        except NoNumber as error:
            return refused(request, session, error, f"unmask_{error.fault}")
        except KeyNotInForce as error:
            return refused(request, session, error, "no_key")
        return shown(request, session, unmasked=found)

    @app.post("/rights/access")
    def access_file(
        request: Request,
        session: officer_form,
        request_id: Annotated[str, Form()],
        whom: Annotated[str, Form(max_length=64)],
    ) -> Response:
        sent = sent_once(request_id)
        try:
            with closing(shell.desk_ledger()) as ledger, opened(home.database, home.keys_database) as vault:
                subject = find_subject(ledger, vault, whom)
                for one in (*subject.persons, *subject.contacts) or subject.visits:
                    shell.look(session, "person", one)
                made = make_file(ledger, vault, subject, home.policy(settings), settings.operator, moment, wall_us())
                record = record_made(ledger, made, session.account.account_id, sent)
        except EdgeError as error:
            return refused(request, session, error, "not_found")
        except KeyNotInForce as error:
            return refused(request, session, error, "no_key")
        if record.fields["sha256"] != made.sha256:  # the form was sent before: no file leaves that is not on record
            return shown(request, session, status=409, problem="made_before")
        return _download(made.data, f"access-{record.epoch}-{record.seq}.zip", "application/zip")

    @app.get("/rights/impact.html")
    def impact_report(_session: officer_page) -> Response:
        with closing(home.open_ledger()) as ledger:
            text = report(gather(home, settings, ledger, wall_us()), moment)
        return _download(text.encode(), f"impact-{settings.node.id}.html", "text/html; charset=utf-8")

    @app.get("/rights/impact.pdf")
    def impact_paper(request: Request, session: officer_page) -> Response:
        now_us = wall_us()
        with closing(home.open_ledger()) as ledger:
            text = report(gather(home, settings, ledger, now_us), moment)
        try:
            drawn = draw_report(text, now_us)
        except PaperError as error:
            return refused(request, session, error, "no_font")
        return _download(drawn, f"impact-{settings.node.id}.pdf", "application/pdf")


def _open(shell: Shell) -> list[Claim]:
    with closing(shell.home.open_ledger()) as ledger:
        return open_claims(ledger.connection)


def _download(data: bytes, name: str, media_type: str) -> Response:
    return Response(
        data, media_type=media_type, headers={"content-disposition": f'attachment; filename="{quote(name)}"'}
    )
