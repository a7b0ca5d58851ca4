"""A visit as the kiosk shows it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from edge.desk.fact import Fact
from sync.format.head_office import Basis
from sync.format.records import Record
from sync.format.source import Source, source_of
from sync.format.visit_fields import (
    Decision,
)

DISMISSED = ("companion", "not_customer", "refused", "left")


@dataclass(frozen=True, slots=True)
class PossiblePerson:
    """Who an unsure visitor may be; similarity -1..1."""

    person_id: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Reentry:
    """Out for out_us microseconds and back at at_us, with how many others, and how many of them agents, each time."""

    at_us: int
    out_us: int
    company_before: int
    company_after: int
    agents_before: int
    agents_after: int


@dataclass(frozen=True, slots=True)
class Compared:
    """What "first" was compared with: people, since when (microseconds), and how long strangers are remembered."""

    people: int
    since_us: int | None
    strangers_s: int | None


@dataclass(frozen=True, slots=True)
class Correction:
    """The desk's answer; account_id: who gave it."""

    account_id: str
    at_us: int
    seq: int


@dataclass(frozen=True, slots=True)
class Consented:
    """A consent that stands. person_id: of whom; guardian: given for somebody under 14; signed: with a drawing.

    account_id: at whose desk, None where the visitor gave it on a phone of their own.
    """

    person_id: str
    version: str
    guardian: bool
    signed: bool
    account_id: str | None
    at_us: int
    seq: int


@dataclass(frozen=True, slots=True)
class CheckedIn:
    """The newest `visit.checkin`, whatever it says. reason: of no customer; way: of a registration.

    earlier_us: when the same phone was first here. lead: the visit that was registered for this one's party. heads: of
    a group, as the desk counted them. at: (epoch, seq). code_kind: of the code that was shown; report_id, agent_id:
    what it names; used_at: the other node at which its report was shown before. reports: of the
    phone's owner, as central had told. purpose, heard_of: as the visitor's own phone said; claimed: where that says it
    was, to the fence: in, out, unknown. badge: whose was shown, of one of staff or an agent.
    """

    state: str
    reason: str | None
    way: str | None
    account_id: str
    at_us: int
    at: tuple[int, int]
    earlier_us: int | None
    lead: str | None = None
    heads: int | None = None
    facts: tuple[Fact, ...] = ()
    code_kind: str | None = None
    report_id: str | None = None
    agent_id: str | None = None
    used_at: str | None = None
    reports: tuple[str, ...] = ()
    purpose: str | None = None
    heard_of: str | None = None
    claimed: str | None = None
    badge: str | None = None

    @property
    def seq(self) -> int:
        return self.at[1]


@dataclass(frozen=True, slots=True)
class Assigned:
    """The newest `visit.assigned`. consultant: who serves; account_id: who said so. at: (epoch, seq)."""

    consultant: str
    turn: str
    account_id: str
    at_us: int
    at: tuple[int, int]

    @property
    def seq(self) -> int:
        return self.at[1]


@dataclass(frozen=True, slots=True)
class MergeSaid:
    """Two ids as the desk sees them. word: merged, lookalike or not_same."""

    word: str
    persons: tuple[str, ...]
    account_id: str
    at_us: int
    seq: int


@dataclass(frozen=True, slots=True)
class ShownVisit:
    """A visit as recorded.

    original: the node's decision; decision and person_id: what stands after the desk's answer. provisional: the person
    as the node had it. similarity: -1..1, None where nobody was there to compare. merge: two ids that may be one
    person, the older first. party: how many came in together as far as is known, proposed and not decided. party_id:
    as the desk has it, or the node's own proposal; party_at: (epoch, seq) of the desk's word. agents: how many enrolled
    agents were near. maybe_staff: like one of staff, but not certainly. closings: every `visit.checkin` of it, in the
    order of the chain. alias: the id its person had before that was merged; merge_said: the desk's answer to `merge`.
    split_from: of whom the desk has said that this visit was not, in the record at split_at.
    words: these and what was asked and answered of its source; bases: what those rest on that are head office's.
    forgotten: the
    person has been erased or has expired, and the face with them. begun: the visit's first record, decided: that of the
    decision; two where somebody was only seen and has consented since.
    """

    visit_id: str
    original: Decision
    decision: Decision
    provisional: str | None
    person_id: str | None
    candidates: tuple[PossiblePerson, ...]
    arrived_us: int
    camera_id: str
    zone: str
    source: str
    grade: str
    pack: str | None
    similarity: float | None
    compared: Compared | None
    merge: tuple[str, ...]
    party: int
    party_id: str | None
    agents: int
    maybe_staff: bool
    decided: Record
    begun: Record
    correction: Correction | None = None
    closings: tuple[CheckedIn, ...] = ()
    words: tuple[Record, ...] = ()
    assigned: Assigned | None = None
    alias: str | None = None
    merge_said: MergeSaid | None = None
    split_from: str | None = None
    split_at: tuple[int, int] = (0, 0)
    party_at: tuple[int, int] = (0, 0)
    consent: Consented | None = None
    withdrawn: bool = False
    withdrawal: tuple[int, int] | None = None
    left: bool = False
    forgotten: bool = False
    reentries: tuple[Reentry, ...] = ()
    bases: Mapping[bytes, Basis] = field(default_factory=dict)

    @property
    def at(self) -> tuple[int, int]:
        """(epoch, seq) of the visit's first record."""
        return self.begun.epoch, self.begun.seq

    @property
    def decided_at(self) -> tuple[int, int]:
        """(epoch, seq) of the decision."""
        return self.decided.epoch, self.decided.seq

    @property
    def checkin(self) -> CheckedIn | None:
        """The newest word of the desk on it."""
        return self.closings[-1] if self.closings else None

    @property
    def origin(self) -> Source:
        """Where they came from, as registered and as corrected since, and what is asked for."""
        return source_of(self.words, self.bases)

    @property
    def dismissed_before(self) -> bool:
        """Whether it has been registered after somebody had dismissed it; a companion's phone may come later."""
        turned_away = ("not_customer", "refused", "left")
        return self.state == "registered" and any(told.state in turned_away for told in self.closings[:-1])

    @property
    def whose(self) -> str | None:
        """The person it is of, also of somebody who has consented and is still to be compared."""
        return self.person_id or (self.consent.person_id if self.consent is not None else None)

    @property
    def state(self) -> str:
        """How the desk has closed it: open, registered, companion, not_customer, refused or left."""
        return self.checkin.state if self.checkin is not None else "open"

    @property
    def open_question(self) -> bool:
        """Whether the desk can still say who this was: once the face is forgotten nobody can."""
        return self.original == "unsure" and self.correction is None and not self.forgotten

    @property
    def open_merge(self) -> bool:
        """Whether the node asks if two ids are one person, and nobody has said so yet."""
        return bool(self.merge) and self.merge_said is None and not self.forgotten
