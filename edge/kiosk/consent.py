"""Consent at the desk: which text is offered, whose face is kept, and one tap that forgets it."""

import logging
from contextlib import closing
from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import Depends, Form, HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from edge.clock import wall_us
from edge.consent import HELD_S
from edge.desk.consents import (
    BadSignature,
    Consent,
    ConsentText,
    ConsentTexts,
    NothingToForget,
    forget_face,
    read_signature,
)
from edge.desk.fact import Fact
from edge.desk.facts import facts_of
from edge.desk.shown import ShownVisit
from edge.kiosk.forms import sent_once
from edge.kiosk.health import NodeHealth
from edge.kiosk.parties import PartyView
from edge.kiosk.roles import DESK
from edge.kiosk.shell import Shell
from edge.minted import new_request
from edge.people.vault import opened
from sync.node.in_force import KeyNotInForce
from sync.web.sessions import Session

_log = logging.getLogger(__name__)
_DECIDED_WITHIN_US = 15_000_000  # the node hears of a consent within a second; by then it has no pictures any more

Problem = Literal["consent_late", "consent_two"]
AtATap = Literal["withdrawn", "child", "error"]


class NotAgreed(Exception):
    """A form whose consent cannot be taken; problem: as the pages name it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem


class ConsentDesk:
    """What the check-in's page says of consent."""

    def __init__(self, shell: Shell) -> None:
        settings = shell.home.settings()
        self._shell = shell
        self._texts = ConsentTexts(settings.operator.name, timedelta(days=settings.retention.consented_days))

    def offered(self, visit: ShownVisit, language: str) -> list[ConsentText]:
        """The visitor's text and a guardian's, none where there is nothing to consent to."""
        if not may_consent(visit, self._shell.health.read(), wall_us()):
            return []
        return [self._texts.text("visitor", language), self._texts.text("guardian", language)]

    def agreed_to(self, visit: ShownVisit, versions: list[str], language: str, signature: str) -> Consent | None:
        """What a form agrees to, None where its boxes are empty; raises NotAgreed, HTTPException for a forged one."""
        if not versions:
            return None
        if len(versions) > 1:
            raise NotAgreed("consent_two")
        chosen = self._texts.shown_as(versions[0], language) if language in ("zh", "en") else None
        if chosen is None:
            raise HTTPException(422, "form")
        if visit.consent is None and not self.offered(visit, language):  # else the same form again, for its receipt
            raise NotAgreed("consent_late")
        try:
            drawn = read_signature(signature) if signature else None
        except BadSignature as error:
            raise HTTPException(422, "form") from error
        return Consent(chosen, drawn, "signature" if drawn else None)

    def who(self, visit: ShownVisit) -> dict[str, Any]:
        """What who.html is given beside the visit."""
        node, now_us, home = self._shell.health.read(), wall_us(), self._shell.home
        given = visit.consent
        with closing(home.open_ledger()) as ledger, opened(home.database, home.keys_database) as vault:
            as_of_us = ledger.last_ack_us()
            known = facts_of(home.path, ledger, vault, visit_id=visit.visit_id, person_id=visit.person_id, at=visit.at)
            kept = visit.whose is not None and not visit.forgotten
            consented = kept and vault.consented_us(visit.whose or "") is not None
        return {
            "visit": visit,
            "waiting": waiting(visit, node, now_us),
            "deciding": given is not None and _held_since(visit, node) and now_us - given.at_us < _DECIDED_WITHIN_US,
            "consented": consented,
            "as_of_us": as_of_us,
            "facts": told_and_known(visit, known),
            "request_id": new_request(),
        }

    def forget(self, visit: ShownVisit, because: AtATap, request: str, account_id: str) -> None:
        """Forget a face, and show it as forgotten from now on; raises NothingToForget or KeyNotInForce."""
        home = self._shell.home
        forgotten = forget_face(
            self._shell.desk_ledger,
            home.database,
            home.keys_database,
            visit_id=visit.visit_id,
            at=visit.at,
            person_id=visit.whose,
            because=because,
            request=request,
            account_id=account_id,
        )
        self._shell.arrivals.add(forgotten.record)


def mount(shell: Shell) -> None:
    """Add the part that says who it is, and the form that forgets a face."""
    app, desk = shell.app, ConsentDesk(shell)
    part = Annotated[Session, Depends(shell.gate.part(*DESK))]
    form = Annotated[Session, Depends(shell.gate.form(*DESK))]

    @app.get("/fragments/who/{visit_id}")
    def who(request: Request, visit_id: str, session: part) -> Response:
        visit = shell.known(visit_id)
        shell.look(session, "checkin", visit_id)
        given = desk.who(visit) | PartyView(shell).around(visit)
        return shell.part(request, "who.html", **given, csrf_token=session.csrf_token)

    @app.post("/visits/{visit_id}/face")
    def forget(
        visit_id: str,
        session: form,
        because: Annotated[AtATap, Form()],
        request_id: Annotated[str, Form()],
    ) -> Response:
        visit, sent = shell.known(visit_id), sent_once(request_id)
        back = f"/visits/{visit_id}/checkin"
        try:
            desk.forget(visit, because, sent, session.account.account_id)
        except NothingToForget:
            return RedirectResponse(f"{back}?problem=nothing_to_forget", 303)
        except KeyNotInForce as error:
            _log.warning("face not forgotten visit=%s: %s", visit_id, error)
            return RedirectResponse(f"{back}?problem=no_key", 303)
        return RedirectResponse(back, 303)


def told_and_known(visit: ShownVisit, known: list[Fact]) -> list[Fact]:
    """The facts that its registration carries, and those that have come up since."""
    told = visit.checkin.facts if visit.checkin is not None and visit.state == "registered" else ()
    codes = {fact.code for fact in told}
    return [*told, *(fact for fact in known if fact.code not in codes)]


def may_consent(visit: ShownVisit, node: NodeHealth, now_us: int) -> bool:
    """Whether there is a face here to consent to: one that is kept, or pictures of the door that still wait."""
    if visit.consent is not None or visit.withdrawn or visit.forgotten:
        return False
    return visit.person_id is not None or waiting(visit, node, now_us)


def waiting(visit: ShownVisit, node: NodeHealth, now_us: int) -> bool:
    """Whether the node still holds this arrival's pictures, as far as its records tell: an hour long, while it runs."""
    if visit.original != "seen" or visit.state != "open":
        return False
    return _held_since(visit, node) and now_us - visit.arrived_us < HELD_S * 1e6


def _held_since(visit: ShownVisit, node: NodeHealth) -> bool:
    """Whether the node has run on since the arrival: a start begins without anybody's pictures."""
    return node.running and node.since_us is not None and visit.begun.stamp.wall_us >= node.since_us
