"""The page on which auditor and privacy officer see who has looked at whom."""

from contextlib import closing
from typing import Annotated

from fastapi import Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from edge.access_log import KIND, SIGN_EVERY_S, check, newest, sign
from edge.kiosk.roles import ACCESS
from edge.kiosk.shell import Shell
from sync.web.sessions import Session

_ROWS = 100


def mount(shell: Shell) -> None:
    """Add /access, and the job that signs how far the log has come."""
    page = Annotated[Session, Depends(shell.gate.page(*ACCESS))]

    def signed() -> None:
        with closing(shell.desk_ledger()) as ledger:
            sign(ledger)

    shell.jobs.once(signed)  # what was left over when the kiosk was last stopped
    shell.jobs.every(signed, SIGN_EVERY_S)

    @shell.app.get("/access")
    def access_page(
        request: Request,
        session: page,
        account: Annotated[str, Query(max_length=64)] = "",
        subject: Annotated[str, Query(max_length=64)] = "",
        before: Annotated[int, Query(ge=1, le=2**53)] = 2**53,
    ) -> Response:
        with closing(shell.home.open_ledger()) as ledger:
            rows = newest(ledger.connection, _ROWS, account_id=account, subject=subject.strip(), before=before)
            digest = ledger.last_of(KIND)
        return shell.page(
            request,
            "access.html",
            session,
            rows=rows,
            upto=digest.fields["entries"] if digest is not None else 0,
            checked=check(shell.home.database),
            people=shell.accounts.all(),
            account=account,
            subject=subject,
            more=len(rows) == _ROWS,
        )
