"""Enrolling staff and agents, who have agreed to be known: two records under the desk key and a place on the roster."""

import re
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from edge import EdgeError
from edge.minted import SALT_BYTES, new_badge, new_id, new_salt
from edge.people.contacts import keep_agents_phone
from edge.people.enrolled import Role
from edge.people.phones import Phone
from edge.people.tables import PENDING, ROSTER, VISITORS
from edge.people.vault import Vault
from edge.recognition.decision import Strictness
from edge.recognition.gallery import Gallery
from models.faces import Image, Template
from models.pack import Pack
from sync.format.accounts import Account
from sync.format.canonical import Fields
from sync.format.records import Record
from sync.format.signing import commitment
from sync.format.visit_fields import CORRECTED, DECISION_OF_KIND
from sync.node.ledger import Ledger

_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Of the commitment to a code; the label kept with its owner is this salt and then the code."""
KIND = "person.enrolled"


class NotProposed(EdgeError):
    """Somebody who cannot be proposed so; fault: the code a page shows."""

    def __init__(self, fault: str, text: str) -> None:
        super().__init__(text)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Faces:
    """One person's face, embedded; vectors: (N, D) float32, N at least 1, L2 norm 1.

    lower: what two pictures of one person reach. of_roster, of_visitors: from where on it is somebody known there.
    live: how likely it is no photograph held up, 0..1, by the worst of the pictures; None: no network has looked.
    """

    pack_id: str
    vectors: NDArray[np.float32]
    lower: float
    of_roster: float
    of_visitors: float
    live: float | None = None


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Who is to be enrolled. seen_before: the newest visit of whom they were as a visitor, None where there is none.

    badge: the code just drawn for whoever refuses the face; None of everybody else, and where the form was sent before.
    """

    person_id: str
    record: Record
    templates: int
    seen_before: str | None
    badge: str | None = field(default=None, repr=False)


def faces_of(vault: Vault, pack: Pack, strictness: Strictness, chips: list[Image], live: float | None = None) -> Faces:
    """Embed chips of one person's face, of which there is at least one; live: as `Faces` has it."""
    held = {which: Gallery(vault, pack.pack_id, which).templates for which in (ROSTER, VISITORS)}
    lower = strictness.rule(pack.calibration, held[ROSTER]).lower
    tracks = pack.calibration.of_tracks()  # most of what is held is of tracks
    roster, visitors = (strictness.rule(tracks, count).upper for count in held.values())
    return Faces(pack.pack_id, pack.embedder.embed(np.stack(chips)), lower, roster, visitors, live)


def enrol(
    ledger: Ledger,
    vault: Vault,
    faces: Faces | None,
    *,
    role: Role,
    consent: str,
    agent_code: str | None,
    now: datetime,
    phone: Phone | None = None,
    account: Account | None = None,
    request: str | None = None,
) -> Enrolment:
    """Propose one person for the roster by their face; an auditor's word puts them there (desk/staff_approvals.py).

    ledger: opened under the desk key. faces: None of whoever refuses: a badge's code is drawn for them. consent: the
    code of the text they have agreed to. agent_code and phone, an agent's own, and a badge's code stay here, sealed
    under the person's key, and the record holds a commitment to each. It acts forward only: visits that were recorded
    stay what they are, and the record names the newest of them. account, request: whose form it was, and which; the
    same form again gets its record back. Raises NotProposed where the faces are of two people, of somebody enrolled or
    proposed already, or a code that cannot be one, or that was typed where one is drawn.
    """
    for name, code in (("consent", consent), ("agent code", agent_code)):
        if code is not None and not _CODE.fullmatch(code):
            raise NotProposed("code", f"{name} {code!r}: letters, digits, dots, underscores and dashes, up to 64")
    if phone is not None and role != "agent":
        raise NotProposed("phone", "a phone goes with an agent")
    if agent_code is not None and (faces is None or role != "agent"):
        raise NotProposed("badge", "a badge's code is drawn here, and staff have no other: leave it out")
    for record in ledger.records((KIND,)) if request is not None else ():
        if record.fields.get("request") == request and record.fields.get("state") == "proposed":
            return Enrolment(
                record.fields["person"], record, record.fields["templates"], record.fields.get("seen_before")
            )
    visitor_id = None if faces is None else _visitor(vault, faces)
    visit_id = newest_visit(ledger, visitor_id) if visitor_id is not None else None
    person_id, salt = new_id("p"), new_salt()
    vault.create_key(person_id)
    fields: Fields = {"person": person_id, "role": role, "templates": 0}
    if faces is not None:
        fields = enrolled_fields(vault, person_id, role, faces.pack_id, faces.vectors, visitor_id)
        fields["upper_e6"] = round(faces.of_visitors * 1e6)
        fields |= {"liveness": "not_checked"} if faces.live is None else {"live_e6": round(faces.live * 1e6)}
    fields["state"] = "proposed"
    if account is not None:
        fields |= {"account": account.account_id, **({"office": account.office} if account.office else {})}
    if request is not None:
        fields["request"] = request
    badge = new_badge() if faces is None else None
    label = None
    if (code := badge or agent_code) is not None:
        label = salt + code.encode()
        fields["agent_code" if role == "agent" else "badge"] = commitment(salt, code.encode()).hex()
    if phone is not None:
        fields["phone"] = commitment(salt, phone.e164.encode()).hex()
    if visit_id is not None:
        fields["seen_before"] = visit_id
    with ledger.transaction() as transaction:
        if faces is not None:
            transaction.append("consent.given", {"person": person_id, "purpose": role, "version": consent})
        record = transaction.append(KIND, fields)
        vault.enrolled.add(
            transaction.connection,
            person_id,
            role,
            "" if faces is None else faces.pack_id,
            np.empty((0, 0), np.float32) if faces is None else faces.vectors,
            now,
            visitor_id=visitor_id,
            label=label,
            pending=True,
        )
        if phone is not None:
            keep_agents_phone(transaction.connection, vault, person_id, phone, salt)
    return Enrolment(person_id, record, fields["templates"], visit_id, badge)


def _visitor(vault: Vault, faces: Faces) -> str | None:
    """Whom the face has come as; raises EdgeError where it is of two people, or on the roster already."""
    _hold_to_one_person(faces)
    for which, said in ((ROSTER, "enrolled"), (PENDING, "proposed")):
        if (known := known_in(vault, faces.pack_id, which, faces.vectors, faces.of_roster)) is not None:
            told = f"{said} already as {known} (firstvisit people remove takes somebody off the roster)"
            raise NotProposed(said, told)
    return known_in(vault, faces.pack_id, VISITORS, faces.vectors, faces.of_visitors)


def enrolled_fields(
    vault: Vault, person_id: str, role: Role, pack_id: str, vectors: NDArray[np.float32], visitor_id: str | None
) -> Fields:
    """What a `person.enrolled` says at least, and what a row of the roster counts by (roster.py); needs their key."""
    faces = vault.enrolled.commitment(person_id, vectors)
    assert faces is not None
    fields: Fields = {
        "person": person_id,
        "role": role,
        "pack": pack_id,
        "templates": len(vectors),
        "faces": faces,
    }
    return fields if visitor_id is None else fields | {"visitor": visitor_id}


def agent_code(vault: Vault, person_id: str) -> str | None:
    """The code of an enrolled agent, or a badge's; None where they have none."""
    label = vault.enrolled.label(person_id)
    return None if label is None else label[SALT_BYTES:].decode()


def _hold_to_one_person(faces: Faces) -> None:
    for number, similarity in enumerate(faces.vectors @ faces.vectors[0], 1):
        if similarity < faces.lower:
            told = f"picture {number} shows somebody else than the first: one person is enrolled at a time"
            raise NotProposed("two_people", told)


def known_in(vault: Vault, pack_id: str, which: int, vectors: NDArray[np.float32], upper: float) -> str | None:
    """Whom of a gallery (ROSTER, VISITORS, PENDING) the vectors are certainly of, if anybody."""
    gallery = Gallery(vault, pack_id, which)
    found = (gallery.search(Template(vector, pack_id), frozenset()).best for vector in vectors)
    best = max((one for one in found if one is not None), key=lambda one: one.similarity, default=None)
    return best.person_id if best is not None and best.similarity >= upper else None


def newest_visit(ledger: Ledger, person_id: str) -> str | None:
    theirs = ledger.about(person_id, (*DECISION_OF_KIND, CORRECTED), key="person")
    return theirs[-1].fields["visit"] if theirs else None
