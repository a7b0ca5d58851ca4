"""`firstvisit central …`, the part about people: a sealed phone read with a reason, and how far erasures have come."""

import json
from pathlib import Path
from typing import Annotated

import typer

from sync.format.stamp import rfc3339

app = typer.Typer()

DirOption = Annotated[Path, typer.Option("--dir", help="Central's directory.", show_default=False)]


@app.command()
def unmask(
    directory: DirOption,
    node: Annotated[str, typer.Argument(metavar="NODE", help="A node's name.", show_default=False)],
    visit: Annotated[str, typer.Argument(metavar="VISIT", help="The visit's id, v-….", show_default=False)],
    reason: Annotated[str, typer.Option(help="dispute, access, erasure or legal.", show_default=False)],
) -> None:
    """Show the phone given at a visit; central's log says for ever that it was shown, and why.

    Example: firstvisit central unmask --dir central lakeside-a v-0f3a… --reason dispute
    """
    from sync.central.sidecars import unmask as read_phone

    found = read_phone(directory, node, visit, reason)
    print(found.e164)
    print(f"  sealed by {node} for the record {found.held.epoch}:{found.held.seq}, which commits to it")
    print(f"  that it was shown is leaf {found.leaf} of central's log")


@app.command()
def erasures(
    directory: DirOption,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only, one object a line.")] = False,
) -> None:
    """List who asked to be forgotten, and whether every other node that knew them has confirmed.

    Example: firstvisit central erasures --dir central
    """
    from sync.central.store.location import open_store

    with open_store(directory) as store:
        rows = store.erasures()
        if not rows and not as_json:
            print("nobody has asked to be forgotten")
        for row in rows:
            state = "complete" if row.answered_us is not None else "pending"
            if as_json:
                fields = {
                    "node": row.node_id,
                    "person": row.subject,
                    "reason": row.reason,
                    "at": rfc3339(row.erased_us),
                    "told": row.words,
                    "confirmed": row.confirmed,
                    "state": state,
                }
                print(json.dumps(fields))
            else:
                print(f"{row.node_id} {row.subject} {rfc3339(row.erased_us)} {row.confirmed}/{row.words} {state}")
