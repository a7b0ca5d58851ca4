"""The console's page of corrections: what offices ask for, what their desks recorded, and head office's answer."""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Form, HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from sync.central.corrections import NotAnswered, answer
from sync.central.store.location import open_store
from sync.web.accounts import Accounts
from sync.web.gate import Gate
from sync.web.pages import Pages
from sync.web.sessions import Session

AUDITORS = ("auditor",)
_LISTED = 50
_HASH = re.compile("[0-9a-f]{64}")
_log = logging.getLogger(__name__)


def mount(
    app: FastAPI,
    central_dir: Path,
    gate: Gate,
    pages: Pages,
    accounts: Accounts,
    common: Callable[[], dict[str, Any]],
    readers: tuple[str, ...],
) -> None:
    """Add /corrections and the answers to what stands there; common: what every page is given."""
    page = Annotated[Session, Depends(gate.page(*readers))]
    form = Annotated[Session, Depends(gate.form(*AUDITORS))]

    def shown(request: Request, session: Session, status: int = 200, problem: str = "") -> Response:
        with open_store(central_dir) as store:
            asked = store.corrections(_LISTED)
        return pages.render(
            request,
            "corrections.html",
            status,
            session=session,
            csrf_token=session.csrf_token,
            corrections=asked,
            may_answer=session.account.role in AUDITORS,
            named=accounts.named,
            problem=problem,
            **common(),
        )

    @app.get("/corrections")
    def corrections_page(request: Request, session: page) -> Response:
        return shown(request, session)

    @app.post("/corrections/{node_id}/{proposal}")
    def answer_correction(
        request: Request,
        node_id: str,
        proposal: str,
        session: form,
        verdict: Annotated[Literal["approved", "refused"], Form()],
    ) -> Response:
        if not _HASH.fullmatch(proposal):
            raise HTTPException(404)
        try:
            answer(central_dir, node_id, proposal, verdict, session.account)
        except NotAnswered as error:
            _log.warning("correction not answered node=%s: %s", node_id, error.fault)
            if error.fault == "missing":
                raise HTTPException(404) from error
            return shown(request, session, 409 if error.fault == "already" else 403, error.fault)
        return RedirectResponse("/corrections", 303)
