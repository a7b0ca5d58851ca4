"""All that is held on one person, as one file for them (PIPL 45): what is stored, what is recorded, who was told.

Other people's ids are left out of it: what they have to do with this person is theirs too. So are the faces of others
who gave the same number: of their visits it tells what the number's owner may know, and no more.
"""

import base64
import hashlib
import io
import json
import sqlite3
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from edge import EdgeError
from edge.consent import CapturePolicy
from edge.people.phones import Phone, number_hmac, parse_phone
from edge.people.restricted import contact_at, number_of, visits_of
from edge.people.vault import Vault
from edge.rights.claims import written
from edge.settings import OperatorSettings
from sync.format.canonical import Fields
from sync.format.records import ROLE_OF_KIND, Record
from sync.format.stamp import rfc3339
from sync.format.visit_fields import text_of
from sync.node.ledger import Ledger

_TEMPLATES = Path(__file__).parent / "templates"
_ENVELOPE = ("v", "node", "epoch", "seq", "prev", "kind", "key", "at", "anchor")
_OTHERS = frozenset(
    (
        *("company", "company_before", "company_after", "agents", "agents_before", "agents_after", "candidates"),
        *("merge", "maybe_staff", "persons", "alias", "lead", "earlier", "expired", "reached"),
    )
)
"""Keys of bodies that name other people or their visits."""
_OF_A_PHONE = frozenset(
    (
        *("visit", "site", "arrived_us", "since_us", "end_us", "request", "account", "state", "way", "phone", "basis"),
        *("code", "code_kind", "report", "agent", "agency", "report_us", "used_at", "used_us", "reports", "claim"),
    )
)
"""Keys that are told of a visit by the phone alone: when it was, which way they came, by which code."""
_DECIDED = ("visit.first", "visit.return", "visit.unsure", "visit.corrected")
_MOST_SUBJECTS = 200

Moment: TypeAlias = Callable[[int], str]


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom the file is about: their face's ids, the ids that own their phones, the visits of either.

    own: those of the visits that are of the face asked for; the others are here by a phone alone.
    """

    persons: tuple[str, ...]
    contacts: tuple[str, ...]
    visits: tuple[str, ...]
    own: tuple[str, ...]

    @property
    def ids(self) -> frozenset[str]:
        return frozenset((*self.persons, *self.contacts, *self.visits))

    @property
    def by_phone(self) -> tuple[str, ...]:
        """Visits of which only the facts are told: the phone was given there, by whatever face."""
        return tuple(visit for visit in self.visits if visit not in self.own)


@dataclass(slots=True)
class _Search:
    persons: set[str] = field(default_factory=set)
    contacts: set[str] = field(default_factory=set)
    visits: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class AccessFile:
    """The zip and what it is about."""

    subject: Subject
    data: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


def find_subject(ledger: Ledger, vault: Vault, asked: str) -> Subject:
    """Whom a visit's id, a person's (p-…), a contact's (c-…) or a phone number means; raises EdgeError for nobody.

    From a person to their visits and from a phone to the visits it was given at, and no further: who shares a phone
    with somebody is not therefore the same.
    """
    search, connection = _Search(), ledger.connection
    asked = asked.strip()
    if asked.startswith("c-"):
        search.contacts.add(asked)
    elif _is_visit(ledger, asked):
        _of_visit(ledger, asked, search)
    elif vault.remembers(asked) or ledger.naming(asked, ROLE_OF_KIND):
        search.persons.add(asked)
    else:
        search.contacts |= _by_number(connection, vault, parse_phone(asked))
    for person_id in {vault.standing(one) for one in search.persons}:  # merged ids are one person's
        search.persons |= {person_id, *vault.known_as(person_id)}
    for contact_id in search.contacts:
        search.visits |= set(visits_of(connection, contact_id))
    for person_id in search.persons:
        told = ledger.naming(person_id, _DECIDED)
        named = {one.fields["visit"] for one in told if one.fields.get("person") == person_id}
        search.visits |= {visit for visit in named if _whose(ledger, visit) in search.persons}
    if not (search.persons or search.visits or any(number_of(connection, vault, one) for one in search.contacts)):
        raise EdgeError("nothing is held here of whoever was asked for")
    if len(search.visits) > _MOST_SUBJECTS:
        raise EdgeError(f"{len(search.visits)} visits: that is no single visitor")
    own = {visit for visit in search.visits if visit == asked or _whose(ledger, visit) in search.persons}
    return Subject(*(tuple(sorted(ids)) for ids in (search.persons, search.contacts, search.visits, own)))


def make_file(
    ledger: Ledger,
    vault: Vault,
    subject: Subject,
    policy: CapturePolicy,
    operator: OperatorSettings,
    moment: Moment,
    now_us: int,
) -> AccessFile:
    """Gather everything of a subject into one zip: data.json, index.html (Chinese and English), faces/.

    operator: who answers for it, and how they are reached. moment: writes microseconds as people of the site read them.
    """
    pictures = {visit: jpeg for visit in subject.own if (jpeg := vault.of_visits.crop(visit)) is not None}
    held: dict[str, Any] = {
        "made_at": rfc3339(now_us),
        "operator": {"name": operator.name, "contact": operator.contact},
        "visits": list(subject.visits),
        "visits_by_phone_alone": list(subject.by_phone),
        "faces": [_face(ledger.connection, vault, person_id) for person_id in subject.persons],
        "pictures": sorted(f"faces/{visit}.jpg" for visit in pictures),
        "explanations": _explanations(vault, subject.own),
        "phones": [_phone(ledger, vault, contact_id) for contact_id in subject.contacts],
        "records": [_record(one, subject) for one in _records(ledger, subject)],
        "seen_by": _looks(ledger.connection, subject),
        "retention": {
            "mode": policy.mode,
            "faces_with_consent_days": policy.consented.days,
            "faces_without_consent_h": policy.kept.total_seconds() / 3600,
            "phones_days_after_last_visit": policy.phones.days,
        },
    }
    page = (
        Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined)
        .get_template("access.html")
        .render(held=held, moment=moment, now_us=now_us, pictures=sorted(pictures))
    )
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("index.html", page)
        archive.writestr("data.json", json.dumps(held, ensure_ascii=False, indent=1))
        for visit, jpeg in sorted(pictures.items()):
            archive.writestr(f"faces/{visit}.jpg", jpeg)
    return AccessFile(subject, made.getvalue())


def record_made(desk: Ledger, made: AccessFile, account_id: str | None = None, request: str | None = None) -> Record:
    """Write down that the file was made, before anybody has it. desk: the ledger, under the desk key.

    request: the id of the form that asked; sent again, it gets the record of the first time back, whose `sha256` is not
    that of a file made since.
    """
    fields: Fields = {"what": "access_request", "sha256": made.sha256, "visits": len(made.subject.visits)}
    if made.subject.persons:
        fields["persons"] = list(made.subject.persons)
    if made.subject.contacts:
        fields["contacts"] = list(made.subject.contacts)
    said = {"account": account_id, "request": request}
    with desk.transaction() as transaction:
        if request is not None and (same := written(desk, request, ("export.made",))) is not None:
            return same
        return transaction.append("export.made", fields | {name: value for name, value in said.items() if value})


def _is_visit(ledger: Ledger, asked: str) -> bool:
    return bool(ledger.about(asked, ROLE_OF_KIND))


def _of_visit(ledger: Ledger, visit: str, search: _Search) -> None:
    search.visits.add(visit)
    contact_id = contact_at(ledger.connection, visit)
    if contact_id is not None:
        search.contacts.add(contact_id)
    person_id = _whose(ledger, visit)
    if person_id is not None:
        search.persons.add(person_id)


def _whose(ledger: Ledger, visit: str) -> str | None:
    """Whose face a visit was of, by the newest word on it; the desk may have said that it was another's."""
    told = (text_of(one.fields, "person") for one in reversed(ledger.about(visit, _DECIDED)))
    return next((person_id for person_id in told if person_id is not None), None)


def _by_number(connection: sqlite3.Connection, vault: Vault, phone: Phone) -> set[str]:
    """Who owns a number: by its HMAC, and of those under restriction, which have none, by opening each."""
    digest = number_hmac(vault.pepper(), phone)
    found = {row[0] for row in connection.execute("SELECT person_id FROM contacts WHERE number_hmac = ?", (digest,))}
    kept = [row[0] for row in connection.execute("SELECT person_id FROM restricted_contacts")]
    return found | {one for one in kept if number_of(connection, vault, one) == phone.e164}


def _face(connection: sqlite3.Connection, vault: Vault, person_id: str) -> dict[str, Any]:
    rows = connection.execute(
        "SELECT template_id, pack, stored_us FROM templates WHERE person_id = ? ORDER BY stored_us", (person_id,)
    ).fetchall()
    templates = [
        {
            "pack": pack,
            "stored_at": rfc3339(stored_us),
            "vector_f32_base64": base64.b64encode(opened.vector.tobytes()).decode(),
        }
        for template_id, pack, stored_us in rows
        if (opened := vault.templates.one(template_id)) is not None
    ]
    return {"person": person_id, "remembered": vault.remembers(person_id), "templates": templates}


def _explanations(vault: Vault, visits: Iterable[str]) -> dict[str, Any]:
    """Why each visit was decided as it was, without whom else it resembled."""
    kept = {visit: json.loads(found) for visit in visits if (found := vault.of_visits.explanation(visit)) is not None}
    return {visit: {key: value for key, value in one.items() if key != "nearest"} for visit, one in kept.items()}


def _phone(ledger: Ledger, vault: Vault, contact_id: str) -> dict[str, Any]:
    connection = ledger.connection
    restricted = connection.execute("SELECT 1 FROM restricted_contacts WHERE person_id = ?", (contact_id,)).fetchone()
    sent = connection.execute(
        "SELECT count(*), sum(taken) FROM sidecars WHERE contact_id = ?", (contact_id,)
    ).fetchone()
    return {
        "contact": contact_id,
        "number": number_of(connection, vault, contact_id),
        "restricted": restricted is not None,
        "visits": visits_of(connection, contact_id),
        "sealed_for_central": int(sent[0]),
        "held_by_central": int(sent[1] or 0),
    }


def _records(ledger: Ledger, subject: Subject) -> list[Record]:
    """Every record of the subject, in chain order: one of somebody else that names them beside it is that one's."""
    found: dict[tuple[int, int], Record] = {}
    for one in subject.ids:
        found |= {(record.epoch, record.seq): record for record in ledger.naming(one, ROLE_OF_KIND)}
    return [found[at] for at in sorted(found) if not (whose := _of_whom(found[at].fields)) or whose & subject.ids]


def _of_whom(said: Fields) -> set[str]:
    return {one for key in ("visit", "person") if (one := text_of(said, key)) is not None}


def _record(record: Record, subject: Subject) -> dict[str, Any]:
    others = _of_whom(record.fields) - subject.ids
    hidden = {key for key in record.fields if key in _OTHERS or text_of(record.fields, key) in others}
    if text_of(record.fields, "visit") in subject.by_phone and text_of(record.fields, "person") not in subject.persons:
        hidden |= record.fields.keys() - {*_OF_A_PHONE, *_ENVELOPE}
    said = {key: value for key, value in record.fields.items() if key not in (*_ENVELOPE, *hidden)}
    if "facts_on" in said:
        said["facts_on"] = {code: _own(fact, subject) for code, fact in said["facts_on"].items()}
    return {
        "epoch": record.epoch,
        "seq": record.seq,
        "kind": record.kind,
        "at": rfc3339(record.stamp.wall_us),
        "at_us": record.stamp.wall_us,
        "hash": record.hash.hex(),
        "says": said,
        "left_out": sorted(hidden),
    }


def _own(fact: Fields, subject: Subject) -> Fields:
    others = {"agents", *(key for key in ("visit", "person") if text_of(fact, key) not in subject.ids)}
    return {key: value for key, value in fact.items() if key not in others}


def _looks(connection: sqlite3.Connection, subject: Subject) -> list[dict[str, Any]]:
    """Which accounts have looked at the subject, and at what."""
    rows = connection.execute(
        "SELECT at_us, account_id, action FROM access_log WHERE subject IN (SELECT value FROM json_each(?))"
        " ORDER BY number",
        (json.dumps([*subject.persons, *subject.contacts, *subject.own]),),
    )
    return [
        {"at": rfc3339(at_us), "at_us": at_us, "account": account_id, "action": action}
        for at_us, account_id, action in rows
    ]
