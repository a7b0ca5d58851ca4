"""`firstvisit central code …`: codes for reports, agents and sites, signed, drawn, listed, taken back."""

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sync import SyncError
from sync.format.stamp import rfc3339

if TYPE_CHECKING:
    from sync.central.store.codes import IssuedCode, Shown
    from sync.central.store.store import Store
    from sync.format.codes import CodeKind

app = typer.Typer(
    help="Codes that a desk scans: of a report (报备), of an agent, of a site's walk-ins.\n\n"
    "Example: firstvisit central code issue agent --dir central --days 365 -o agent.svg",
    no_args_is_help=True,
)

DirOption = Annotated[Path, typer.Option("--dir", help="Central's directory.", show_default=False)]
CodeArgument = Annotated[
    str,
    typer.Argument(
        metavar="CODE", help="rep-… or agt-…, the code's hash or its beginning, or its text.", show_default=False
    ),
]
OutOption = Annotated[Path | None, typer.Option("--out", "-o", help="A new file: .svg, .png or .txt.")]


@app.command()
def issue(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="report, agent or site.", show_default=False)],
    directory: DirOption,
    days: Annotated[int, typer.Option(min=1, max=3650, help="Good from now for so many days.", show_default=False)],
    agent: Annotated[
        str | None, typer.Option(help="agt-…, of a code made before; of kind agent a new one without it.")
    ] = None,
    agency: Annotated[str | None, typer.Option(help="agc-… and 16 hex digits: the agent's channel.")] = None,
    digits: Annotated[
        str | None,
        typer.Option(help="Of a report: the customer's first three and last four, 138-5678; - reads them from stdin."),
    ] = None,
    site: Annotated[
        list[str] | None, typer.Option("--site", help="Good there only; may be given again. Without: at every site.")
    ] = None,
    out: OutOption = None,
) -> None:
    """Sign a code and print it, as text and as a QR; the nodes of its sites are told of a report at once.

    The digits go into no record and no notice, but whoever holds a report's code can try all of them in some hours.

    Example: firstvisit central code issue report --dir central --agent agt-0f3a… --digits 138-5678 --days 30 -o r.svg
    """
    import secrets

    from sync.central.codes import check_picture, has_code
    from sync.central.codes import issue as sign

    wanted = _kind(kind)
    if out is not None:
        check_picture(out)
    if wanted == "agent" and agent is None:
        agent = f"agt-{secrets.token_hex(8)}"
    if digits == "-":
        digits = sys.stdin.readline()
    made_before = f"as 'firstvisit central code list --dir {directory}' shows them, or 'code issue agent' makes one"
    agent, agency = _id("--agent", agent, "agt", made_before), _id("--agency", agency, "agc", "your own")
    signed, told = sign(directory, wanted, days, site or (), agent, agency, _digits(digits))
    code = signed.code
    print(f"signed {_named(code.report_id or code.agent_id)}code {code.hash[:16]} of kind {code.kind}")
    _said(code.agent_id, code.agency_id, code.until_us, code.sites)
    if code.kind == "report":
        print(f"  told      {', '.join(told) or 'no node yet'}")
        if not has_code(directory, code.agent_id):
            print("  note      no code of this agent was made here: is the id right?")
    _show(signed.text(), out)


@app.command("list")
def list_codes(
    directory: DirOption,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only, one object a line.")] = False,
) -> None:
    """List the codes: until when each is good, and at which nodes it was shown; a report shown at several is marked.

    Example: firstvisit central code list --dir central --json
    """
    import time

    from sync.central.store.location import migrate_store, open_store

    migrate_store(directory)
    now_us, empty = time.time_ns() // 1000, True
    with open_store(directory) as store:
        for issued in store.codes():
            empty = False
            row = _row(store, issued, now_us)
            print(json.dumps(row) if as_json else _line(row))
    if empty and not as_json:
        print("no codes yet: firstvisit central code issue")


@app.command()
def revoke(
    code: CodeArgument,
    directory: DirOption,
    reason: Annotated[str, typer.Option(help="lost, abused, left, expired or error.", show_default=False)],
) -> None:
    """Take a code back from now on, and with it the protection of its report; its nodes are told.

    Example: firstvisit central code revoke rep-0f3a… --dir central --reason abused
    """
    from sync.central.codes import find
    from sync.central.codes import revoke as take_back

    issued = find(directory, code)
    told = take_back(directory, issued, reason)
    print(f"revoked code {issued.code.hash[:16]} of kind {issued.code.kind}")
    print(f"  told      {', '.join(told) or 'no node yet'}")


@app.command()
def export(code: CodeArgument, directory: DirOption, out: OutOption = None) -> None:
    """Draw a code again, signed by the code key in force: after `rotate-keys code` the old prints are refused.

    Example: firstvisit central code export agt-0f3a… --dir central -o agent.png
    """
    from sync.central.codes import find, sign_again

    issued = find(directory, code)
    if issued.revoked_us is not None:
        raise SyncError(f"code {issued.code.hash[:16]} is revoked ({issued.reason}): no desk would take it")
    _show(sign_again(directory, issued).text(), out)


@app.command()
def tell(
    node: Annotated[str, typer.Argument(metavar="NODE", help="A node's name.", show_default=False)],
    directory: DirOption,
) -> None:
    """Tell a node that joined later what it must know of the codes there are: reports, and what is revoked.

    Example: firstvisit central code tell lakeside-a --dir central
    """
    from sync.central.codes import tell as tell_node

    print(f"notices written to {node}: {tell_node(directory, node)}")


@app.command("desk-key")
def desk_key(
    directory: DirOption,
    out: Annotated[Path, typer.Option("--out", "-o", help="A new file; carry it as you would a key.")],
) -> None:
    """Write the key by which a desk finds the reports of a phone that is typed; for `firstvisit keys subject` there.

    Whoever has it can find the digits behind the subjects of all reports in a second.

    Example: firstvisit central code desk-key --dir central -o subject.key
    """
    import os

    from sync.central.codes import subject_key

    key = subject_key(directory)
    try:
        with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"firstvisit-subject-v1 {key.hex()}\n")
    except OSError as error:
        raise SyncError(f"{out}: {error.strerror}") from error
    print(f"wrote {out}")


def _kind(text: str) -> "CodeKind":
    match text:
        case "report" | "agent" | "site" as kind:
            return kind
        case _:
            raise SyncError(f"{text[:40]!r}: a code is of kind report, agent or site")


def _id(option: str, typed: str | None, what: str, whence: str) -> str | None:
    from sync.format.codes import is_id

    if typed is not None and not is_id(typed, what):
        raise SyncError(f"{option} {typed[:40]!r}: {what}- and 16 hex digits, {whence}")
    return typed


def _digits(typed: str | None) -> str | None:
    if typed is None:
        return None
    found = re.sub(r"[\s*-]", "", typed)
    if not re.fullmatch("[0-9]{7}", found):
        raise SyncError("--digits: the first three and the last four of a number, such as 138-5678")
    return found


def _row(store: "Store", issued: "IssuedCode", now_us: int) -> dict[str, Any]:
    from sync.central.code_uses import twice

    code, shown = issued.code, store.code_shown(issued.code.hash)
    state = "revoked" if issued.revoked_us is not None else "expired" if code.until_us <= now_us else "good"
    return {
        "code": code.hash,
        "kind": code.kind,
        "report": code.report_id,
        "agent": code.agent_id,
        "agency": code.agency_id,
        "made_at": rfc3339(code.made_us),
        "until": rfc3339(code.until_us),
        "sites": list(code.sites),
        "state": state,
        "reason": issued.reason,
        "shown": [_place(one) for one in shown],
        "conflicts": [[_place(one) for one in pair] for pair in (twice(shown) if code.kind == "report" else ())],
    }


def _place(shown: "Shown") -> dict[str, Any]:
    return {"node": shown.node_id, "epoch": shown.epoch, "seq": shown.seq, "arrived_at": rfc3339(shown.arrived_us)}


def _line(row: dict[str, Any]) -> str:
    whose = row["report"] or row["agent"] or ",".join(row["sites"])
    line = f"{row['code'][:16]} {row['kind']:<6} {whose:<20} {row['state']:<7} until {row['until']}"
    if row["shown"]:
        line += f"  shown {len(row['shown'])}x at {', '.join(sorted({one['node'] for one in row['shown']}))}"
    for one, other in row["conflicts"]:
        line += f"\n  AT TWO NODES AT ONCE  {_at(one)}  and  {_at(other)}"
    return line


def _at(place: dict[str, Any]) -> str:
    return f"{place['node']} {place['epoch']}:{place['seq']} {place['arrived_at']}"


def _named(id_: str | None) -> str:
    return "" if id_ is None else f"{id_}: "


def _said(agent_id: str | None, agency_id: str | None, until_us: int, sites: tuple[str, ...]) -> None:
    if agent_id is not None:
        print(f"  agent     {agent_id}{f' of {agency_id}' if agency_id else ''}")
    print(f"  good      until {rfc3339(until_us)}, at {', '.join(sites) or 'every site'}")


def _show(text: str, out: Path | None) -> None:
    from sync.central.codes import draw

    if out is not None:
        draw(text, out)
        print(f"  wrote     {out}")
        return
    print()
    print(text)
    if sys.stdout.isatty():
        import segno

        segno.make(text, error="m").terminal(compact=True)
