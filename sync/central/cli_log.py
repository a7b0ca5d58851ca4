"""`firstvisit central …`, the part about its log: checkpoints, proofs, timestamps."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sync import SyncError
from sync.format.canonical import Fields
from sync.format.stamp import rfc3339

if TYPE_CHECKING:
    from sync.central.log import CentralLog
    from sync.central.store.rows import Timestamp
    from sync.central.store.store import Store
    from sync.central.timestamp import TimestampAuthority
    from sync.format.checkpoint import Checkpoint

app = typer.Typer()

DirOption = Annotated[Path, typer.Option("--dir", help="Central's directory.", show_default=False)]


@app.command("log")
def show_log(
    directory: DirOption,
    inclusion: Annotated[
        tuple[str, int, int] | None,
        typer.Option(metavar="NODE EPOCH SEQ", help="Prove that this record lies in the log.", show_default=False),
    ] = None,
    consistency: Annotated[
        tuple[int, int] | None,
        typer.Option(metavar="M N", help="Prove that the log of N leaves begins with that of M.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
) -> None:
    """Sign what the log of accepted records is now, and prove what lies in it.

    Example: firstvisit central log --dir central --inclusion puxi-01-a 1 17
    """
    from sync.central.keys import load_serving_keys
    from sync.central.log import CentralLog
    from sync.central.store.location import open_store
    from sync.central.timestamp import configured_authority
    from sync.format.checkpoint import verifier_key

    keys, authority = load_serving_keys(directory), configured_authority(directory)
    with open_store(directory) as store:
        log = CentralLog(store, keys)
        checkpoint, note = log.checkpoint()
        shown: Fields = {
            "checkpoint": {"size": checkpoint.size, "root": checkpoint.root.hex(), "note": note},
            "verifier_key": verifier_key(checkpoint.origin, keys.checkpoint.public),
            "statements": len(store.statements()),
            "signed_back": [
                {"node": one.node_id, "epoch": one.epoch, "seq": one.seq, **one.head.fields(), "matches": one.matches}
                for one in store.signed_back()
            ],
            "timestamps": [_stamped(one, authority) for one in store.timestamps(1)],
        }
        if inclusion is not None:
            shown["inclusion"] = _inclusion(store, log, checkpoint, *inclusion)
        if consistency is not None:
            shown["consistency"] = _consistency(log, checkpoint.size, *consistency)
    if as_json:
        print(json.dumps(shown))
    else:
        _print(note, shown)


@app.command()
def timestamp(directory: DirOption) -> None:
    """Have the log as it is now stamped by the RFC 3161 authority of central.toml; `run` does it once a day.

    Example: firstvisit central timestamp --dir central
    """
    from sync.central.store.location import migrate_store, open_store
    from sync.central.timestamp import configured_authority, stamp_now

    authority = configured_authority(directory)
    if authority is None:
        raise SyncError(f"{directory / 'central.toml'}: timestamp.url is not set")
    migrate_store(directory)
    with open_store(directory) as store:
        made = _stamped(stamp_now(store, directory, authority), authority)
    print(f"stamped the log of {made['size']} leaves at {made['time']} by {authority.url}")


def _inclusion(
    store: "Store", log: "CentralLog", checkpoint: "Checkpoint", node_id: str, epoch: int, seq: int
) -> Fields:
    held, leaf = store.held(node_id, epoch, seq), store.leaf_of(node_id, epoch, seq)
    if held is None or leaf is None:
        raise SyncError(f"--inclusion: this central holds no record of node {node_id} epoch {epoch} seq {seq}")
    proof = [one.hex() for one in log.inclusion(leaf, checkpoint.size)]
    return {"hash": bytes(held[0]).hex(), "leaf": leaf, "size": checkpoint.size, "proof": proof}


def _consistency(log: "CentralLog", size: int, first: int, second: int) -> Fields:
    if not 0 < first <= second <= size:
        raise SyncError(f"--consistency {first} {second}: expected 0 < M <= N <= {size}, the size of the log")
    return {"from": first, "to": second, "proof": [one.hex() for one in log.consistency(first, second)]}


def _stamped(one: "Timestamp", authority: "TimestampAuthority | None") -> Fields:
    """What a kept token says, and whether it holds for the configured authority."""
    from sync.central.timestamp import TimestampError, read

    when = read(one.token).tst_info.gen_time.isoformat()
    try:
        holds = "not checked: no timestamp.ca" if authority is None else "holds"
        if authority is not None:
            authority.check(one.token, one.note.encode())
    except TimestampError as error:
        holds = str(error)
    return {"size": one.size, "time": when, "received_at": rfc3339(one.at_us), "check": holds, "token": one.token.hex()}


def _print(note: str, shown: Fields) -> None:
    print(note)
    print(f"verifier key  {shown['verifier_key']}")
    print(f"statements    {shown['statements']}")
    for one in shown["signed_back"]:
        word = "signed back" if one["matches"] else "NOT THIS LOG"
        print(f"{word:<13} size {one['size']} by {one['node']} at epoch {one['epoch']} seq {one['seq']}")
    for one in shown["timestamps"]:
        print(f"timestamp     size {one['size']} at {one['time']}: {one['check']}")
    if found := shown.get("inclusion"):
        print(f"inclusion     record {found['hash']} is leaf {found['leaf']} of {found['size']}")
        for one in found["proof"]:
            print(f"  {one}")
    if found := shown.get("consistency"):
        print(f"consistency   the log of {found['to']} leaves begins with that of {found['from']}")
        for one in found["proof"]:
            print(f"  {one}")
