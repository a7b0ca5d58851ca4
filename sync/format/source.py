"""Where a visitor is said to have come from: as the desk registered it, and as approved corrections have it since.

A correction of it is a `visit.corrected` whose `state` is `proposed`, and counts from the word that names its hash and
says `approved`. A word counts where it is head office's (head_office.py), and of another account and office than those
that proposed it: a `visit.approved` of the desk's, or the `notice.applied` that answers central's own. The first word
stands, but one of central's own before any of the desk's.

Nor does registering again change anything: while a registration stands, another one of the visit counts for nothing. It
stands until its own host takes it back within ten minutes, before anybody has asked to correct it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from sync.format.canonical import Fields
from sync.format.head_office import APPLIED, Basis
from sync.format.records import Record, place
from sync.format.stamp import Stamp
from sync.format.visit_fields import CORRECTED, text_of

Verdict: TypeAlias = Literal["approved", "refused"]

CHECKED_IN, APPROVED = "visit.checkin", "visit.approved"
UNDO_US = 600_000_000
"""A host can undo for ten minutes (issue 5), later only with an approval."""
CHANGES = ("way", "agent", "code", "report", "first_us")
"""What only an approval changes. first_us: when they first came, as the office has it, microseconds."""
_RESTS: Mapping[Basis, str] = {
    "central": "by central's own word",
    "desk": "on the desk's key alone",
    "desk_as_held": "on the desk's key alone, by the records that this bundle holds",
}
_CODE = re.compile(r"[A-Za-z0-9._:-]{1,64}")


@dataclass(frozen=True, slots=True)
class Proposal:
    """A correction somebody asked for, and the word on it: verdict, decided and basis are None while there is none.

    uncounted: words on it that are nobody's who may give one.
    """

    record: Record
    verdict: Verdict | None = None
    decided: Record | None = None
    basis: Basis | None = None
    uncounted: tuple[Record, ...] = ()

    @property
    def changes(self) -> Fields:
        return {name: self.record.fields[name] for name in CHANGES if name in self.record.fields}


@dataclass(frozen=True, slots=True)
class Source:
    """registered: as the check-in says it that stands. standing: with what was approved since. proposals: all of them.

    again: check-ins that register it once more, or take it back as nobody may; they change nothing.
    """

    registered: Fields
    standing: Fields
    proposals: tuple[Proposal, ...]
    again: tuple[Record, ...] = ()


def proposed(fields: Fields) -> bool:
    """Whether a `visit.corrected` changes nothing by itself, but asks for it."""
    return fields.get("state") == "proposed"


def source_of(records: Iterable[Record], bases: Mapping[bytes, Basis]) -> Source:
    """Fold what was recorded of one visit, in the order of the chain; bases: of the words that are head office's."""
    told = tuple(records)
    proposals: dict[str, Proposal] = {}
    for record in told:
        if record.kind == CORRECTED and proposed(record.fields):
            proposals[record.hash.hex()] = Proposal(record)
        elif (asked := proposals.get(_answers(record))) is not None:
            proposals[_answers(record)] = _judged(asked, record, bases.get(record.hash))
    stands: Record | None = None
    registered: Fields = {}
    standing: Fields = {}
    again: list[Record] = []
    asked_for = False
    for record in told:
        fields = record.fields
        asked_for = asked_for or record.hash.hex() in proposals
        if record.kind == CHECKED_IN and fields.get("state") in ("registered", "open"):
            if stands is not None and (asked_for or not _takes_back(record, stands)):
                again.append(record)
                continue
            stands = record if fields["state"] == "registered" else None
            registered = {name: fields[name] for name in CHANGES if name in fields}
            standing = dict(registered)
        elif (asked := proposals.get(_answers(record))) is not None and record is asked.decided:
            standing |= asked.changes if asked.verdict == "approved" else {}
    return Source(registered, standing, tuple(proposals.values()), tuple(again))


def _takes_back(record: Record, stands: Record) -> bool:
    """Whether it is the undoing of a registration by its own host, soon enough by the desk's own stamps."""
    said = record.fields
    own = said.get("undoes") == stands.hash.hex() and said.get("account") == stands.fields.get("account")
    return said.get("state") == "open" and own and soon_enough(record.stamp, stands.stamp)


def soon_enough(now: Stamp, registered: Stamp) -> bool:
    """Whether what was registered then can still be undone now, by the two stamps.

    Of one boot it is for the boot clock to say, which nobody can set back. Over a restart the wall clock has to say so,
    and the new boot must not have run for longer by itself.
    """
    if now.boot_id == registered.boot_id:
        return 0 <= now.boot_us - registered.boot_us < UNDO_US
    return now.boot_us < UNDO_US and abs(now.wall_us - registered.wall_us) < UNDO_US


def answers(record: Record) -> bool:
    """Whether a record gives a word on a correction, counted or not."""
    return bool(_answers(record))


def _answers(record: Record) -> str:
    """The hash of the proposal that a record gives a word on, empty of any other."""
    return text_of(record.fields, "proposal") or "" if record.kind in (APPROVED, APPLIED) else ""


def _judged(asked: Proposal, record: Record, basis: Basis | None) -> Proposal:
    match record.fields.get("verdict"):
        case "approved" | "refused" as verdict if basis is not None and _from_outside(asked.record, record, basis):
            if asked.basis is None or (asked.basis != "central" and basis == "central"):
                return replace(asked, verdict=verdict, decided=record, basis=basis)
            return asked
        case _:
            return replace(asked, uncounted=(*asked.uncounted, record))


def _from_outside(asked: Record, word: Record, basis: Basis) -> bool:
    """Whether another account gives the word, and says an office that is not the one that asks; central is outside."""
    account, office = (word.fields.get(name) for name in ("account", "office"))
    other = account != asked.fields.get("account")
    return other and (basis == "central" or office not in (None, "", asked.fields.get("office")))


def lines(source: Source) -> list[str]:
    """What a verifier prints of a source that somebody asked to correct, or registered again; else nothing."""
    if not source.proposals and not source.again:
        return []
    said = [f"source as registered: {_told(source.registered)}"]
    for asked in source.proposals:
        word = "not decided"
        if asked.decided is not None:
            word = f"{asked.verdict} at {_at(asked.decided)}, {_RESTS[asked.basis or 'desk']}"
        elif asked.uncounted:
            word = f"not approved from outside: the word at {_at(asked.uncounted[0])} does not count"
        reason = _word(asked.record.fields.get("reason"))
        said.append(f"correction to {_told(asked.changes)} asked for at {_at(asked.record)} ({reason}): {word}")
    said += [f"check-in at {_at(one)}: changes nothing, the visit was registered already" for one in source.again]
    return [*said, f"source that stands: {_told(source.standing)}"]


def _told(fields: Fields) -> str:
    return ", ".join(f"{name} {_word(fields[name])}" for name in CHANGES if name in fields) or "none"


def _word(value: object) -> str:
    text = str(value)
    return text if _CODE.fullmatch(text) else "?"


def _at(record: Record) -> str:
    return place(record.epoch, record.seq)
