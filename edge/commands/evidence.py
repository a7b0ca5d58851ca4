"""The commands about evidence: the chain, what verifies it, who came first, and the certificate of a visit."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from edge import EdgeError
from edge.commands.screen import say, show
from sync.printable import printable

app = typer.Typer()

HomeOption = Annotated[Path, typer.Option("--home", help="The node's HOME.", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON only.")]


@app.command()
def ledger(
    home: HomeOption,
    as_json: JsonOption = False,
    from_seq: Annotated[int, typer.Option("--from", min=1, max=2**53 - 1, help="The first seq to show.")] = 1,
    export: Annotated[Path | None, typer.Option(help="Write the whole ledger to this file instead.")] = None,
) -> None:
    """List the chain of records, or export it for somebody else to verify.

    Example: firstvisit ledger --home demo --from 100 --json
    """
    from edge.home import Home

    opened = Home(home)
    opened.settings()
    if export is not None:
        from sync.audit.export import write_export
        from sync.audit.origin import enrolments_of, key_text

        desk = opened.open_ledger("desk")
        node_pub, *others = enrolments_of(home)
        first, last, sha256 = write_export(desk, node_pub, key_text(opened.central_pub), export, others)
        desk.append("export.made", {"what": "ledger", "first": first, "last": last, "sha256": sha256})
        say(f"{export}: seq {first}..{last}, sha256 {sha256}", "wrote")
        return
    rows = (
        {
            "epoch": row.epoch,
            "seq": row.seq,
            "kind": row.kind,
            "hash": row.hash.hex(),
            "prev_hash": row.prev_hash.hex(),
            "acked": row.acked,
        }
        for row in opened.open_ledger().rows(from_seq)
    )
    show(rows, as_json, ("epoch", "seq", "kind", "hash", "acked"), "no records from there on")


@app.command()
def verify(
    path: Annotated[
        Path | None,
        typer.Argument(help="A HOME, a central's folder, an export, a certificate.", show_default=False),
    ] = None,
    public_key: Annotated[
        Path | None, typer.Option(help="The node.pub or central.pub you trust; without it origin is not proven.")
    ] = None,
    central: Annotated[
        Path | None, typer.Option(help="Hold a HOME against this central's folder too.", show_default=False)
    ] = None,
    receipt: Annotated[
        str | None,
        typer.Option(help="Judge a receipt: its text, or a file with it; by PATH or --public-key.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check every hash, signature and link; exit 1 names the first bad record and why.

    Of a HOME the log of who looked at whom too, against the digests in its chain.

    Example: firstvisit verify /var/lib/firstvisit/home --public-key node.pub
    """
    from edge.access_log import check as check_access
    from sync.verify.receipts import read_receipt, verify_receipt
    from sync.verify.verify import verify as verify_path
    from sync.verify.verify_both import verify_both

    if receipt is not None:
        verdict = verify_receipt(read_receipt(receipt), path, public_key)
    elif path is None:
        raise EdgeError("what is to be verified? A HOME, a central's folder, an export, a certificate, or --receipt")
    else:
        verdict = verify_both(path, central, public_key) if central else verify_path(path, public_key)
    looks = check_access(path / "firstvisit.db") if path is not None and verdict.what == "home" else None
    if as_json:
        more = {} if looks is None else {"access_log": asdict(looks)}
        print(json.dumps(verdict.fields() | more))
    else:
        for line in verdict.lines:
            print(printable(line))
        if looks is not None:
            print(printable(f"{'bad: ' if looks.why else ''}access log: {looks.text}"))
    if not verdict.ok or (looks is not None and looks.why):
        raise typer.Exit(1)


@app.command()
def compare(
    one: Annotated[str, typer.Argument(metavar="VISIT", help="A visit's id.", show_default=False)],
    two: Annotated[str, typer.Argument(metavar="VISIT", help="The other's.", show_default=False)],
    home: Annotated[
        list[Path],
        typer.Option(
            "--home",
            help="A HOME, an exported ledger or a certificate; several where the visits are of two nodes.",
            show_default=False,
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """Say which of two visitors arrived first: proven, likely or undecidable, and why.

    Example: firstvisit compare --home demo v-0f3a… v-77c1…
    """
    from sync.audit.chain_audit import Bad
    from sync.certificate.compare import compare as compare_visits
    from sync.certificate.examine import examine
    from sync.certificate.found import found_in

    if one == two:
        raise EdgeError(f"visit {one!r} is given twice")
    try:
        compared = compare_visits(*(examine(found_in(home, visit)) for visit in (one, two)))
    except Bad as bad:
        raise EdgeError(f"the evidence does not verify: {bad}") from bad
    if as_json:
        print(json.dumps(compared.fields(), ensure_ascii=False))
    else:
        for line in compared.lines():
            print(printable(line))


@app.command()
def explain(
    visit: Annotated[str, typer.Argument(metavar="VISIT", help="From `firstvisit visits`.", show_default=False)],
    home: HomeOption,
    as_json: JsonOption = False,
) -> None:
    """Say why a visit was decided as it was: shots, nearest people, thresholds, the rule, and what the grade lacks.

    Example: firstvisit explain v-0f3a… --home demo
    """
    from edge.home import Home
    from edge.people.vault import opened as opened_vault
    from edge.visits.explanation import explain as explain_visit
    from edge.visits.visit_log import visit_log

    opened = Home(home)
    opened.settings()
    with opened_vault(opened.database, opened.keys_database) as vault:
        explained = explain_visit(visit_log(opened.open_ledger()), visit, vault)
    if as_json:
        print(json.dumps(explained.fields()))
    else:
        for line in explained.lines():
            print(printable(line))


@app.command()
def certificate(
    visit: Annotated[str, typer.Argument(metavar="VISIT", help="From `firstvisit visits`.", show_default=False)],
    home: HomeOption,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="A new file: .zip (evidence and paper) or .pdf.", show_default=False)
    ],
) -> None:
    """Certify a visit: who was compared, when, where, and everything needed to check it without us.

    Example: firstvisit certificate v-0f3a… --home demo -o visit.zip
    """
    from edge.home import Home
    from edge.papers.certificate import issue_file
    from sync.certificate.certified import lines

    opened = Home(home)
    opened.settings()
    issued = issue_file(opened, visit, out)
    say(f"{out}: sha256 {issued.sha256}", "wrote")
    for line in lines(issued.certificate):
        say(f"  {line}")
    if issued.certificate.confirmed is None:
        say("central has not confirmed this visit yet: issue it again once it has", "note", "yellow")
