"""Who counts as staff or agent: whom a signed `person.enrolled` names, by the very faces it was signed over.

On a node that has joined central the approval it rests on must be head office's, as of a correction: the desk key alone
puts nobody on the roster, whose visits would vanish into a counter.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.head_office import counted
from edge.home import Home
from edge.minted import SALT_BYTES
from edge.people.enrolled import Role
from edge.people.vault import Vault
from edge.proven import proven
from sync.audit.origin import enrolments_of
from sync.format.canonical import Fields
from sync.format.public_keys import Enrolment
from sync.format.records import Record
from sync.format.signing import commitment
from sync.node.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody enrolled, as the record says; visitor_id: the person they were as a visitor, None where they were none.

    faces: a commitment to their templates of `pack`; other packs do not know them. code: one to a badge's or an agent's
    code, empty where they have none.
    """

    person_id: str
    role: Role
    visitor_id: str | None
    pack: str
    faces: str
    code: str = ""

    def shown_by(self, vault: Vault, vectors: Iterable[NDArray[np.float32]]) -> bool:
        """Whether these are the faces that were enrolled, all of them and no others."""
        return bool(self.faces) and self.faces == vault.enrolled.commitment(self.person_id, vectors)

    def badge(self, vault: Vault) -> str | None:
        """The code of their badge; None where their face was enrolled, or where row and record do not agree on it."""
        label = vault.enrolled.label(self.person_id) if self.code and not self.faces else None
        if label is None:
            return None
        salt, code = label[:SALT_BYTES], label[SALT_BYTES:]
        return code.decode() if commitment(salt, code).hex() == self.code else None


def from_outside(asked: Fields, word: Fields, sites: Collection[str]) -> bool:
    """Whether a word on a proposal comes from another account than asked for it, and from an office that is neither
    one of `sites` nor the one that asks. A word that names no account or no office does not."""
    account, office = word.get("account"), word.get("office")
    if not isinstance(account, str) or not isinstance(office, str) or not account or not office:
        return False
    return account != asked.get("account") and office not in (*sites, asked.get("office"))


def heard(folder: Path, ledger: Ledger, told: Iterable[Record]) -> set[bytes]:
    """The hashes of those answers to proposals that an office outside may have given; folder: HOME.

    Where the node has joined central, those of an account that central had confirmed at that place of the chain; else
    all: there is no head office that could confirm anybody.
    """
    words = [record for record in told if record.fields.get("state") in ("approved", "refused")]
    return set(counted(folder, ledger, words)) if Home(folder).joined else {word.hash for word in words}


class Roster:
    """The enrolments that stand in one HOME's chain; reads on from where it was."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        """folder: HOME, where the enrolments of its keys lie."""
        self._folder = folder
        self._ledger = ledger
        self._forget()

    def _forget(self) -> None:
        self._joined = Home(self._folder).joined
        self._members: dict[str, Member] = {}
        self._unconfirmed: set[str] = set()
        self._proposed: dict[str, Record] = {}  # by the hash that an approval names
        self._read = (0, 0)

    def members(self) -> Mapping[str, Member]:
        """Everybody whose enrolment is signed by the desk key in force then, and who was not erased since.

        One that is `proposed` counts once another record, from outside this office, says that it is `approved`; the
        first such word that counts stands (`heard`). One that is neither is of a version that did not bind the faces,
        and counts for nothing.
        """
        if Home(self._folder).joined != self._joined:  # other words count from now on
            self._forget()
        found = proven(
            self._folder, self._ledger, self._ledger.records(("person.enrolled", "person.erased"), self._read)
        )
        sites = {Enrolment.parse_text(text).site_id for text in enrolments_of(self._folder)} if found else set()
        counting = heard(self._folder, self._ledger, found)
        for record in found:
            self._follow(record, sites, record.hash in counting)
            self._read = record.epoch, record.seq
        return self._members

    def unconfirmed(self) -> Collection[str]:
        """Who is approved only in the name of an account that central had not confirmed then, as of `members`."""
        return self._unconfirmed

    def _follow(self, record: Record, sites: Collection[str], counts: bool) -> None:
        fields = record.fields
        if record.kind == "person.erased":
            self._members.pop(str(fields.get("person")), None)
            self._unconfirmed.discard(str(fields.get("person")))
            return
        match fields.get("state"):
            case "proposed":
                self._proposed[record.hash.hex()] = record
            case "approved" | "refused" as verdict:
                proposal = self._proposed.get(str(fields.get("proposal")))
                if proposal is None or not from_outside(proposal.fields, fields, sites):
                    return
                member = _member({**proposal.fields, **_since(fields)})
                approved = verdict == "approved" and member is not None and member.person_id == fields.get("person")
                if not counts:
                    if approved and member is not None and member.person_id not in self._members:
                        self._unconfirmed.add(member.person_id)
                    return
                del self._proposed[proposal.hash.hex()]
                if approved and member is not None:
                    self._members[member.person_id] = member
                    self._unconfirmed.discard(member.person_id)


def _since(approved: Fields) -> Fields:
    """Who they were found to have come as, between the proposal and its approval."""
    return {name: approved[name] for name in ("visitor",) if name in approved}


def _member(fields: Fields) -> Member | None:
    """None where it names nobody, as no version ever wrote it."""
    said = [fields.get(name, "") for name in ("person", "pack", "faces", "visitor")]
    said.append(fields.get("badge", fields.get("agent_code", "")))
    role = fields.get("role")
    if role not in ("staff", "agent") or not all(isinstance(one, str) for one in said):
        return None
    person_id, pack, faces, visitor_id, code = said
    return Member(person_id, role, visitor_id or None, pack, faces, code)
