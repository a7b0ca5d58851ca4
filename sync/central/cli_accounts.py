"""`firstvisit central account …`: who may sign in at a node's kiosk, and who of them speaks for head office."""

import json
from pathlib import Path
from typing import Annotated

import typer

from sync import SyncError
from sync.format.stamp import rfc3339

app = typer.Typer(
    help="The accounts that nodes tell of, and which of them speak for head office.\n\n"
    "Example: firstvisit central account list --dir central lakeside-a",
    no_args_is_help=True,
)

DirOption = Annotated[Path, typer.Option("--dir", help="Central's directory.", show_default=False)]
NodeArgument = Annotated[str, typer.Argument(metavar="NODE", help="A node's name.", show_default=False)]
AccountArgument = Annotated[
    str, typer.Argument(metavar="ACCOUNT", help="The id in records, acc-….", show_default=False)
]


@app.command("list")
def list_accounts(
    directory: DirOption,
    node: NodeArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only, one object a line.")] = False,
) -> None:
    """List a node's accounts, since when, and which of them head office has confirmed.

    `ended`: changed at the node since it was confirmed, another password perhaps; it answers nothing until confirmed
    anew.

    Example: firstvisit central account list --dir central lakeside-a
    """
    from sync.central.accounts import standings
    from sync.central.store.location import open_store

    with open_store(directory) as store:
        if store.node(node) is None:
            raise SyncError(f"node {node}: not enrolled here")
        listed = standings(store, node)
    for one in listed:
        account = one.account
        fields = {
            "account": account.account_id,
            "role": account.role,
            "office": account.office,
            "since_at": rfc3339(account.since_us),
            "changed_at": rfc3339(account.changed_us),
            "change": account.act,
            "head_office": one.state if one.head_office else None,
        }
        if as_json:
            print(json.dumps(fields))
        else:
            state = one.state if one.head_office else "-"
            who = f"{account.account_id:<21} {account.role:<11} {account.office or '-':<16}"
            print(f"{who} {state:<10} {account.act:<9} {rfc3339(account.changed_us)}")
    if not listed and not as_json:
        print("the node has told of no account yet")


@app.command()
def allow(
    directory: DirOption,
    node: NodeArgument,
    account: AccountArgument,
    role: Annotated[str, typer.Option(help="auditor or privacy, as you know them.", show_default=False)],
    office: Annotated[str, typer.Option(help="Where they belong, as you know it.", show_default=False)],
) -> None:
    """Confirm that an account of a node's is head office's: only then do its answers count.

    Ask the person for the id that the kiosk shows them, and whether they have just been given a password. Another
    password, given at the node, ends it.

    Example: firstvisit central account allow --dir central lakeside-a acc-0f3a… --role auditor --office head_office
    """
    from sync.central.accounts import confirm

    notice = confirm(directory, node, account, role, office)
    print(f"notice {notice.nseq} to {node}: {account} speaks for {office} as {role}, once the node has answered")


@app.command()
def withdraw(directory: DirOption, node: NodeArgument, account: AccountArgument) -> None:
    """Take it back: the account may sign in, and answers nothing (`disable-account` signs it out).

    Example: firstvisit central account withdraw --dir central lakeside-a acc-0f3a…
    """
    from sync.central.accounts import withdraw as take_back

    notice = take_back(directory, node, account)
    print(f"notice {notice.nseq} to {node}: {account} speaks for head office no more")
