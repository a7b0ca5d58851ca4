"""A fact beside a check-in: a code, when it happened, and the record it rests on; never what it means."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from sync.format.canonical import Fields

Code: TypeAlias = Literal[
    "joined_by_agent",
    "face_other_phone",
    "phone_other_face",
    "agent_face",
    "agent_phone",
    "staff_face",
    "resembles_roster",
    "off_site",
    "dismissed_before",
    "after_day_closed",
    "before_report",
    "code_other_face",
]
"""What this version tells; a later one's codes are read as they are."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact. at_us: when what it rests on happened. place: (epoch, seq) of that record, None where it is no longer
    kept. on: the ids it names, each in a field of its own.
    """

    code: str
    at_us: int
    place: tuple[int, int] | None = None
    on: Fields = field(default_factory=dict)

    def fields(self) -> Fields:
        """What a record says of it beside its code."""
        named: Fields = {"at_us": self.at_us, **self.on}
        return named if self.place is None else {**named, "epoch": self.place[0], "seq": self.place[1]}

    @classmethod
    def read(cls, fields: Fields) -> "tuple[Fact, ...]":
        """The facts of a check-in's body; of a later version's codes what every version says."""
        on = fields.get("facts_on", {})
        found = []
        for code in fields.get("facts", ()):
            said = dict(on.get(code, {}))
            at_us, epoch, seq = (said.pop(name, None) for name in ("at_us", "epoch", "seq"))
            found.append(cls(code, at_us or 0, None if seq is None else (epoch or 1, seq), said))
        return tuple(found)


def facts_fields(facts: Iterable[Fact]) -> Fields:
    """`facts` and `facts_on` of a check-in; nothing where there are none. Of one code the earliest is told."""
    told: dict[str, Fact] = {}
    for fact in sorted(facts, key=lambda one: one.at_us):
        told.setdefault(fact.code, fact)
    if not told:
        return {}
    return {"facts": sorted(told), "facts_on": {code: fact.fields() for code, fact in told.items()}}
