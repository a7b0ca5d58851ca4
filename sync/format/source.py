"""Where a visitor is said to have come from: as the desk registered it, and as approved corrections have it since.

A correction of it is a `visit.corrected` whose `state` is `proposed`, and counts from the `visit.approved` that names
its hash and says `approved`, of another account and office than those that proposed it. The first word stands.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from sync.format.canonical import Fields
from sync.format.records import Record, place
from sync.format.visit_fields import CORRECTED

Verdict: TypeAlias = Literal["approved", "refused"]

CHECKED_IN, APPROVED = "visit.checkin", "visit.approved"
CHANGES = ("way", "agent", "code", "report", "first_us")
"""What only an approval changes. first_us: when they first came, as the office has it, microseconds."""
_CODE = re.compile(r"[A-Za-z0-9._:-]{1,64}")


@dataclass(frozen=True, slots=True)
class Proposal:
    """A correction somebody asked for, and the word on it: verdict and decided are None while there is none."""

    record: Record
    verdict: Verdict | None = None
    decided: Record | None = None

    @property
    def changes(self) -> Fields:
        return {name: self.record.fields[name] for name in CHANGES if name in self.record.fields}


@dataclass(frozen=True, slots=True)
class Source:
    """registered: as the newest check-in says it. standing: with what was approved since. proposals: all of them."""

    registered: Fields
    standing: Fields
    proposals: tuple[Proposal, ...]


def proposed(fields: Fields) -> bool:
    """Whether a `visit.corrected` changes nothing by itself, but asks for it."""
    return fields.get("state") == "proposed"


def source_of(records: Iterable[Record]) -> Source:
    """Fold what was recorded of one visit, in the order of the chain."""
    registered: Fields = {}
    standing: Fields = {}
    proposals: dict[str, Proposal] = {}
    for record in records:
        fields = record.fields
        if record.kind == CHECKED_IN and fields.get("state") in ("registered", "open"):
            registered = {name: fields[name] for name in CHANGES if name in fields}
            standing = dict(registered)
        elif record.kind == CORRECTED and proposed(fields):
            proposals[record.hash.hex()] = Proposal(record)
        elif record.kind == APPROVED and (asked := proposals.get(str(fields.get("proposal")))) is not None:
            judged = _judged(asked, record)
            proposals[asked.record.hash.hex()] = judged
            if asked.verdict is None and judged.verdict == "approved":
                standing |= asked.changes
    return Source(registered, standing, tuple(proposals.values()))


def _judged(asked: Proposal, record: Record) -> Proposal:
    match record.fields.get("verdict"):
        case "approved" | "refused" as verdict if asked.verdict is None and _from_outside(asked.record, record):
            return Proposal(asked.record, verdict, record)
        case _:
            return asked


def _from_outside(asked: Record, word: Record) -> bool:
    """Whether another account gives the word, and says an office that is not the one that asks."""
    account, office = (word.fields.get(name) for name in ("account", "office"))
    return account != asked.fields.get("account") and office not in (None, "", asked.fields.get("office"))


def lines(source: Source) -> list[str]:
    """What a verifier prints of a source that somebody asked to correct; nothing where nobody did."""
    if not source.proposals:
        return []
    said = [f"source as registered: {_told(source.registered)}"]
    for asked in source.proposals:
        word = "not decided" if asked.decided is None else f"{asked.verdict} at {_at(asked.decided)}"
        reason = _word(asked.record.fields.get("reason"))
        said.append(f"correction to {_told(asked.changes)} asked for at {_at(asked.record)} ({reason}): {word}")
    return [*said, f"source that stands: {_told(source.standing)}"]


def _told(fields: Fields) -> str:
    return ", ".join(f"{name} {_word(fields[name])}" for name in CHANGES if name in fields) or "none"


def _word(value: object) -> str:
    text = str(value)
    return text if _CODE.fullmatch(text) else "?"


def _at(record: Record) -> str:
    return place(record.epoch, record.seq)
