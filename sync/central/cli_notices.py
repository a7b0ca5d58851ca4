"""`firstvisit central …`, the part that tells nodes something: keys revoked, a policy, people to forget, accounts."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sync import SyncError
from sync.format.stamp import rfc3339

if TYPE_CHECKING:
    from sync.format.notices import Order

app = typer.Typer()

DirOption = Annotated[Path, typer.Option("--dir", help="Central's directory.", show_default=False)]
NodeArgument = Annotated[str, typer.Argument(metavar="NODE", help="A node's name.", show_default=False)]


@app.command("revoke-key")
def revoke_key(
    directory: DirOption,
    node: NodeArgument,
    key: Annotated[str, typer.Option(help="The key's id, 32 hex digits.", show_default=False)],
    at: Annotated[str, typer.Option(metavar="EPOCH:SEQ", help="The last place it is good for.", show_default=False)],
    reason: Annotated[str, typer.Option(help="compromised, lost, retired or error.", show_default=False)],
    unseen: Annotated[bool, typer.Option("--unseen", help="Take a key of which nothing has come here yet.")] = False,
) -> None:
    """Count no more what a node's key signed behind a place; there is no way back.

    Example: firstvisit central revoke-key --dir central lakeside-a --key 0f3a… --at 1:1200 --reason lost
    """
    from sync.central.notices import place_of
    from sync.central.rings import ring_of
    from sync.central.store.location import open_store
    from sync.format.notices import KeyRevoked, read_order

    said = KeyRevoked(key, *place_of(at), reason)
    if not unseen:
        read_order(said.KIND, said.fields())
        with open_store(directory) as store:
            if store.enrolment(node) is not None and ring_of(store, node).named(key) is None:
                raise SyncError(f"{key}: no key of node {node} that is known here; --unseen if it is one all the same")
    _tell(directory, node, said)


@app.command()
def policy(
    directory: DirOption,
    node: NodeArgument,
    after_consent: Annotated[bool, typer.Option("--after-consent", help="Compare nobody who has not agreed.")] = False,
    unconsented_h: Annotated[
        int | None, typer.Option(help="Keep faces without consent at most so many hours, 1 to 720.")
    ] = None,
    ledger_days: Annotated[
        int | None, typer.Option(help="Keep records on the box at least so many days, 180 to 3650.")
    ] = None,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Ask nothing more: the site's own rules hold.")] = False,
) -> None:
    """Ask a node to be stricter than its own configuration; a later policy replaces this one as a whole.

    Example: firstvisit central policy --dir central lakeside-a --after-consent
    """
    from sync.format.notices import Policy

    said = Policy("after_consent" if after_consent else None, unconsented_h, ledger_days)
    if withdraw != (said == Policy()):
        raise SyncError("say what to ask, or --withdraw and nothing else")
    _tell(directory, node, said)


@app.command()
def erase(
    directory: DirOption,
    node: NodeArgument,
    person: Annotated[str, typer.Argument(metavar="PERSON", help="The id in the node's records.", show_default=False)],
    reason: Annotated[
        str, typer.Option(help="request, consent_withdrawn, child, error, staff or legal.", show_default=False)
    ],
) -> None:
    """Have a node forget a person: their key is destroyed there, their face with it.

    Example: firstvisit central erase --dir central lakeside-a p-0f3a… --reason request
    """
    from sync.format.notices import Erase

    _tell(directory, node, Erase(person, reason))


@app.command("disable-account")
def disable_account(
    directory: DirOption,
    node: NodeArgument,
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="The id in records, acc-….", show_default=False)],
    enable: Annotated[bool, typer.Option("--enable", help="Let it sign in again.")] = False,
) -> None:
    """Sign a node's kiosk account out, and let it in no more.

    Example: firstvisit central disable-account --dir central lakeside-a acc-0f3a…
    """
    from sync.format.notices import AccountSet

    _tell(directory, node, AccountSet(account, enable))


@app.command()
def notices(
    directory: DirOption,
    node: NodeArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only, one object a line.")] = False,
) -> None:
    """List what a node was told, and when its answer came.

    Example: firstvisit central notices --dir central lakeside-a --json
    """
    from sync.central.store.location import open_store

    with open_store(directory) as store:
        if store.node(node) is None:
            raise SyncError(f"node {node}: not enrolled here")
        after = 0
        while rows := store.notices(node, after):
            after = rows[-1].nseq
            for row in rows:
                applied = rfc3339(row.applied_us) if row.applied_us is not None else None
                if as_json:
                    fields = {
                        "nseq": row.nseq,
                        "kind": row.kind,
                        "body": row.body,
                        "hash": row.hash.hex(),
                        "created_at": rfc3339(row.created_us),
                        "applied_at": applied,
                    }
                    print(json.dumps(fields))
                else:
                    print(f"{row.nseq:>6} {row.kind:<13} {rfc3339(row.created_us)} {applied or 'open'}")


@app.command("rotate-keys")
def rotate_keys(
    directory: DirOption,
    role: Annotated[
        str | None,
        typer.Argument(metavar="[ROLE]", help="ack, notice, checkpoint, code, seal; none: only tell nodes."),
    ] = None,
    root_key: Annotated[Path | None, typer.Option(help="The root key's file, where it is not in DIR/keys.")] = None,
) -> None:
    """Give a role of central a new key, signed by its root, and tell every node. Stop `central run` before.

    Without a role it tells the keys in force to the nodes that have not been told, after a rotation was cut short.

    Example: firstvisit central rotate-keys --dir central ack
    """
    from typing import get_args

    from sync.central.keys import key_path
    from sync.central.notices import announce, rotate
    from sync.format.public_keys import CentralRole

    root = root_key or key_path(directory, "root")
    if role is None:
        print(f"nodes to be told: {announce(directory, root)}")
        return
    if role == "seal":
        public, told = rotate(directory, "seal", root)
        print(f"phones are sealed to {public.seal} now; nodes to be told: {told}")
        return
    for one in get_args(CentralRole):
        if one == role:
            public, told = rotate(directory, one, root)
            print(f"the {role} key is {public.keys[one].fingerprint} now; nodes to be told: {told}")
            return
    raise SyncError(f"role {role!r}: one of {', '.join(get_args(CentralRole))}, seal")


def _tell(directory: Path, node: str, said: "Order") -> None:
    from sync.central.notices import order

    notice = order(directory, node, said)
    print(f"notice {notice.nseq} to {node}: {notice.kind} {notice.hash.hex()[:16]}")
    print(f"  when it was applied   firstvisit central notices --dir {directory} {node}")
