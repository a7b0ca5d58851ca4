"""`firstvisit rights …`: what people may ask for, and what the operator must be able to show."""

import os
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from edge import EdgeError
from edge.clock import wall_us
from edge.commands.screen import say

app = typer.Typer(
    help="What people may ask for: access to what is held, erasure; and the report for the impact assessment.\n\n"
    "Example: firstvisit rights list --home HOME",
    no_args_is_help=True,
)

HomeOption = Annotated[Path, typer.Option("--home", help="The node's HOME.", show_default=False)]
OutOption = Annotated[Path, typer.Option("--out", help="The file to write.", show_default=False)]


@app.command()
def export(
    home: HomeOption,
    asked: Annotated[
        str, typer.Argument(metavar="WHOM", help="A visit's id, p-…, c-…, or a phone number.", show_default=False)
    ],
    out: OutOption,
) -> None:
    """Write all that is held on one person to a zip: readable pages, the data, their pictures. It is a record.

    Example: firstvisit rights export --home HOME 13800005678 --out access.zip
    """
    from edge.home import Home
    from edge.people.vault import opened
    from edge.rights.access_request import find_subject, make_file, record_made
    from sync.printable import counted
    from sync.web.times import Times

    found = Home(home)
    settings = found.settings()
    found.migrate()
    with (
        closing(found.open_ledger("desk")) as ledger,
        opened(found.database, found.keys_database) as vault,
    ):
        subject = find_subject(ledger, vault, asked)
        moment, now_us = Times(settings.site.timezone).moment, wall_us()
        made = make_file(ledger, vault, subject, found.policy(settings), settings.operator, moment, now_us)
        handle = _new(out)
        record = record_made(ledger, made)
    with os.fdopen(handle, "wb") as file:
        file.write(made.data)
    say(str(out), "wrote")
    held = {"visit": subject.visits, "face": subject.persons, "phone": subject.contacts}
    say("  " + ", ".join(counted(len(ids), noun) for noun, ids in held.items()))
    say(f"  recorded as made, seq={record.seq} sha256={made.sha256}")


@app.command()
def impact(home: HomeOption, out: OutOption) -> None:
    """Write the facts for the impact assessment, in Chinese and English, from real settings and counts.

    A PDF where the file's name ends in .pdf, else one HTML page.
    Example: firstvisit rights impact --home HOME --out impact.pdf
    """
    from edge.home import Home
    from edge.rights.impact import gather, report
    from edge.rights.impact_pdf import draw_report
    from sync.web.times import Times

    found = Home(home)
    settings = found.settings()
    found.migrate()
    now_us = wall_us()
    with closing(found.open_ledger()) as ledger:
        text = report(gather(found, settings, ledger, now_us), Times(settings.site.timezone).moment)
    content = draw_report(text, now_us) if out.suffix.lower() == ".pdf" else text.encode()
    with os.fdopen(_new(out), "wb") as file:
        file.write(content)
    say(str(out), "wrote")


@app.command()
def pepper(
    home: HomeOption,
    out: Annotated[Path | None, typer.Option("--out", help="Write this node's to a new file: a secret.")] = None,
    take: Annotated[Path | None, typer.Option("--take", help="Make the one in this file this node's.")] = None,
) -> None:
    """Share the key by which nodes of one legal entity know the same phone, so that an erasure finds it everywhere.

    Example: firstvisit rights pepper --home HOME --take pepper.key
    """
    from edge.home import Home
    from edge.people.pepper import take_pepper, write_pepper
    from edge.people.vault import opened

    if (out is None) == (take is None):
        raise EdgeError("give --out or --take, one of them")
    found = Home(home)
    found.settings()
    found.migrate()
    with opened(found.database, found.keys_database) as vault:
        if out is not None:
            write_pepper(vault, out)
            say(str(out), "wrote")
            return
        assert take is not None
        with closing(found.open_ledger("desk")) as ledger:
            take_pepper(ledger, vault, found.keys_database, take)
    say(str(take), "took")
    say("  restart the kiosk; delete the file when every node has it")


@app.command("list")
def list_requests(home: HomeOption) -> None:
    """List whose phone is to be erased, what is restricted, and which visits are disputed.

    Example: firstvisit rights list --home HOME
    """
    from edge.home import Home
    from edge.people.restricted import all_restricted
    from edge.rights.claims import open_claims
    from edge.rights.phone_erasure import PhoneErasures
    from sync.format.stamp import rfc3339

    found = Home(home)
    found.settings()
    found.migrate()
    queue = PhoneErasures(lambda: found.open_ledger("desk"), found.database, found.keys_database, None)
    requests = queue.requests()
    for one in requests:
        say(f"phone {one.contact_id} {one.masked or '-'} {rfc3339(one.asked_us, timespec='seconds')} {one.stage}")
    with closing(found.open_ledger()) as ledger:
        restricted, claims = all_restricted(ledger.connection), open_claims(ledger.connection)
        for kept in restricted:
            since = rfc3339(kept.restricted_us, timespec="seconds")
            say(f"restricted {kept.contact_id} since {since}, {len(kept.visit_ids)} visits")
        for claim in claims:
            say(f"disputed {claim.visit_id} {claim.reason} {rfc3339(claim.opened_us, timespec='seconds')}")
    if not (requests or restricted or claims):
        say("nothing waits: no phone is to be erased, none is restricted, no visit is disputed")


def _new(out: Path) -> int:
    """A new file that nobody else may read, open for writing; raises EdgeError."""
    try:
        return os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise EdgeError(f"{out}: already there") from error
    except OSError as error:
        raise EdgeError(f"{out}: {error.strerror}") from error
