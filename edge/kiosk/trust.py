"""The certificate of the desk's own authority, for a tablet to fetch before it trusts this page."""

from fastapi import HTTPException
from starlette.responses import Response

from edge.kiosk.shell import Shell
from edge.kiosk.tablet_ca import FOLDER, TabletCa
from sync.storage.files import read_text


def mount(shell: Shell) -> None:
    """Add /ca.crt, which everybody may read: a certificate is public, and a tablet has nobody signed in yet."""
    ca, home = TabletCa.of(shell.home.path), shell.home

    @shell.app.get("/ca.crt")
    def certificate() -> Response:
        held = home.settings().kiosk.tls.cert
        if held is None or not held.startswith(f"{FOLDER}/") or not ca.certificate.is_file():
            raise HTTPException(404)
        return Response(
            read_text(ca.certificate, "certificate"),
            media_type="application/x-x509-ca-cert",
            headers={"content-disposition": 'attachment; filename="firstvisit-desk.crt"'},
        )
