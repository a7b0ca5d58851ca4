"""`firstvisit people`: whom the node remembers, and the roster of staff and agents."""

from contextlib import closing
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge import EdgeError
from edge.commands.keep import erase
from edge.commands.screen import say, show
from sync.format.stamp import rfc3339

if TYPE_CHECKING:
    from edge.consent import CapturePolicy
    from edge.people.vault import Person, Vault
    from edge.settings import Settings
    from models.faces import Image
    from models.pack import Pack

app = typer.Typer(
    help="Whom the node remembers, and the roster of staff and agents.\n\nExample: firstvisit people --home HOME",
    invoke_without_command=True,
)

HomeOption = Annotated[Path, typer.Option("--home", help="The node's HOME.", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON only.")]


class Whom(StrEnum):
    VISITOR = "visitor"
    STAFF = "staff"
    AGENT = "agent"


class EnrolledAs(StrEnum):
    STAFF = "staff"
    AGENT = "agent"


@app.callback()
def people(
    context: typer.Context,
    home: Annotated[Path | None, typer.Option("--home", help="The node's HOME.", show_default=False)] = None,
    as_json: JsonOption = False,
) -> None:
    """List whom the node remembers: random ids, since when, until when.

    Example: firstvisit people --home demo --json
    """
    if context.invoked_subcommand is None:
        if home is None:
            raise EdgeError("--home: missing")
        list_people(home, None, as_json)


@app.command("list")
def list_people(
    home: HomeOption,
    role: Annotated[Whom | None, typer.Option(help="Only these.", show_default=False)] = None,
    as_json: JsonOption = False,
) -> None:
    """List whom the node remembers; with --role only visitors, or only whom of the roster.

    `pending`: proposed for the roster, and waiting for the auditor. `unproven`: on it, and counts for nothing; why:
    `unsigned`, without a signed enrolment of that very face, or `unconfirmed`, approved by an account that central had
    not confirmed: once it is (`central account allow`), the auditor approves again on /approvals. `badge_typed`: their
    badge's code was typed, before codes were drawn, and opens nothing: enrol them anew.
    Example: firstvisit people list --home demo --role agent
    """
    from edge.home import Home
    from edge.minted import is_badge
    from edge.people.vault import opened as opened_vault
    from edge.recognition.enrolment import agent_code
    from edge.recognition.roster import Roster

    found = Home(home)
    policy = found.policy(found.settings())
    with (
        opened_vault(found.database, found.keys_database) as vault,
        closing(found.open_ledger()) as ledger,
    ):
        roster = Roster(found.path, ledger)
        signed, unconfirmed = roster.members(), roster.unconfirmed()
        listed = []
        for person in vault.people():
            member_to_be = person.enrolled or person.pending
            role_said = "pending" if person.pending else "visitor"
            if person.enrolled:
                member = signed.get(person.person_id)
                proven = member is not None and member.shown_by(
                    vault, [one.vector for one in vault.templates.of(person.person_id, member.pack)]
                )
                badge = member.badge(vault) if member is not None else None
                role_said = member.role if member is not None and (proven or badge) else "unproven"
            code = agent_code(vault, person.person_id) if member_to_be else None
            row = {
                "person_id": person.person_id,
                "role": role_said,
                "created_at": rfc3339(person.created_us, timespec="seconds"),
                "expires_at": None
                if person.enrolled or person.pending
                else rfc3339(_until_us(vault, person, policy), timespec="seconds"),
                "searchable": person.searchable,
                "templates": person.templates,
                "agent_code": code if person.templates else None,
                "why": None,
            }
            if role_said == "unproven":
                row["why"] = "unconfirmed" if person.person_id in unconfirmed else "unsigned"
            elif code is not None and not person.templates and not is_badge(code):
                row["why"] = "badge_typed"
            if role is None or row["role"] == role.value:
                listed.append(row)
    columns = ("person_id", "role", "created_at", "expires_at", "searchable", "templates", "agent_code", "why")
    show(listed, as_json, columns, "nobody is remembered")


def _until_us(vault: "Vault", person: "Person", policy: "CapturePolicy") -> int:
    """Until when a visitor's face is kept: by their consent, or without one by the policy."""
    consented_us = vault.consented_us(person.person_id)
    if consented_us is None:
        return person.stored_us + round(policy.kept.total_seconds() * 1e6)
    return consented_us + policy.consented_horizon_s * 1_000_000


@app.command()
def enrol(
    home: HomeOption,
    role: Annotated[EnrolledAs, typer.Option(help="As what.", show_default=False)],
    consent: Annotated[
        str, typer.Option(help="The code of the text they have agreed to, e.g. staff-2026-1.", show_default=False)
    ],
    photo: Annotated[list[Path] | None, typer.Option(help="A photograph; again for more of the same person.")] = None,
    camera: Annotated[str | None, typer.Option(help="Instead, look through this configured camera.")] = None,
    agent_code: Annotated[str | None, typer.Option(help="An agent's code; stays here, sealed.")] = None,
    phone: Annotated[str | None, typer.Option(help="An agent's own phone; stays here, sealed.")] = None,
    pack: Annotated[str | None, typer.Option(help="The model pack to use.")] = None,
) -> None:
    """Propose somebody for the roster: staff are counted instead of recorded, an agent is noted beside a visitor.

    Once an auditor has approved it at the kiosk it acts, forward only; where the face has visited before, it says so,
    and the record too. Exit 1: nobody proposed.
    Example: firstvisit people enrol --home HOME --role agent --consent agent-2026-1 --photo front.jpg
    """
    from edge.home import Home
    from edge.people.phones import parse_phone
    from edge.people.vault import opened as opened_vault
    from edge.recognition.decision import Strictness
    from edge.recognition.enrolment import enrol as enrol_person
    from edge.recognition.enrolment import faces_of
    from models.pack import open_pack
    from models.store import Store, default_root

    found = Home(home)
    settings = found.settings()
    if bool(photo) == bool(camera):
        raise EdgeError("give --photo, once or more, or --camera")
    if agent_code is not None and role is not EnrolledAs.AGENT:
        raise EdgeError("an agent code goes with --role agent")
    number = None if phone is None else parse_phone(phone)
    store = Store(default_root())
    opened = open_pack(store, store.pick(pack or settings.recognition.pack))
    chips, live = (_photographed(photo, opened), None) if photo else _grabbed(settings, str(camera), opened)
    if not chips:
        say("nobody enrolled", "", "yellow")
        raise typer.Exit(1)
    found.migrate()
    strictness = Strictness.of(settings.recognition)
    with opened_vault(found.database, found.keys_database) as vault:
        done = enrol_person(
            found.open_ledger("desk"),
            vault,
            faces_of(vault, opened, strictness, chips, live),
            role=role.value,
            consent=consent,
            agent_code=agent_code,
            now=datetime.now(UTC),
            phone=number,
        )
    say(f"{done.person_id} {role.value} seq={done.record.seq} templates={done.templates}", "proposed")
    if live is None:
        say("  liveness not checked: nothing has told a person from a photograph held up", "note", "yellow")
    say("  counts once an auditor from outside this office approves it at the kiosk (/approvals)")
    if done.seen_before is not None:
        say(
            f"this face has visited before: {done.seen_before}; that stays on record, and so does this",
            "note",
            "yellow",
        )
    if not found.policy(settings).embeds:
        say("mode after_consent compares nobody, so nobody is recognised as staff either", "note", "yellow")


@app.command()
def remove(
    home: HomeOption,
    person_id: Annotated[str, typer.Argument(help="From `firstvisit people list`.", show_default=False)],
) -> None:
    """Take somebody off the roster and forget their face, as `firstvisit erase --reason staff` does.

    Example: firstvisit people remove --home HOME p-0f3a…
    """
    from edge.home import Home
    from edge.people.vault import opened as opened_vault

    found = Home(home)
    found.settings()
    with opened_vault(found.database, found.keys_database) as vault:
        enrolled = any(one.person_id == person_id and (one.enrolled or one.pending) for one in vault.people())
    if not enrolled:
        raise EdgeError(f"person {person_id!r}: not on the roster (firstvisit people list --role staff, or agent)")
    erase(home, person_id, "staff")


def _photographed(paths: list[Path], pack: "Pack") -> "list[Image]":
    """The chips of the photographs that are good enough; of the others it says why not."""
    from edge.recognition.photos import SAID, judge, read

    chips = []
    for path in paths:
        image = read(path)
        face = judge(image, pack.detector)
        if isinstance(face, str):
            say(f"{path}: {SAID[face]}", "refused", "yellow")
        else:
            chips.append(pack.chip(image, face))
    return chips


def _grabbed(settings: "Settings", camera_id: str, pack: "Pack") -> "tuple[list[Image], float | None]":
    from edge.recognition.photos import GRAB_S, grab
    from models.liveness import open_liveness
    from models.store import default_root

    uri = next((camera.uri for camera in settings.camera if camera.id == camera_id), None)
    if uri is None:
        raise EdgeError(f"camera {camera_id!r}: not configured")
    say(f"camera {camera_id}: look into it for {GRAB_S} s")
    return grab(camera_id, uri, pack, open_liveness(default_root()))
