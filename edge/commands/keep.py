"""The commands about what a node keeps: forgetting somebody, a backup and its way back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge import EdgeError
from edge.clock import wall_us
from edge.commands.screen import say
from sync.format.stamp import rfc3339

if TYPE_CHECKING:
    from edge.keys.sealed import Lock

app = typer.Typer()

HomeOption = Annotated[Path, typer.Option("--home", help="The node's HOME.", show_default=False)]


@app.command()
def erase(
    home: HomeOption,
    person_id: Annotated[str, typer.Argument(help="From `firstvisit people`, or c-….", show_default=False)],
    reason: Annotated[
        str, typer.Option(help="request, consent_withdrawn, child, error, staff or legal.", show_default=False)
    ],
    note: Annotated[str | None, typer.Option(help="Kept out of the record, which carries a commitment to it.")] = None,
) -> None:
    """Forget a face, or a phone by its own id c-…: the key is destroyed, in every copy too; the chain still verifies.

    A phone whose visit is disputed is refused until that is settled.
    Exit 1 where a copy is out of reach: the node tries again each minute, and so does this command.
    Example: firstvisit erase --home demo p-0f3a… --reason request
    """
    from edge.home import Home
    from edge.people.vault import opened as opened_vault
    from edge.rights.retention import erase as erase_person

    found = Home(home)
    found.settings()
    found.migrate()
    with opened_vault(found.database, found.keys_database) as vault:
        erasure = erase_person(found.open_ledger("desk"), vault, person_id, reason, note)
    say(f"erased {person_id} seq={erasure.record.seq} {'complete' if erasure.complete else 'pending'}")
    if erasure.salt is not None:
        say(f"  the note's salt, to open its commitment: {erasure.salt.hex()}")
    for place in erasure.pending:
        say(f"  not yet reached: {place}; run it again")
    if not erasure.complete:
        raise typer.Exit(1)


@app.command()
def backup(
    home: HomeOption,
    out: Annotated[Path, typer.Option(help="The file to write.", show_default=False)],
    passphrase_file: Annotated[
        Path | None, typer.Option(help="Its first line encrypts: 12 characters or more.", show_default=False)
    ] = None,
    recipient: Annotated[str | None, typer.Option(help="An age recipient, age1…, instead.", show_default=False)] = None,
    keys: Annotated[
        Path | None, typer.Option(help="Write the person keys too, to this folder; better elsewhere.")
    ] = None,
) -> None:
    """Write everything but the person keys to one encrypted file, while the node runs.

    Faces in it open only with the keys, which --keys copies apart: an erasure reaches them there.
    Example: firstvisit backup --home HOME --out home.backup --passphrase-file pass.txt --keys /mnt/keys
    """
    from edge.backup import back_up
    from edge.home import Home

    found = Home(home)
    found.settings()
    done = back_up(found, out, _lock(passphrase_file, recipient), keys, wall_us())
    said = done.manifest
    say(str(out), "wrote")
    say(f"  node {said.node}: {said.records} records, to epoch {said.epoch} seq {said.seq}; {done.size_bytes:,} bytes")
    if done.keys is not None:
        say(f"  {done.keys} person keys in {keys}: an erasure must be able to reach that folder")
    for name in done.without:
        say(f"  without {name}: it leaves its TPM or machine in no usable form; a restore makes new keys")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="What `firstvisit backup` wrote.", show_default=False)],
    home: Annotated[Path, typer.Option("--home", help="The folder to make, or an empty one.", show_default=False)],
    passphrase_file: Annotated[
        Path | None, typer.Option(help="Holds the passphrase it was encrypted with.", show_default=False)
    ] = None,
    identity: Annotated[
        Path | None, typer.Option(help="Holds the age identity, AGE-SECRET-KEY-1…, instead.", show_default=False)
    ] = None,
    keys: Annotated[Path | None, typer.Option(help="A folder of person keys; without it nobody is remembered.")] = None,
) -> None:
    """Make a HOME out of a backup, in a new epoch of its chain; the machine it came from must not run again.

    Example: firstvisit restore home.backup --home /var/lib/firstvisit/home --passphrase-file pass.txt
    """
    from edge.clock import Clock
    from edge.keys.sealed import read_secret
    from edge.restore import restore as restore_home

    done = restore_home(file, home, read_secret(passphrase_file, identity), keys, Clock())
    said = done.manifest
    say(str(home), "restored")
    say(f"  node {said.node} as of {rfc3339(said.made_us, timespec='seconds')}: {said.records} records verify")
    say(f"  epoch {done.began.epoch} begins behind epoch {said.epoch} seq {said.seq}")
    say(f"  {done.people} people are remembered, {done.forgotten} forgotten for want of their keys")
    if done.rekeyed:
        say(f"  new signing keys; at central: firstvisit central enroll --rekey {home / 'node.pub'}")
    say("  PINs at the kiosk are given anew: firstvisit kiosk set-pin")
    say("  never start the old machine again: central would see two chains and refuse both")


def _lock(passphrase_file: Path | None, recipient: str | None) -> "Lock":
    from edge.keys.sealed import Lock, read_passphrase

    if (passphrase_file is None) == (recipient is None):
        raise EdgeError("give --passphrase-file or --recipient, one of them")
    if recipient is not None:
        return Lock.of_recipient(recipient)
    assert passphrase_file is not None
    return Lock.of_passphrase(read_passphrase(passphrase_file))
