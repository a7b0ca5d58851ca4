"""`firstvisit kiosk`: serve the front desk's pages, and make the accounts that may see them."""

import getpass
import logging
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge import EdgeError

if TYPE_CHECKING:
    from edge.home import Home

app = typer.Typer(
    help="The front desk's pages, and their accounts.\n\nExample: firstvisit kiosk --home HOME",
    invoke_without_command=True,
)


class KioskRole(StrEnum):
    FRONT_DESK = "front_desk"
    MANAGER = "manager"


@app.callback()
def kiosk(
    context: typer.Context,
    home: Annotated[Path | None, typer.Option(help="The node's HOME.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on (kiosk.host; 127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port (kiosk.port; 8500). 0 takes any.")] = None,
) -> None:
    """Serve the front desk's pages until SIGTERM.

    Example: firstvisit kiosk --home /var/lib/firstvisit/home
    """
    if context.invoked_subcommand is not None:
        return
    from edge.kiosk.app import create_app
    from sync.web.accounts import Accounts
    from sync.web.server import PageServer

    place = _home(home)
    settings = place.settings().kiosk
    place.migrate()
    application = create_app(place)
    server = PageServer(
        application,
        host or settings.host,
        settings.port if port is None else port,
        application.state.live.close,
        settings.url,
    )
    logging.getLogger(__name__).info("kiosk serving url=%s", server.url)
    typer.echo(f"Kiosk on {server.url}")
    if Accounts(place.database).empty():
        typer.echo(f"Nobody can sign in yet: firstvisit kiosk add-user --home {place.path} NAME --role manager")
    server.run()


@app.command("add-user")
def add_user(
    name: Annotated[str, typer.Argument(help="What this person signs in as.")],
    home: Annotated[Path | None, typer.Option(help="The node's HOME.")] = None,
    role: Annotated[KioskRole, typer.Option(help="Managers also register tablets.")] = KioskRole.FRONT_DESK,
    pin: Annotated[bool, typer.Option("--pin", help="Ask for a PIN too, good on registered tablets only.")] = False,
    password_stdin: Annotated[
        bool,
        typer.Option("--password-stdin", help="Read the password, and with --pin the PIN, a line each, from stdin."),
    ] = False,
) -> None:
    """Make an account: a password of 12 characters or more, and with --pin a PIN of 4 to 8 digits.

    Example: firstvisit kiosk add-user --home /var/lib/firstvisit/home 李敏 --role manager
    """
    from sync.web.accounts import Accounts

    place = _home(home)
    place.settings()
    place.migrate()
    accounts = Accounts(place.database)
    if not password_stdin and not sys.stdin.isatty():
        raise EdgeError("no terminal: give --password-stdin")
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
        digits = sys.stdin.readline().strip() if pin else None
    else:
        password = _ask("Password (empty: PIN only)" if pin else "Password")
        digits = _ask("PIN") if pin else None
    account = accounts.add(name, password or None if pin else password, role.value, digits)
    typer.echo(f"{account.name} may sign in as {account.role} ({account.account_id})")


def _home(path: Path | None) -> "Home":
    from edge.home import Home

    if path is None:
        raise typer.BadParameter("--home HOME is needed")
    return Home(path)


def _ask(what: str) -> str:
    secret = getpass.getpass(f"{what}: ")
    if secret and getpass.getpass("Again: ") != secret:
        raise EdgeError("the two entries differ; nothing was changed")
    return secret
