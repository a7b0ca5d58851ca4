"""`firstvisit central …`, the part that lets nodes in: certificates and the broker's configuration."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sync import SyncError

if TYPE_CHECKING:
    from sync.central.ca import Authority

app = typer.Typer()

DirOption = Annotated[Path, typer.Option("--dir", help="Central's directory.", show_default=False)]
NameOption = Annotated[
    list[str] | None, typer.Option("--name", help="A host name or address of the server; may be given again.")
]


@app.command("renew-certificates")
def renew_certificates(directory: DirOption, name: NameOption = None) -> None:
    """Issue central's own certificates anew, for its server and its session with the broker; `run` does it in time.

    Example: firstvisit central renew-certificates --dir central --name central.example
    """
    from sync.central.ca import LOCAL_NAMES, renew, server_names
    from sync.transport.tls import FOLDER, TlsFiles, utc_now

    authority, now = _authority(directory), utc_now()
    renew(authority, directory, now, (*LOCAL_NAMES, *name) if name else ())
    files = TlsFiles(directory / FOLDER, "server")
    print(f"renewed {files.certificate} and {TlsFiles(directory / FOLDER).certificate}")
    print(f"  for     {', '.join(server_names(files))}")
    print("  central run takes them up within a minute; a broker knows neither and needs no restart")


@app.command("broker-config")
def broker_config(
    directory: DirOption,
    out: Annotated[Path, typer.Option(help="The folder to write.", show_default=False)],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the broker listens, with TLS.")] = 8883,
    name: Annotated[
        list[str] | None,
        typer.Option("--name", help="A host name or address of the broker, beside this machine's own."),
    ] = None,
) -> None:
    """Write what mosquitto needs: TLS with this central's certificates, and who may write and read which topics.

    Example: firstvisit central broker-config --dir central --out broker --name broker.example
    """
    from sync.central.broker_config import write_broker_config
    from sync.central.ca import LOCAL_NAMES, server_names
    from sync.transport.tls import FOLDER, TlsFiles, utc_now

    authority = _authority(directory)
    names = (*(name or ()), *server_names(TlsFiles(directory / FOLDER, "server")), *LOCAL_NAMES)
    held = write_broker_config(authority, out, port, tuple(dict.fromkeys(names)), utc_now())
    print(f"wrote {out}")
    print(f"  for   {', '.join(held)}, port {port}")
    print(f"  start {out / 'README'}")


@app.command("revoke-certificate")
def revoke_certificate(
    directory: DirOption,
    node: Annotated[str, typer.Argument(help="The node whose certificates end.", show_default=False)],
) -> None:
    """Admit a node to the transport no more: its certificates are revoked, its keys and records untouched.

    Example: firstvisit central revoke-certificate --dir central lakeside-a
    """
    from sync.transport.tls import utc_now

    count = _authority(directory).revoke(node, utc_now())
    if not count:
        raise SyncError(f"{node}: no certificate of that name is in force")
    print(f"revoked {count} of {node}; the API refuses them now")
    print("  the broker: run central broker-config again, and restart it")


@app.command()
def certificates(directory: DirOption) -> None:
    """List every certificate issued: for whom, until when, whether revoked.

    Example: firstvisit central certificates --dir central
    """
    from sync.central.access import Access
    from sync.format.stamp import rfc3339

    _authority(directory)
    with Access(directory) as access:
        for row in access.certificates():
            state = f"revoked {rfc3339(row.revoked_us)}" if row.revoked_us else ""
            print(f"{row.name:<24} {row.kind:<8} until {rfc3339(row.not_after_us)} {row.serial:x} {state}".rstrip())


@app.command()
def invite(
    directory: DirOption,
    node: Annotated[str | None, typer.Option(help="For this node only.")] = None,
    uplink: Annotated[
        str | None,
        typer.Option(help="Where the node sends to: mqtts://…, mqtt://…, or the API's own https://… without a broker."),
    ] = None,
) -> None:
    """Invite one node to join within 15 minutes: prints a text, and the same as a QR, for `firstvisit join --invite`.

    Example: firstvisit central invite --dir central --node lakeside-a
    """
    from sync.central.admission import invite as give_out
    from sync.central.ca import open_authority
    from sync.storage.settings import load_settings
    from sync.transport.session import parse_uplink
    from sync.transport.tls import utc_now

    settings = load_settings(directory)
    if settings.api.url is None:
        raise SyncError(f"{directory}/central.toml: api.url is missing: where do nodes reach this server?")
    server = settings.api.url.rstrip("/")
    uplink = uplink or settings.broker.url
    address = parse_uplink(uplink)
    if address.password is not None and uplink == settings.broker.url:
        raise SyncError("broker.url holds central's own password: say with --uplink what nodes are to use")
    now = utc_now()
    made = give_out(directory, open_authority(directory, settings.id, now), server, uplink, node, now)
    print(f"invitation for {node or 'one node'}, good once and for 15 minutes")
    print(f"  server {server}")
    print(f"  uplink {address}")
    print()
    print(made.text())
    _show_qr(made.text())
    print("next, on the node: firstvisit join --home HOME --invite TEXT")


@app.command()
def pending(directory: DirOption) -> None:
    """List who asks to be let in and waits for `confirm` or `reject`; fingerprints are read off the nodes themselves.

    Example: firstvisit central pending --dir central
    """
    from sync.central.access import Access
    from sync.format.public_keys import Enrolment
    from sync.format.stamp import rfc3339

    _authority(directory)
    with Access(directory) as access:
        waiting = access.waiting()
    for one in waiting:
        site = Enrolment.parse_text(one.node_pub).site_id
        print(f"{one.node_id:<24} of site {site:<24} since {rfc3339(one.asked_us, timespec='seconds')}")
    if not waiting:
        print(f"nobody waits: firstvisit central invite --dir {directory} asks a node in")


@app.command()
def confirm(
    directory: DirOption,
    node: Annotated[str, typer.Argument(help="The node that asks.", show_default=False)],
    fingerprint: Annotated[
        list[str], typer.Argument(help="Its fingerprint, as its own screen shows it.", show_default=False)
    ],
    rekey: Annotated[bool, typer.Option("--rekey", help="The node is known, and its keys were made anew.")] = False,
) -> None:
    """Let a node in whose fingerprint you have read off the node itself.

    Example: firstvisit central confirm --dir central lakeside-a 0f3a 91bc 44d0 7e21 5a5a 0c1d 2e3f 4051
    """
    from sync.central.admission import confirm as let_in
    from sync.transport.tls import utc_now

    enrolment = let_in(directory, _authority(directory), node, "".join(fingerprint), utc_now(), rekey)
    print(f"let in {enrolment.node_id} of site {enrolment.site_id}")
    print(f"  this node's key  {enrolment.node.fingerprint}")
    print(f"  its desk's key   {enrolment.desk.fingerprint}")


@app.command()
def reject(
    directory: DirOption,
    node: Annotated[str, typer.Argument(help="The node that asks.", show_default=False)],
) -> None:
    """Turn away whoever asks under a name.

    Example: firstvisit central reject --dir central lakeside-a
    """
    from sync.central.admission import reject as turn_away
    from sync.transport.tls import utc_now

    _authority(directory)
    print(f"turned away {turn_away(directory, node, utc_now())} asking as {node}")


def _show_qr(text: str) -> None:
    import sys

    import segno

    if sys.stdout.isatty():
        segno.make(text, error="l").terminal(compact=True)


def _authority(directory: Path) -> "Authority":
    from sync.central.ca import open_authority
    from sync.storage.settings import load_settings
    from sync.transport.tls import utc_now

    return open_authority(directory, load_settings(directory).id, utc_now())
