"""The slip of a check-in or of a refused code: a page of 80 mm to print, with what anybody needs to verify it."""

import logging
import re
from contextlib import closing
from typing import Annotated

from fastapi import Depends, HTTPException
from starlette.requests import Request
from starlette.responses import Response

from edge.desk.receipts import Slip, drawn, slip_of
from edge.kiosk.roles import DESK
from edge.kiosk.shell import Shell
from edge.people.vault import opened
from sync.node.in_force import KeyNotInForce
from sync.web.sessions import Session

_log = logging.getLogger(__name__)
_PLACE = re.compile(r"([1-9][0-9]{0,9})\.([1-9][0-9]{0,15})")


def mount(shell: Shell) -> None:
    """Add /receipts/EPOCH.SEQ and its code."""
    app, home = shell.app, shell.home
    page = Annotated[Session, Depends(shell.gate.page(*DESK))]
    part = Annotated[Session, Depends(shell.gate.part(*DESK))]

    def slip(place: str) -> Slip:
        found = _PLACE.fullmatch(place)
        if found is None:
            raise HTTPException(404)
        try:
            with closing(home.open_ledger()) as ledger, opened(home.database, home.keys_database) as vault:
                made = slip_of(home, ledger, vault, int(found[1]), int(found[2]))
        except KeyNotInForce as error:
            _log.warning("no receipt place=%s: %s", place, error)
            made = None
        if made is None:
            raise HTTPException(404)
        return made

    @app.get("/receipts/{place}")
    def receipt_page(request: Request, place: str, session: page) -> Response:
        made = slip(place)
        shell.look(session, "checkin", made.fields["visit"])
        visit = shell.arrivals.get(made.fields["visit"])
        arrived_us = made.fields.get("arrived_us") or (visit.arrived_us if visit else None)
        return shell.page(request, "receipt.html", session, slip=made, arrived_us=arrived_us)

    @app.get("/receipts/{place}/code.svg")
    def receipt_code(place: str, _session: part) -> Response:
        return Response(drawn(slip(place).receipt), media_type="image/svg+xml")
