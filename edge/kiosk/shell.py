"""What every page of the kiosk is given: the HOME, the arrivals in memory, and the door its routes stand behind."""

import logging
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException
from starlette.requests import Request
from starlette.responses import Response

from edge.access_log import AccessLog, Action, NotNoted
from edge.clock import Clock
from edge.desk.arrivals import Arrivals
from edge.desk.shown import ShownVisit
from edge.head_office import confirmed
from edge.home import Home
from edge.kiosk.faces import Faces
from edge.kiosk.health import Health
from edge.kiosk.jobs import Jobs
from edge.kiosk.made_once import MadeOnce
from edge.kiosk.view import View
from edge.sure_time import SureTime
from sync.node.ledger import Ledger
from sync.web.accounts import Accounts
from sync.web.gate import Gate
from sync.web.live import Live
from sync.web.pages import Pages
from sync.web.sessions import Session, Sessions
from sync.web.tablets import Tablets

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shell:
    """Made once, by `create_app`; each page's `mount` takes from it what it needs."""

    app: FastAPI
    home: Home
    gate: Gate
    pages: Pages
    view: View
    arrivals: Arrivals
    health: Health
    faces: Faces
    live: Live
    clock: Clock
    accounts: Accounts
    sessions: Sessions
    tablets: Tablets
    jobs: Jobs
    made_once: MadeOnce
    access: AccessLog
    sure: SureTime

    @property
    def desk_ledger(self) -> Callable[[], Ledger]:
        """Opens the ledger under the desk key; each caller for its own thread."""
        return lambda: self.home.open_ledger("desk", self.clock)

    def surely_us(self) -> int:
        """The latest moment that surely is past: what is let go for good goes by it."""
        with closing(self.home.open_ledger()) as ledger:
            return self.sure.now(ledger).sure_us

    def known(self, visit_id: str) -> ShownVisit:
        """A visit in memory; any other is a page that does not exist."""
        visit = self.arrivals.get(visit_id)
        if visit is None:
            raise HTTPException(404)
        return visit

    def head_office_form(self, *roles: str) -> Callable[..., Session]:
        """`gate.form`, for an account that central has confirmed; a node that has joined none has nobody to ask."""
        form = self.gate.form(*roles)

        def check(session: Annotated[Session, Depends(form)]) -> Session:
            if self.home.joined:
                with closing(self.home.open_ledger()) as ledger:
                    speaks = confirmed(self.home.path, ledger, session.account)
                if not speaks:
                    _log.warning("head office has not confirmed account=%s", session.account.account_id)
                    raise HTTPException(403, "unconfirmed")
            return session

        return check

    def look(self, session: Session, action: Action, subject: str) -> None:
        """Write down that somebody is about to see a person; a look that cannot be written down is not to be had."""
        try:
            self.access.note(session.account.account_id, action, subject)
        except NotNoted as error:
            _log.error("look refused action=%s subject=%s: %s", action, subject, error)
            raise HTTPException(503, "unlogged") from error

    def page(self, request: Request, template: str, session: Session, status: int = 200, **given: Any) -> Response:
        """A whole page, with the frame around it and the token that its forms send back."""
        return self.pages.render(
            request, template, status, session=session, csrf_token=session.csrf_token, **self.view.common(), **given
        )

    def part_for_all(self, request: Request, template: str, given: Callable[[], dict[str, Any]]) -> Response:
        """A piece that all tablets fetch at once, the same for everybody: made once for them. It holds no form."""
        language = self.pages.texts(request).language
        return self.made_once.part(
            (template, language), self.view.state, lambda: self.part(request, template, **given())
        )

    def part(self, request: Request, template: str, **given: Any) -> Response:
        """A piece that a page fetches by itself."""
        return self.pages.render(request, template, **self.view.common(), **given)
