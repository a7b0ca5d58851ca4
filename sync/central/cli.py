"""`firstvisit central …`: make a central, run it, enrol nodes, read what it holds, let people in."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from sync import SyncError
from sync.central.cli_access import app as access_app
from sync.central.cli_accounts import app as accounts_app
from sync.central.cli_codes import app as codes_app
from sync.central.cli_log import app as log_app
from sync.central.cli_nodes import app as nodes_app
from sync.central.cli_notices import app as notices_app
from sync.central.cli_rights import app as rights_app
from sync.format.stamp import rfc3339

app = typer.Typer(
    help="The central server: verifies, stores and acknowledges what nodes send.\n\n"
    "Example: firstvisit central run --dir /var/lib/firstvisit-central",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
app.add_typer(access_app)
app.add_typer(nodes_app)
app.add_typer(notices_app)
app.add_typer(log_app)
app.add_typer(codes_app, name="code")
app.add_typer(rights_app)
app.add_typer(accounts_app, name="account")

DirOption = Annotated[Path, typer.Option("--dir", help="Central's directory.", show_default=False)]


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The directory to make.", show_default=False)],
    broker: Annotated[
        str, typer.Option(help=r"mqtt://\[user:password@]host:port, or mqtts://.")
    ] = "mqtt://127.0.0.1:1883",
    central_id: Annotated[str, typer.Option("--id", help="What this central is called.")] = "central",
    name: Annotated[
        list[str] | None,
        typer.Option("--name", help="A host name or address that nodes reach this server by; the first for the API."),
    ] = None,
    store: Annotated[
        str | None, typer.Option(help=r"postgresql://\[user:password@]host/database; without it, SQLite in DIR.")
    ] = None,
) -> None:
    """Make a central: its keys, its certificates, its configuration and an empty store.

    Example: firstvisit central init /var/lib/firstvisit-central --broker mqtt://broker.example:1883
    """
    from sync.central.ca import check_names, open_authority
    from sync.central.keys import create_keys
    from sync.central.store.location import check_empty, create_store
    from sync.central.store.sqlite import FILE_NAME as STORE_FILE
    from sync.format.records import valid_name
    from sync.storage.files import close_to_others, write_durably
    from sync.storage.key_files import CENTRAL_FILE
    from sync.storage.settings import FILE_NAME as SETTINGS_FILE
    from sync.storage.settings import settings_text
    from sync.transport.mqtt import BrokerAddress
    from sync.transport.tls import utc_now

    BrokerAddress.parse(broker)
    check_names(name or ())
    if not valid_name(central_id):
        raise SyncError(f"--id {central_id!r}: letters, digits, . _ - are allowed, at most 64")
    if (directory / CENTRAL_FILE).exists() or (directory / STORE_FILE).exists():
        raise SyncError(f"{directory}: a central is already there")
    if store is not None:
        check_empty(store)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        close_to_others(directory)
        public = create_keys(directory, central_id)
        # the passwords of the broker and of PostgreSQL stand in it
        api_name = name[0] if name else None
        write_durably(directory / SETTINGS_FILE, settings_text(central_id, broker, store, api_name), 0o600)
    except OSError as error:
        raise SyncError(f"{directory}: {error.strerror}") from error
    create_store(directory, store)
    open_authority(directory, central_id, utc_now(), name or ())
    print(f"made {directory}")
    print(f"  root key  {public.root.fingerprint}")
    if name:
        print(f"  for nodes firstvisit central invite --dir {directory}, once it runs")
    else:
        print(f"  for nodes {directory / CENTRAL_FILE}   (firstvisit join --central-key)")
    print(f"  next      firstvisit central add-user --dir {directory} NAME")
    print(f"            firstvisit central run --dir {directory}")


@app.command()
def run(
    directory: DirOption,
    broker: Annotated[str | None, typer.Option(help="Replaces broker.url of central.toml.")] = None,
    host: Annotated[str | None, typer.Option(help="Where the console listens; replaces console.host.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Replaces console.port.")] = None,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Be worker I of N that share a PostgreSQL store; 1 serves the console.")
    ] = "1/1",
) -> None:
    """Take and acknowledge what nodes send, and serve the console, until SIGTERM or Ctrl-C.

    Example: firstvisit central run --dir /var/lib/firstvisit-central
    """
    from sync.central import server
    from sync.central.shard import Shard
    from sync.central.timestamp import configured_authority
    from sync.storage.settings import load_settings
    from sync.transport.mqtt import BrokerAddress

    settings = load_settings(directory)
    server.run(
        directory,
        settings.id,
        BrokerAddress.parse(broker or settings.broker.url),
        host or settings.console.host,
        port or settings.console.port,
        settings.console.url,
        settings.ingest.backfill_per_s,
        Shard.parse(shard),
        server.ApiAddress(settings.api.host, settings.api.port, settings.api.url) if settings.api.url else None,
        configured_authority(directory),
    )


@app.command()
def enroll(
    directory: DirOption,
    node_pub: Annotated[Path, typer.Argument(metavar="NODE.pub", help="A node's enrolment file.", show_default=False)],
    rekey: Annotated[
        bool, typer.Option("--rekey", help="Let the new keys of a node already enrolled count from their epoch on.")
    ] = False,
) -> None:
    """Take a node in, so that its records are accepted; enrolling it again changes nothing.

    Example: firstvisit central enroll --dir central demo/node.pub
    """
    from sync.central.enrol import enrol
    from sync.central.keys import load_public

    enrolment, new = enrol(directory, node_pub, rekey)
    print(f"{'enrolled' if new else 'already enrolled'} {enrolment.node_id} of site {enrolment.site_id}")
    print(f"  this node's key     {enrolment.node.fingerprint}")
    print(f"  its desk's key      {enrolment.desk.fingerprint}")
    print(f"  central's root key  {load_public(directory).root.fingerprint}")
    if enrolment.epoch > 1:
        print(f"  these keys count from epoch {enrolment.epoch} on; restart the node's service")


@app.command("readmit")
def readmit_node(
    directory: DirOption,
    node: Annotated[str, typer.Argument(help="The node that forked.", show_default=False)],
) -> None:
    """Take a node's records again after a fork, once only one machine runs as that node.

    Example: firstvisit central readmit --dir central puxi-01-a
    """
    from sync.central.enrol import readmit

    epoch = readmit(directory, node)
    print(f"{node} is heard again; central's log says that epoch {epoch} was opened")
    print("  on the machine that is to go on:")
    print("  if it is the one whose records central holds last, restart its service; else")
    print(f"  firstvisit keys new-epoch --home HOME --reason fork --epoch {epoch}, and restart its service")


@app.command()
def records(
    directory: DirOption,
    node: Annotated[str | None, typer.Option(help="Only of this node.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only, one object a line.")] = False,
) -> None:
    """List every record held, by node and in the order of its chain.

    Example: firstvisit central records --dir central --json
    """
    from sync.central.store.location import open_store

    with open_store(directory) as store:
        if node is not None and store.enrolment(node) is None:
            raise SyncError(f"node {node}: not enrolled here")
        empty = True
        for row in store.records(node):
            empty = False
            if as_json:
                fields = {
                    "node": row.node_id,
                    "epoch": row.epoch,
                    "seq": row.seq,
                    "kind": row.kind,
                    "hash": row.hash.hex(),
                    "prev_hash": row.prev_hash.hex(),
                    "signature": row.signature.hex(),
                    "received_at": rfc3339(row.received_us),
                    "body": row.fields,
                }
                print(json.dumps(fields))  # ASCII: bodies hold whatever their node signed
            else:
                place = f"{row.node_id} {row.epoch}:{row.seq:<8}"
                print(f"{place} {row.kind:<18} {rfc3339(row.received_us)} {row.hash.hex()[:16]}")
        if empty and not as_json:
            print("no records yet")


@app.command("add-user")
def add_user(
    directory: DirOption,
    name: Annotated[str, typer.Argument(help="What this person signs in as.", show_default=False)],
    role: Annotated[str, typer.Option(help="viewer, or auditor: answers what offices ask to correct.")] = "viewer",
    office: Annotated[str, typer.Option(help="Where an auditor belongs; never a site of theirs.")] = "head_office",
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password, one line, from stdin.")
    ] = False,
) -> None:
    """Let somebody in to the console, with a password of 12 characters or more.

    Example: firstvisit central add-user --dir central wang
    """
    from sync.central.store.location import accounts_path, migrate_store
    from sync.web.accounts import Accounts

    if role not in ("viewer", "auditor"):
        raise SyncError(f"role {role!r}: viewer or auditor")
    migrate_store(directory)
    if not password_stdin and not sys.stdin.isatty():
        raise SyncError("no terminal: give --password-stdin")
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    account = Accounts(accounts_path(directory)).add(name, password, role, office=office if role == "auditor" else "")
    print(f"{account.name} may sign in as {account.role} ({account.account_id})")
