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
    from sync.web.accounts import Accounts

app = typer.Typer(
    help="The front desk's pages, and their accounts.\n\nExample: firstvisit kiosk --home HOME",
    invoke_without_command=True,
)


class KioskRole(StrEnum):
    FRONT_DESK = "front_desk"
    MANAGER = "manager"
    AUDITOR = "auditor"
    PRIVACY = "privacy"
    INSTALLER = "installer"


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
    from edge.kiosk.sign_in import accounts_of
    from edge.visitor.serving import serve_visitors, server_pair
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
        pair=server_pair(place.path, settings.tls),
    )
    logging.getLogger(__name__).info("kiosk serving url=%s", server.url)
    typer.echo(f"Kiosk on {server.url}")
    if accounts_of(place).empty():
        typer.echo(f"Nobody can sign in yet: firstvisit kiosk add-user --home {place.path} NAME --role manager")
    visitors = serve_visitors(place, application.state.live)
    if visitors is None:
        server.run()
        return
    visitors.start()
    typer.echo(f"Visitors' page on {visitors.url}")
    try:
        server.run()
    finally:
        visitors.stop()


HomeOption = Annotated[Path | None, typer.Option(help="The node's HOME.")]


@app.command()
def ca(
    home: Annotated[Path | None, typer.Option(help="The node's HOME.")] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(help="A name or address by which tablets reach the kiosk; left out: those it has."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Make another authority, which every tablet must trust anew.")
    ] = False,
) -> None:
    """Give the kiosk a certificate of an authority of its own, for tablets that are told to trust it; or renew it.

    The authority can vouch for these names and for no other site. The certificate holds for 825 days.

    Example: firstvisit kiosk ca --home /var/lib/firstvisit/home --name kiosk.local --name 192.168.1.5
    """
    from edge.kiosk.tablet_ca import FOLDER, issue
    from edge.settings import set_kiosk_tls
    from sync.transport.tls import load_certificate, utc_now

    place = _home(home)
    held = place.settings().kiosk.tls.cert
    if held is not None and Path(held).parent != Path(FOLDER):
        raise EdgeError(
            f"{place.config}: kiosk.tls.cert = {held!r}: the kiosk has a certificate; take both keys out first"
        )
    made = issue(place.path, name or (), utc_now(), replace=replace)
    if held is None:
        set_kiosk_tls(place.config, f"{FOLDER}/{made.pair.certificate.name}", f"{FOLDER}/{made.pair.key.name}")
    typer.echo(f"{made.pair.certificate} for {', '.join(made.pair.names())}")
    typer.echo(f"  until      {load_certificate(made.pair.certificate).not_valid_after_utc:%Y-%m-%d}")
    typer.echo(f"  authority  {made.certificate}   (tablets: https://NAME:{place.settings().kiosk.port}/ca.crt)")
    typer.echo(f"  SHA-256    {made.fingerprint}")
    typer.echo("  next       restart the kiosk; tell each tablet to trust the authority")


NameArgument = Annotated[str, typer.Argument(help="What this person signs in as.", show_default=False)]


@app.command("add-user")
def add_user(
    name: NameArgument,
    home: HomeOption = None,
    role: Annotated[
        KioskRole,
        typer.Option(
            help="front_desk serves; a manager also registers tablets; auditor and privacy are head office's."
        ),
    ] = KioskRole.FRONT_DESK,
    office: Annotated[
        str | None,
        typer.Option(help="Where they belong; left out: this site, of an auditor or privacy officer head_office."),
    ] = None,
    pin: Annotated[bool, typer.Option("--pin", help="Ask for a PIN too, good on registered tablets only.")] = False,
    password_stdin: Annotated[
        bool,
        typer.Option("--password-stdin", help="Read the password, and with --pin the PIN, a line each, from stdin."),
    ] = False,
) -> None:
    """Make an account: a password of 12 characters or more, and with --pin a PIN of 4 to 8 digits.

    Example: firstvisit kiosk add-user --home /var/lib/firstvisit/home 李敏 --role manager
    """
    from edge.kiosk.roles import FROM_OUTSIDE, HEAD_OFFICE

    place = _home(home)
    site = place.settings().site.id
    if office == site and role.value == "auditor":
        raise EdgeError(f"office {office!r}: an auditor is from outside: what this site asks for they approve")
    accounts = _accounts(place)
    _hold_to_terminal(password_stdin)
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
        digits = sys.stdin.readline().strip() if pin else None
    else:
        password = _ask("Password (empty: PIN only)" if pin else "Password")
        digits = _ask("PIN") if pin else None
    belongs = office or (HEAD_OFFICE if role.value in FROM_OUTSIDE else site)
    account = accounts.add(name, password or None if pin else password, role.value, digits, belongs)
    typer.echo(f"{account.name} may sign in as {account.role} of {account.office} ({account.account_id})")
    if account.role in FROM_OUTSIDE:
        typer.echo("  next  head office confirms the account at central, else its answers do not count:")
        node = place.settings().node.id
        told = f"{node} {account.account_id} --role {account.role} --office {account.office}"
        typer.echo(f"        firstvisit central account allow --dir DIR {told}")


@app.command("users")
def users(
    home: HomeOption = None, as_json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False
) -> None:
    """List who may sign in at the kiosk.

    Example: firstvisit kiosk users --home /var/lib/firstvisit/home
    """
    from edge.commands.screen import show

    accounts = _accounts(_home(home))
    pins = {account.account_id for account in accounts.with_pin()}
    rows = [
        {
            "name": account.name,
            "role": account.role,
            "office": account.office,
            "pin": account.account_id in pins,
            "account_id": account.account_id,
        }
        for account in accounts.all()
    ]
    show(rows, as_json, ("name", "role", "office", "pin", "account_id"), "nobody may sign in")


@app.command("remove-user")
def remove_user(name: NameArgument, home: HomeOption = None) -> None:
    """Let somebody in no more and end what they have open; their name stays for the records that name them.

    Example: firstvisit kiosk remove-user --home /var/lib/firstvisit/home 李敏
    """
    account = _accounts(_home(home)).remove(name)
    typer.echo(f"{account.name} may no longer sign in ({account.account_id})")


@app.command("set-password")
def set_password(
    name: NameArgument,
    home: HomeOption = None,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read it, one line, from stdin.")] = False,
) -> None:
    """Give somebody another password, and end what they have open.

    Example: firstvisit kiosk set-password --home /var/lib/firstvisit/home 李敏
    """
    accounts = _accounts(_home(home))
    _hold_to_terminal(password_stdin)
    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else _ask("Password")
    typer.echo(f"{accounts.set_password(name, password).name} has another password")


@app.command("set-pin")
def set_pin(
    name: NameArgument,
    home: HomeOption = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the PIN away instead.")] = False,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read it, one line, from stdin.")] = False,
) -> None:
    """Give somebody another PIN, or take theirs away, and end what they have open.

    Example: firstvisit kiosk set-pin --home /var/lib/firstvisit/home 李敏
    """
    accounts = _accounts(_home(home))
    if remove:
        typer.echo(f"{accounts.set_pin(name, None).name} has no PIN any more")
        return
    _hold_to_terminal(password_stdin)
    digits = sys.stdin.readline().strip() if password_stdin else _ask("PIN")
    typer.echo(f"{accounts.set_pin(name, digits).name} has another PIN")


def _accounts(place: "Home") -> "Accounts":
    from edge.kiosk.sign_in import accounts_of

    place.settings()
    place.migrate()
    return accounts_of(place)


def _hold_to_terminal(stdin: bool) -> None:
    if not stdin and not sys.stdin.isatty():
        raise EdgeError("no terminal: give --password-stdin")


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
