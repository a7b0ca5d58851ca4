"""The commands about a node's keys: which there are, changing one, beginning anew."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from edge.commands.screen import say, show

if TYPE_CHECKING:
    from edge.home import Home
    from edge.keys.key_history import PastKey
    from sync.node.append import EpochReason

app = typer.Typer()
keys = typer.Typer(
    help="The node's keys: list them, rotate one, begin a new epoch.\n\nExample: firstvisit keys list --home HOME",
    no_args_is_help=True,
)
app.add_typer(keys, name="keys")

HomeOption = Annotated[Path, typer.Option("--home", help="The node's HOME.", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON only.")]


class KeyRole(StrEnum):
    NODE = "node"
    DESK = "desk"


class Grade(StrEnum):
    FILE = "file"
    SYSTEMD_CREDS = "systemd-creds"
    TPM2 = "tpm2"


class NewEpochReason(StrEnum):
    FORK = "fork"
    REKEY = "rekey"
    CLONE = "clone"
    RESTORE = "restore"


@app.command()
def attest(home: HomeOption) -> None:
    """Say that box and cameras stand where they should: surroundings and views as they are now belong to the place.

    Example: firstvisit attest --home /var/lib/firstvisit/home
    """
    from contextlib import closing

    from edge.cameras.camera_views import CameraViews
    from edge.home import Home
    from edge.place.attestation import Attestation
    from edge.place.surroundings import Surroundings

    found = Home(home)
    settings = found.settings()
    found.migrate()
    cameras = {camera.id: camera.uri for camera in settings.camera}
    with closing(found.open_ledger("node")) as ledger:
        record, sight = Attestation(found.database, Surroundings(cameras)).attest(ledger)
    views = CameraViews(found.database).forget()
    say(f"seq={record.seq} fingerprint {record.fields['fingerprint'][:16]}", "attested")
    say(f"  gateway             {'seen' if sight.gateway else 'none seen: taken up when there is one'}")
    say(f"  cameras             {', '.join(sorted(sight.cameras or {})) or 'none seen: taken up when there are'}")
    say(f"  Wi-Fi neighbours    {len(sight.wifi)}")
    say(f"  reference views     {views or 'none'} forgotten")
    say("  a running node names its place again within a minute, and then takes its cameras' views anew")


@keys.command("list")
def list_keys(home: HomeOption, as_json: JsonOption = False) -> None:
    """List every key this node has signed with, from which record to which, and where those in force lie.

    Example: firstvisit keys list --home /var/lib/firstvisit/home
    """
    from edge.home import Home
    from edge.keys.key_history import key_history

    found = Home(home)
    found.settings()
    rows = [_listed(found, key) for key in key_history(found)]
    show(rows, as_json, ("role", "fingerprint", "algorithm", "since", "until", "revoked", "custody"), "no keys")


@keys.command()
def rotate(
    home: HomeOption,
    role: Annotated[KeyRole, typer.Option(help="The node's own key, or the desk's.")] = KeyRole.NODE,
    custody: Annotated[
        Grade | None, typer.Option(help="Where the new key is to lie; where the old one does if left out.")
    ] = None,
) -> None:
    """Replace a key by a new one, signed by both in the chain; a running node goes on with the new one.

    Interrupted, it is run again. Example: firstvisit keys rotate --home /var/lib/firstvisit/home --role desk
    """
    from edge.clock import Clock
    from edge.home import Home
    from edge.keys.key_rotation import rotate as rotate_key

    found = Home(home)
    found.settings()
    found.migrate()
    done = rotate_key(found, role.value, None if custody is None else custody.value, Clock())
    said = "had been rotated already, and the old key is gone now" if done.resumed else "rotated"
    say(f"{role.value} key", said)
    say(f"  new key {done.key.fingerprint}   ({done.custody})")
    say(f"  record  epoch {done.record.epoch} seq {done.record.seq}")
    if done.custody == "systemd-creds":
        say(f"  next    restart the {role.value}'s service: systemd opens the new credential when it starts")


@keys.command()
def subject(
    home: HomeOption,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="From `central code desk-key`.", show_default=False)],
) -> None:
    """Take over the key by which central names customers: the desk then finds the reports of a phone it is given.

    Example: firstvisit keys subject --home /var/lib/firstvisit/home subject.key
    """
    from edge.desk.reports import keep_subject_key
    from edge.home import Home
    from sync.storage.key_files import read_subject_key

    found = Home(home)
    found.settings()
    found.migrate()
    keep_subject_key(found.keys_database, read_subject_key(file))
    say(f"{file}: taken over; destroy the file", "key")


@keys.command("new-epoch")
def new_epoch(
    home: HomeOption,
    reason: Annotated[
        NewEpochReason, typer.Option(help="fork: central refuses this chain. rekey: make new keys.", show_default=False)
    ],
    epoch: Annotated[
        int | None, typer.Option(min=2, max=2**53 - 1, help="Its number, as `central readmit` says; the next one.")
    ] = None,
    custody: Annotated[Grade | None, typer.Option(help="With rekey: where the new keys are to lie.")] = None,
) -> None:
    """Begin a new epoch of the chain behind its last record, when central refuses what follows it or keys are lost.

    Example: firstvisit keys new-epoch --home /var/lib/firstvisit/home --reason fork --epoch 3
    """
    from edge import EdgeError
    from edge.clock import Clock
    from edge.home import Home
    from edge.keys.epochs import begin_epoch, rekey

    found = Home(home)
    found.settings()
    if custody is not None and reason is not NewEpochReason.REKEY:
        raise EdgeError("--custody: only with --reason rekey, which makes new keys")
    found.migrate()
    if reason is NewEpochReason.REKEY:
        with found.running():
            record = rekey(found, Clock(), epoch, None if custody is None else custody.value)
    else:
        record = begin_epoch(found, cast("EpochReason", reason.value), Clock(), epoch)
    say(f"epoch {record.epoch}", "began")
    say(f"  behind  the record with hash {record.prev_hash.hex()}")
    if reason is NewEpochReason.REKEY:
        say(f"  new key {found.signer('node').public.fingerprint}")
        say(f"  next    at central: firstvisit central enroll --rekey {found.node_pub}")
    else:
        say("  next    restart the node's service; it sends again if central lets it")


@app.command()
def join(
    home: HomeOption,
    invite: Annotated[
        str | None, typer.Option(help="The text that `firstvisit central invite` prints; - reads it from stdin.")
    ] = None,
    central_key: Annotated[
        Path | None, typer.Option(help="central.pub, carried here instead of an invitation.")
    ] = None,
    broker: Annotated[
        str | None, typer.Option(help=r"With --central-key: mqtt://\[user:password@]host\[:port], or mqtts://.")
    ] = None,
) -> None:
    """Trust a central server, and send it everything from now on.

    By invitation it waits until somebody at central has confirmed this node's fingerprint; cut off, it goes on with the
    same invitation. Example: firstvisit join --home /var/lib/firstvisit/home --invite fv1-invite:AbC…
    """
    from edge import EdgeError
    from edge.home import Home

    opened = Home(home)
    opened.settings()
    if invite is not None and central_key is None and broker is None:
        _join_by_invitation(opened, sys.stdin.readline() if invite == "-" else invite)
    elif invite is None and central_key is not None and broker is not None:
        _join_by_file(opened, central_key, broker)
    else:
        raise EdgeError("join: either --invite, or --central-key and --broker")


def _join_by_invitation(home: "Home", text: str) -> None:
    from edge.settings import set_broker
    from sync.node.joining import Joining
    from sync.transport.invitation import Invitation
    from sync.transport.session import parse_uplink

    invitation = Invitation.parse(text)
    parse_uplink(invitation.uplink)
    ledger = home.open_ledger()
    rotations = list(ledger.records(("key.rotated",)))
    ledger.close()
    joining = Joining(home.path, invitation, home.signer("node"), home.signer("desk"), rotations)
    state = joining.ask()
    fingerprint = home.signer("node").public.fingerprint
    if state == "waiting":
        say("by somebody at central, who compares this fingerprint:", "waiting to be let in")
        say(f"  {fingerprint}")
        _show_qr(f"{joining.enrolment.node_id} {fingerprint}")
        say(f"  firstvisit central confirm --dir DIR {joining.enrolment.node_id} {fingerprint}")
    joining.wait(lambda trouble: say(trouble, "still waiting:", "yellow"))
    keys = joining.finish()
    set_broker(home.config, invitation.uplink)
    joining.forget()
    say(keys.central_id, "joined")
    say(f"  central's root key  {keys.root.fingerprint}")
    say(f"  this node's key     {fingerprint}")
    say(f"  sends to            {parse_uplink(invitation.uplink)}")
    say("  a service that runs takes it up when it is restarted")


def _join_by_file(home: "Home", central_key: Path, broker: str) -> None:
    from edge.settings import set_broker
    from sync.node.trust import join as join_central
    from sync.transport.session import parse_uplink

    parse_uplink(broker)
    keys = join_central(home.path, central_key)
    set_broker(home.config, broker)
    say(keys.central_id, "joined")
    say(f"  central's root key  {keys.root.fingerprint}")
    say(f"  this node's key     {home.signer('node').public.fingerprint}")
    say(f"  now at central      firstvisit central enroll --dir DIR {home.node_pub}")
    say("  compare both fingerprints with the person at central before you rely on either")


def _show_qr(text: str) -> None:
    import segno

    if sys.stdout.isatty():
        segno.make(text, error="m").terminal(compact=True)


def _listed(home: "Home", key: "PastKey") -> dict[str, str | None]:
    from sync.format.records import place

    tenure, revoked = key.tenure, key.revoked
    return {
        "role": tenure.role,
        "key": tenure.key.key_id,
        "fingerprint": tenure.key.fingerprint,
        "algorithm": tenure.key.algorithm,
        "since": place(*tenure.since),
        "until": f"before {place(*tenure.until)}" if tenure.until else None,
        "revoked": f"after {place(revoked.epoch, revoked.seq)}: {revoked.reason}" if revoked else None,
        "custody": None if tenure.until else home.keys.custody(tenure.role),
    }
