"""The parties of the day: which wait at the desk, which have been served, and their splits and joins."""

import logging
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Form, HTTPException
from starlette.responses import RedirectResponse, Response

from edge import EdgeError
from edge.desk.checkin import Arrival, NotNow
from edge.desk.parties import PartyDesk, ShownParty, moved_by, parties_of
from edge.desk.shown import ShownVisit
from edge.kiosk.roles import DESK
from edge.kiosk.shell import Shell
from sync.format.records import Record
from sync.node.in_force import KeyNotInForce
from sync.web.sessions import Session

_log = logging.getLogger(__name__)
MOST_HEADS = 500  # of one group
_SERVED = 30  # parties listed below those that wait
_NEAR_US = 10 * 60 * 1_000_000  # a bus is emptied in minutes
_OFFERED = 24  # parties offered to be joined one by one


@dataclass(frozen=True, slots=True)
class Moved:
    """A split or join as recorded; visits: how many it moved."""

    request: str
    reason: str
    visits: int
    first_seq: int
    last_seq: int


@dataclass(frozen=True, slots=True)
class Together:
    """Who is closed with the one who registers; heads: of a group, None where the form told of none."""

    companions: tuple[Arrival, ...]
    heads: int | None


class BadParty(EdgeError):
    """A form about a party that cannot be followed; fault: `moved` (it is another by now) or `heads_bad`."""

    def __init__(self, fault: str) -> None:
        super().__init__(f"party: {fault}")
        self.fault = fault


class PartyView:
    """What the pages say of parties, out of what stands in memory."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    def today(self) -> list[ShownParty]:
        """Every party of today, the longest waiting first."""
        return parties_of(self._shell.arrivals.since(self._shell.view.midnight_us()))

    def listed(self) -> dict[str, Any]:
        """As the front page lists them."""
        today = self.today()
        waiting = [party for party in today if party.open]
        served = sorted((party for party in today if not party.open), key=lambda party: party.closed_at, reverse=True)
        return {
            "waiting_parties": waiting,
            "waiting_heads": sum(len(party.open) for party in waiting),
            "served_parties": served[:_SERVED],
            "served_count": len(served),
        }

    def around(self, visit: ShownVisit) -> dict[str, Any]:
        """The party of a visit, what may be joined to it, and who comes next at the desk."""
        today = parties_of([*self._shell.arrivals.since(self._shell.view.midnight_us()), visit])
        party = self.of(visit)
        others = [other for other in today if other.key != party.key and other.open]
        near = [other for other in others if abs(other.arrived_us - party.arrived_us) <= _NEAR_US]
        return {
            "party": party,
            "joinable": near[:_OFFERED],
            "joinable_count": len(near),
            "joinable_heads": sum(len(other.visits) for other in near),
            "next_party": next(iter(others), None),
        }

    def of(self, visit: ShownVisit) -> ShownParty:
        """A visit's party as it stands, of whichever day."""
        arrivals = self._shell.arrivals
        members = [visit] if visit.party_id is None else arrivals.members(visit.party_id)
        return parties_of(members)[0]

    def together(self, visit: ShownVisit, companions: Iterable[str], heads: str) -> Together:
        """What a form says of the party of the one who registers; raises BadParty."""
        wanted = set(companions)
        beside = tuple(Arrival.of(one) for one in self.of(visit).visits if one.visit_id in wanted - {visit.visit_id})
        if len(beside) < len(wanted - {visit.visit_id}):
            raise BadParty("moved")
        told = heads.strip()
        if told and not (told.isdecimal() and 1 <= int(told) <= MOST_HEADS):
            raise BadParty("heads_bad")
        return Together(beside, int(told) if told else None)

    def near(self, visit: ShownVisit) -> list[ShownParty]:
        """The open parties that came within minutes of a visit's."""
        party = self.of(visit)
        return [
            other
            for other in self.today()
            if other.key != party.key and other.open and abs(other.arrived_us - party.arrived_us) <= _NEAR_US
        ]


def mount(shell: Shell) -> None:
    """Add the forms that split and join parties and take that back."""
    app, arrivals = shell.app, shell.arrivals
    desk, view = PartyDesk(shell.desk_ledger), PartyView(shell)
    form = Annotated[Session, Depends(shell.gate.form(*DESK))]

    def told(visit: ShownVisit, request: str, write: Callable[[], list[Record]]) -> Response:
        back = f"/visits/{visit.visit_id}/checkin"
        try:
            records = write()
        except NotNow:
            return RedirectResponse(f"{back}?problem=moved", 303)
        except KeyNotInForce as error:
            _log.warning("party not moved visit=%s: %s", visit.visit_id, error)
            return RedirectResponse(f"{back}?problem=no_key", 303)
        arrivals.add_moves(records)  # the page that follows shows it; the watch will find it again
        return RedirectResponse(f"{back}?moved={request}", 303)

    @app.post("/visits/{visit_id}/split")
    def split(
        visit_id: str,
        session: form,
        request_id: Annotated[str, Form(pattern=r"^[0-9a-f]{32}$")],
        leaving: Annotated[list[str] | None, Form()] = None,
    ) -> Response:
        visit, account = shell.known(visit_id), session.account.account_id
        party = {member.visit_id: member for member in view.of(visit).visits}
        going = [party[one] for one in leaving or () if one in party]
        if not going or len(going) == len(party):
            raise HTTPException(422, "form")
        stays = visit if visit not in going else next(one for one in party.values() if one not in going)
        return told(stays, request_id, lambda: desk.split([Arrival.of(one) for one in going], request_id, account))

    @app.post("/visits/{visit_id}/join")
    def join(
        visit_id: str,
        session: form,
        request_id: Annotated[str, Form(pattern=r"^[0-9a-f]{32}$")],
        coming: Annotated[list[str] | None, Form()] = None,
        everybody: Annotated[str, Form()] = "",
    ) -> Response:
        visit, account = shell.known(visit_id), session.account.account_id
        wanted = view.near(visit) if everybody else [p for p in view.today() if p.key in set(coming or ())]
        joining = [Arrival.of(one) for party in wanted if party.key != view.of(visit).key for one in party.visits]
        if not joining:
            return RedirectResponse(f"/visits/{visit_id}/checkin", 303)
        return told(visit, request_id, lambda: desk.join(joining, Arrival.of(visit), request_id, account))

    @app.post("/visits/{visit_id}/parties/back")
    def take_back(
        visit_id: str,
        session: form,
        request_id: Annotated[str, Form(pattern=r"^[0-9a-f]{32}$")],
        undone: Annotated[str, Form(pattern=r"^[0-9a-f]{32}$")],
    ) -> Response:
        visit, account = shell.known(visit_id), session.account.account_id
        moved = [Arrival.of(one) for one in arrivals.since(shell.view.midnight_us())]
        return told(visit, request_id, lambda: desk.take_back(moved, undone, request_id, account))


def moved(shell: Shell, visit: ShownVisit, request: str) -> Moved | None:
    """What a form moved, by its records; None where it has moved nothing of this day."""
    after = min(one.at for one in [visit, *shell.arrivals.since(shell.view.midnight_us())])
    with closing(shell.home.open_ledger()) as ledger:
        records = moved_by(ledger, request, after)
    if not records:
        return None
    return Moved(request, records[0].fields["reason"], len(records), records[0].seq, records[-1].seq)
