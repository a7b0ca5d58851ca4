"""Erasing at the desk: a face goes at once, a phone to the privacy officer; and the receipt, until all is gone."""

import logging
from contextlib import closing
from typing import Annotated, Literal

from fastapi import Depends, Form, HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from edge import EdgeError
from edge.desk.shown import ShownVisit
from edge.kiosk.forms import sent_once
from edge.kiosk.roles import DESK, EVIDENCE, PRIVACY
from edge.kiosk.shell import Shell
from edge.minted import new_request
from edge.people.contacts import contact_of
from edge.people.vault import opened
from edge.rights.phone_erasure import PhoneErasures
from edge.rights.receipts import receipt
from edge.rights.retention import erase
from sync.node.in_force import KeyNotInForce
from sync.web.sessions import Session

_log = logging.getLogger(__name__)

DeskReason = Literal["request", "consent_withdrawn", "child", "error"]
REASONS: tuple[DeskReason, ...] = ("request", "consent_withdrawn", "child", "error")


def mount(shell: Shell) -> None:
    """Add /visits/ID/erase, for the desk, and /erasures/EPOCH-SEQ, the receipt."""
    app, home = shell.app, shell.home
    page = Annotated[Session, Depends(shell.gate.page(*DESK))]
    form = Annotated[Session, Depends(shell.gate.form(*DESK))]
    receipt_page = Annotated[Session, Depends(shell.gate.page(*EVIDENCE, *PRIVACY))]
    phones = PhoneErasures(shell.desk_ledger, home.database, home.keys_database, None)

    def shown(
        request: Request, session: Session, visit: ShownVisit, *, status: int = 200, problem: str = ""
    ) -> Response:
        shell.look(session, "checkin", visit.visit_id)
        with closing(home.open_ledger()) as ledger, opened(home.database, home.keys_database) as vault:
            contact = contact_of(ledger.connection, vault, visit.visit_id)
            asked = contact is not None and any(
                one.contact_id == contact.contact_id and one.stage != "erased" for one in phones.requests()
            )
        return shell.page(
            request,
            "erase.html",
            session,
            status,
            visit=visit,
            contact=contact,
            asked=asked,
            has_face=visit.person_id is not None and not visit.forgotten,
            reasons=REASONS,
            problem=problem,
            request_id=new_request(),
        )

    @app.get("/visits/{visit_id}/erase")
    def erase_page(request: Request, visit_id: str, session: page) -> Response:
        return shown(request, session, shell.known(visit_id))

    @app.post("/visits/{visit_id}/erase")
    def erase_now(
        request: Request,
        visit_id: str,
        session: form,
        reason: Annotated[DeskReason, Form()],
        request_id: Annotated[str, Form()],
        face: Annotated[str, Form()] = "",
        phone: Annotated[str, Form()] = "",
    ) -> Response:
        visit, sent, account_id = shell.known(visit_id), sent_once(request_id), session.account.account_id
        if not face and not phone:
            return shown(request, session, visit, status=422, problem="nothing")
        done = None
        try:
            if phone:
                with closing(home.open_ledger()) as ledger, opened(home.database, home.keys_database) as vault:
                    contact = contact_of(ledger.connection, vault, visit_id)
                if contact is None:
                    return shown(request, session, visit, status=409, problem="no_phone")
                phones.ask(contact.contact_id, reason, sent, account_id)
            if face and visit.person_id is not None:
                with closing(shell.desk_ledger()) as ledger, opened(home.database, home.keys_database) as vault:
                    done = erase(ledger, vault, visit.person_id, reason, None, account_id=account_id, request=sent)
        except KeyNotInForce as error:
            _log.warning("erasure not recorded visit=%s: %s", visit_id, error)
            return shown(request, session, visit, status=409, problem="no_key")
        except EdgeError as error:
            _log.warning("nothing to erase visit=%s: %s", visit_id, error)
            return shown(request, session, visit, status=409, problem="gone")
        if done is None:
            return RedirectResponse(f"/visits/{visit_id}/erase", 303)
        shell.arrivals.add(done.record)  # the page that follows shows it; the watch will find it again
        return RedirectResponse(f"/erasures/{done.record.epoch}-{done.record.seq}", 303)

    @app.get("/erasures/{epoch}-{seq}")
    def erasure_receipt(request: Request, epoch: int, seq: int, session: receipt_page) -> Response:
        with closing(home.open_ledger()) as ledger:
            found = receipt(ledger, epoch, seq, joined=home.joined)
        if found is None:
            raise HTTPException(404)
        return shell.page(request, "erasure.html", session, receipt=found)
