"""Enrolling staff and agents, who have agreed to be known: two records under the desk key and a place on the roster."""

import re
import secrets
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from edge import EdgeError
from edge.decision import Strictness
from edge.desk.contacts import keep_agents_phone
from edge.desk.phones import Phone
from edge.gallery import Gallery
from edge.vault import ROSTER, VISITORS, Role, Vault
from models.faces import Image, Template
from models.pack import Pack
from sync.format.canonical import Fields
from sync.format.records import Record
from sync.format.signing import commitment
from sync.format.visit_fields import CORRECTED, DECISION_OF_KIND
from sync.node.ledger import Ledger

_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SALT_BYTES = 32


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Who was enrolled. seen_before: the newest visit of whom they were as a visitor, None where nobody knows one."""

    person_id: str
    record: Record
    templates: int
    seen_before: str | None


def enrol(
    ledger: Ledger,
    vault: Vault,
    pack: Pack,
    strictness: Strictness,
    chips: list[Image],
    *,
    role: Role,
    consent: str,
    agent_code: str | None,
    now: datetime,
    phone: Phone | None = None,
) -> Enrolment:
    """Put one person on the roster by chips of their face, of which there is at least one.

    ledger: opened under the desk key. consent: the code of the text they have agreed to. agent_code and phone, an
    agent's own, stay here, sealed under the person's key, and the record holds a commitment to each. It acts forward
    only: visits that were recorded stay what they are, and the record names the newest of them. Raises EdgeError where
    the chips show two people, somebody enrolled already, or a code that cannot be one.
    """
    for name, code in (("consent", consent), ("agent code", agent_code)):
        if code is not None and not _CODE.fullmatch(code):
            raise EdgeError(f"{name} {code!r}: letters, digits, dots, underscores and dashes, up to 64")
    if (agent_code is not None or phone is not None) and role != "agent":
        raise EdgeError("an agent code and a phone go with --role agent")
    vectors = pack.embedder.embed(np.stack(chips))
    roster = Gallery(vault, pack.pack_id, ROSTER)
    _hold_to_one_person(vectors, strictness.rule(pack.calibration, roster.templates).lower)
    if (known := _known(roster, vectors, pack, strictness)) is not None:
        raise EdgeError(f"enrolled already as {known} (firstvisit people remove takes somebody off the roster)")
    visitor_id = _known(Gallery(vault, pack.pack_id, VISITORS), vectors, pack, strictness)
    visit_id = _newest_visit(ledger, visitor_id) if visitor_id is not None else None
    person_id, salt = f"p-{secrets.token_hex(10)}", secrets.token_bytes(_SALT_BYTES)
    vault.create_key(person_id)
    fields = enrolled_fields(vault, person_id, role, pack.pack_id, vectors, visitor_id)
    label = None
    if agent_code is not None:
        label = salt + agent_code.encode()
        fields["agent_code"] = commitment(salt, agent_code.encode()).hex()
    if phone is not None:
        fields["phone"] = commitment(salt, phone.e164.encode()).hex()
    if visit_id is not None:
        fields["seen_before"] = visit_id
    with ledger.transaction() as transaction:
        transaction.append("consent.given", {"person": person_id, "purpose": role, "version": consent})
        record = transaction.append("person.enrolled", fields)
        vault.enrol(
            transaction.connection,
            person_id,
            role,
            pack.pack_id,
            vectors,
            now,
            visitor_id=visitor_id,
            label=label,
        )
        if phone is not None:
            keep_agents_phone(transaction.connection, vault, person_id, phone, salt)
    return Enrolment(person_id, record, len(vectors), visit_id)


def enrolled_fields(
    vault: Vault, person_id: str, role: Role, pack_id: str, vectors: NDArray[np.float32], visitor_id: str | None
) -> Fields:
    """What a `person.enrolled` says at least, and what a row of the roster counts by (roster.py); needs their key."""
    faces = vault.commitment(person_id, vectors)
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
    """The code of an enrolled agent, None where they have none."""
    label = vault.label(person_id)
    return None if label is None else label[_SALT_BYTES:].decode()


def _hold_to_one_person(vectors: np.ndarray, lower: float) -> None:
    for number, similarity in enumerate(vectors @ vectors[0], 1):
        if similarity < lower:
            raise EdgeError(f"picture {number} shows somebody else than the first: one person is enrolled at a time")


def _known(gallery: Gallery, vectors: np.ndarray, pack: Pack, strictness: Strictness) -> str | None:
    """Whom the vectors are certainly of, if anybody."""
    upper = strictness.rule(pack.calibration.of_tracks(), gallery.templates).upper  # most of what is held is of tracks
    found = (gallery.search(Template(vector, pack.pack_id), frozenset()).best for vector in vectors)
    best = max((one for one in found if one is not None), key=lambda one: one.similarity, default=None)
    return best.person_id if best is not None and best.similarity >= upper else None


def _newest_visit(ledger: Ledger, person_id: str) -> str | None:
    named = ledger.naming(person_id, (*DECISION_OF_KIND, CORRECTED))
    theirs = [record.fields["visit"] for record in named if record.fields.get("person") == person_id]
    return theirs[-1] if theirs else None
