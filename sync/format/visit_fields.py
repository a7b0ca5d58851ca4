"""What the records of a visit say together: its decision, and the desk's corrections of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from sync.format.canonical import Fields

Decision: TypeAlias = Literal["seen", "first", "return", "unsure"]

DECISION_OF_KIND: Mapping[str, Decision] = {
    "visit.seen": "seen",
    "visit.first": "first",
    "visit.return": "return",
    "visit.unsure": "unsure",
}
"""The kinds that begin or decide a visit, and what each says of the visitor."""

CORRECTED = "visit.corrected"


@dataclass(frozen=True, slots=True)
class Settled:
    """What stands of a visit. original: the node's own decision. person_id: None where nobody was compared."""

    decision: Decision
    original: Decision
    person_id: str | None
    corrected: bool


def settles(correction: Fields) -> bool:
    """Whether a `visit.corrected` says who came; one that does not corrects something else, such as the party."""
    return "decision" in correction or "person" in correction


def face_withdrawn(fields: Fields) -> str | None:
    """Whose face a record says is gone because the consent to it was taken back, None where it says no such thing.

    Not of a registration that the desk has undone: nobody withdrew, and the consent may have been of somebody else.
    """
    of_a_face = fields.get("kind") == "consent.withdrawn" and fields.get("purpose") == "visitor"
    return text_of(fields, "person") if of_a_face and fields.get("reason") != "undone" else None


def taken_out(fields: Fields) -> str | None:
    """Of whom a record says that its visit was not, None where it says no such thing."""
    of_a_visit = fields.get("kind") == "person.split" and fields.get("reason") == "visit" and "visit" in fields
    return text_of(fields, "person") if of_a_visit else None


def decides_earlier(fields: Fields) -> bool:
    """Whether a record decides an arrival that is on record before it: who was only seen has consented since.

    Its `seen` is the hash of that arrival's `visit.seen`, and it begins no visit of its own.
    """
    return DECISION_OF_KIND.get(fields.get("kind", ""), "seen") != "seen" and text_of(fields, "seen") is not None


def settle(kind: str, decided: Fields, correction: Fields | None) -> Settled:
    """Apply a visit's newest `visit.corrected` that `settles` (None without one) to the record that decided it.

    The desk decides what the node has left to it, an `unsure`, and nothing else: a decision of the node's own stays,
    whatever key signs a correction, and who came first is then for an auditor of another office (source.py).
    A decision or a person that the correction lacks, or names in a way that this version does not know, stays the
    node's own: the word of a later version must not become a claim that nobody made.
    """
    original = DECISION_OF_KIND[kind]
    later = correction if correction is not None and settles(correction) else {}
    said = DECISION_OF_KIND.get(f"visit.{later.get('decision')}", original)
    return Settled(
        decision=said if original == "unsure" else original,
        original=original,
        person_id=text_of(later, "person") or text_of(decided, "person"),
        corrected=bool(later),
    )


def number_of(fields: Fields, name: str) -> int | None:
    """A number of a body, None where it is not one: central judges envelopes only."""
    value = fields.get(name)
    return value if type(value) is int else None


def text_of(fields: Fields, name: str) -> str | None:
    """A text of a body, None where it is not one."""
    value = fields.get(name)
    return value if isinstance(value, str) else None
