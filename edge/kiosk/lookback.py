"""来过吗? The page that answers whether somebody was here before, and says no more than that."""

import logging
import secrets
from contextlib import closing
from typing import Annotated

from fastapi import Depends, Form
from starlette.requests import Request
from starlette.responses import Response

from edge.clock import wall_us
from edge.desk.consents import MAX_SIGNATURE
from edge.desk.lookback import Been, agree, by_face, by_phone, by_reported, consented, settled
from edge.desk.shown import ShownVisit
from edge.kiosk.consent import ConsentDesk, NotAgreed
from edge.kiosk.forms import sent_once
from edge.kiosk.roles import DESK, MANAGER
from edge.kiosk.shell import Shell
from edge.minted import new_request
from edge.people.phones import BadPhone, parse_phone, parse_reported
from edge.people.vault import opened
from sync.node.in_force import KeyNotInForce
from sync.web.sessions import Session

_log = logging.getLogger(__name__)
_AT_HAND, _AT_HAND_US = 8, 7_200_000_000  # arrivals offered: whoever asks has come in not long ago


def mount(shell: Shell) -> None:
    """Add /lookback, by phone, and /lookback/ID, by the face of a visit."""
    app, home = shell.app, shell.home
    page = Annotated[Session, Depends(shell.gate.page(*DESK))]
    form = Annotated[Session, Depends(shell.gate.form(*DESK))]
    consents = ConsentDesk(shell)

    def shown(
        request: Request,
        session: Session,
        *,
        status: int = 200,
        asked: str = "",
        visit: ShownVisit | None = None,
        found: list[Been] | None = None,
        problem: str = "",
    ) -> Response:
        since_us = wall_us() - _AT_HAND_US
        newest = (one for one in shell.arrivals.newest(_AT_HAND) if one.arrived_us >= since_us)
        at_hand = [one for one in newest if (one.whose and not one.forgotten) or consents.offered(one, "zh")]
        for one in found or []:
            shell.look(session, "lookback", one.visit_id)
        if found == []:
            # a miss is a row each: whoever tries out numbers is seen by how many there are
            shell.look(session, "lookback", f"nobody-{secrets.token_hex(8)}" if visit is None else visit.visit_id)
        return shell.page(
            request,
            "lookback.html",
            session,
            status,
            asked=asked,
            visit=visit,
            found=found,
            problem=problem,
            at_hand=at_hand,
            consents=consents.offered(visit, shell.pages.languages.of(request).language) if visit else [],
            request_id=new_request(),
            in_full=session.account.role in MANAGER,
            phones_days=home.policy(home.settings()).phones.days,
        )

    @app.get("/lookback")
    def lookback_page(request: Request, session: page) -> Response:
        return shown(request, session)

    @app.post("/lookback")
    def lookback_by_phone(request: Request, session: form, phone: Annotated[str, Form(max_length=40)] = "") -> Response:
        digits = parse_reported(phone)
        try:
            number = None if digits else parse_phone(phone)
        except BadPhone as error:
            return shown(request, session, status=422, problem=f"phone_{error.fault}")
        with closing(home.open_ledger()) as ledger, opened(home.database, home.keys_database) as vault:
            if number is not None:
                been = by_phone(ledger, vault, number)
                answer = [] if been is None else [settled(home.path, ledger, vault, been)]
                return shown(request, session, asked=number.masked, found=answer)
            found = [settled(home.path, ledger, vault, one) for one in by_reported(ledger, vault, digits or "")]
        return shown(request, session, asked=f"{phone.strip()[:3]}****{phone.strip()[-4:]}", found=found)

    @app.post("/lookback/{visit_id}")
    def lookback_by_face(
        request: Request,
        visit_id: str,
        session: form,
        consent: Annotated[list[str] | None, Form()] = None,
        language: Annotated[str, Form()] = "",
        signature: Annotated[str, Form(max_length=MAX_SIGNATURE)] = "",
        request_id: Annotated[str, Form()] = "",
    ) -> Response:
        visit = shell.known(visit_id)
        try:
            agreed = consents.agreed_to(visit, consent or [], language, signature)
        except NotAgreed as error:
            return shown(request, session, status=422, visit=visit, problem=error.problem)
        if agreed is not None:
            try:
                given = agree(shell.desk_ledger, home, visit, agreed, sent_once(request_id), session.account.account_id)
            except KeyNotInForce as error:
                _log.warning("consent not recorded visit=%s: %s", visit_id, error)
                return shown(request, session, status=409, visit=visit, problem="no_key")
            if given is not None:
                shell.arrivals.add(given)
            visit = shell.known(visit_id)
        if visit.forgotten or (visit.whose is None and not consents.offered(visit, "zh")):
            return shown(request, session, status=409, problem="no_face")
        if visit.open_question:
            return shown(request, session, status=409, visit=visit, problem="unanswered")
        if visit.person_id is None:  # seen only, and compared once they have consented: by the node, within seconds
            waits = "comparing" if visit.consent is not None else "no_consent"
            return shown(request, session, status=409, visit=visit, problem=waits)
        with closing(home.open_ledger()) as ledger, opened(home.database, home.keys_database) as vault:
            if not consented(home.path, ledger, vault, visit.person_id):
                return shown(request, session, status=409, visit=visit, problem="no_consent")
            been = by_face(ledger, vault, visit.person_id)
            if been is not None:
                been = settled(home.path, ledger, vault, been, visit.person_id)
        earlier = [been] if been is not None and (been.visit_id != visit.visit_id or been.settled is not None) else []
        return shown(request, session, visit=visit, found=earlier)
