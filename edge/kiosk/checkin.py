"""The page on which the desk closes an arrival: phone, walk-in, or a dismissal at one tap."""

import logging
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Annotated, Any, Literal

from fastapi import Depends, Form, HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from edge.desk.checkin import DISMISSALS, Arrival, CheckIn, NotNow, Registration
from edge.desk.codes import ShownCode
from edge.desk.consents import NothingToForget
from edge.desk.shown import ShownVisit
from edge.desk.undo import may_undo
from edge.kiosk.consent import ConsentDesk, NotAgreed
from edge.kiosk.forms import Registering, once, registering, sent_once
from edge.kiosk.parties import BadParty, PartyView, moved
from edge.kiosk.phone_forms import PhoneForms
from edge.kiosk.roles import DESK
from edge.kiosk.serving import serving, skipped_of
from edge.kiosk.shell import Shell
from edge.people.contacts import contact_of
from edge.people.phones import BadPhone, parse_phone
from edge.people.vault import opened
from edge.recognition.roster import Member
from sync.format.notices import ReportKnown
from sync.format.records import Record
from sync.node.in_force import KeyNotInForce
from sync.node.trust import Trust
from sync.web.sessions import Session

_log = logging.getLogger(__name__)


def mount(shell: Shell) -> None:
    """Add /visits/ID/checkin, its forms for registering, dismissing and taking a dismissal back."""
    app, home = shell.app, shell.home
    parties = PartyView(shell)
    desk, consents = CheckIn(shell.desk_ledger, home, shell.sure), ConsentDesk(shell)
    page = Annotated[Session, Depends(shell.gate.page(*DESK))]
    form = Annotated[Session, Depends(shell.gate.form(*DESK))]

    @app.get("/visits/{visit_id}/checkin")
    def page_of(request: Request, visit_id: str, session: page, moved: str = "", problem: str = "") -> Response:
        said = problem if problem in ("moved", "no_key", "nothing_to_forget") else ""
        return checkin_page(shell, request, session, shell.known(visit_id), problem=said, moved_by=moved)

    @app.post("/visits/{visit_id}/checkin")
    def register(
        request: Request,
        visit_id: str,
        session: form,
        way: Annotated[Literal["phone", "walk_in"], Form()],
        told: Annotated[Registering, Depends(registering)],
    ) -> Response:
        visit = shell.known(visit_id)
        try:
            party = parties.together(visit, told.companions, told.heads)
            number = parse_phone(told.phone) if way == "phone" or told.phone.strip() else None
        except BadParty as error:
            status = 422 if error.fault == "heads_bad" else 409
            return checkin_page(shell, request, session, visit, status=status, problem=error.fault, typed=told.phone)
        except BadPhone as error:
            return checkin_page(
                shell, request, session, visit, status=422, problem=f"phone_{error.fault}", typed=told.phone
            )
        try:
            agreed = consents.agreed_to(visit, list(told.consent), told.language, told.signature)
        except NotAgreed as error:
            return checkin_page(shell, request, session, visit, status=409, problem=error.problem, typed=told.phone)
        return checked_in(
            shell,
            request,
            session,
            visit,
            lambda arrival: desk.register(
                arrival,
                Registration(way, number, agreed, heads=party.heads),
                told.request_id,
                session.account.account_id,
                companions=party.companions,
            ),
        )

    @app.post("/visits/{visit_id}/dismiss")
    def dismiss(
        request: Request,
        visit_id: str,
        session: form,
        dismissal: Annotated[str, Form()],
        request_id: Annotated[str, Form()],
        together: Annotated[str, Form()] = "",
    ) -> Response:
        visit, sent = shell.known(visit_id), sent_once(request_id)
        if dismissal not in DISMISSALS:
            raise HTTPException(422, "form")

        def write(arrival: Arrival) -> list[Record]:
            if dismissal == "child":
                with suppress(NothingToForget):  # under after_consent there is nothing yet
                    consents.forget(visit, "child", sent, session.account.account_id)
            beside = [Arrival.of(one) for one in parties.of(visit).open if together and one.visit_id != visit_id]
            return desk.dismiss(arrival, dismissal, sent, session.account.account_id, others=beside)

        return checked_in(shell, request, session, visit, write)

    @app.post("/visits/{visit_id}/reopen")
    def reopen(request: Request, visit_id: str, session: form, request_id: Annotated[str, Form()]) -> Response:
        visit, sent = shell.known(visit_id), sent_once(request_id)
        return checked_in(
            shell, request, session, visit, lambda arrival: desk.reopen(arrival, sent, session.account.account_id)
        )


def checkin_page(
    shell: Shell,
    request: Request,
    session: Session,
    visit: ShownVisit,
    *,
    status: int = 200,
    problem: str = "",
    typed: str = "",
    moved_by: str = "",
    scanned: ShownCode | None = None,
    badge: Member | None = None,
    scanned_text: str = "",
    refused: Record | None = None,
    **given: Any,
) -> Response:
    """The page itself. problem: what to say of the form that was sent; typed: its phone, to be mended there.

    moved_by: the request of a split or join that the page shows as done. scanned, scanned_text: a good code that waits
    for a phone, or for the desk's word; refused: what is on record of one that is not.
    """
    home, visit = shell.home, shell.known(visit.visit_id)  # another tablet may have closed it meanwhile
    if problem == "moved" and visit.state == "registered":
        problem = "already"  # its party is another by now because of that
    shell.look(session, "checkin", visit.visit_id)
    consents = ConsentDesk(shell)
    with closing(home.open_ledger()) as ledger, opened(home.database, home.keys_database) as vault:
        contact = contact_of(ledger.connection, vault, visit.visit_id)
        surely_us = shell.sure.past_us(ledger)
        serve = serving(ledger, shell.view.times, visit, skipped_of(request.query_params.get("skipped", "")))
    return shell.page(
        request,
        "checkin.html",
        session,
        status,
        **consents.who(visit),
        contact=contact,
        serving=serve,
        undoable=_undoable(shell, visit, session.account.account_id, surely_us),
        dismissals=tuple(DISMISSALS),
        consents=consents.offered(visit, shell.pages.texts(request).language),
        problem=problem,
        typed=typed,
        moved=moved(shell, visit, moved_by) if once(moved_by) else None,
        **PartyView(shell).around(visit),
        **PhoneForms(shell).listed(request.query_params.get("digits", "")),
        scanned=scanned,
        badge=badge,
        scanned_text=scanned_text,
        refused=refused,
        reported=_reported(shell, visit),
        scan_cameras=[one.camera_id for one in shell.health.read().cameras if one.status in ("up", "moved")],
        **given,
    )


def _undoable(shell: Shell, visit: ShownVisit, account_id: str, surely_us: int) -> bool:
    if visit.checkin is None or visit.state != "registered" or visit.origin.proposals:
        return False
    place, now = visit.checkin.at, shell.clock.stamp(None)
    registered = (word for word in visit.words if (word.epoch, word.seq) == place)
    return any(may_undo(one, account_id, now, surely_us) for one in registered)


def checked_in(
    shell: Shell, request: Request, session: Session, visit: ShownVisit, write: Callable[[Arrival], list[Record]]
) -> Response:
    """Have a check-in written, and lead to the page that shows it; nothing is shown that was not recorded."""
    arrivals = shell.arrivals
    try:
        records = write(Arrival.of(visit, arrivals.party_of(visit)))
    except NotNow:
        with closing(shell.home.open_ledger()) as ledger:  # what stands in the way is shown, read by the watch or not
            for record in ledger.naming(visit.visit_id, ("visit.checkin",), visit.at):
                arrivals.add(record)
        return checkin_page(shell, request, session, visit, status=409, problem="already")
    except KeyNotInForce as error:
        _log.warning("check-in not recorded visit=%s: %s", visit.visit_id, error)
        return checkin_page(shell, request, session, visit, status=409, problem="no_key")
    for record in records:
        arrivals.add(record)  # the page that follows shows it; the watch will find it again
    return RedirectResponse(f"/visits/{visit.visit_id}/checkin", 303)


def _reported(shell: Shell, visit: ShownVisit) -> list[ReportKnown]:
    """What central says today of the reports that a check-in names."""
    if visit.checkin is None or not visit.checkin.reports or not shell.home.joined:
        return []
    trust = Trust(shell.home.path)
    return [known for report in visit.checkin.reports if (known := trust.known_report(report)) is not None]
