"""A visit as the kiosk shows it, and how the records of a visit make one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from edge.desk.fact import Fact
from sync.format.canonical import Fields
from sync.format.head_office import APPLIED, Basis
from sync.format.records import Record
from sync.format.source import APPROVED, Source, answers, proposed, source_of
from sync.format.visit_fields import (
    CORRECTED,
    DECISION_OF_KIND,
    Decision,
    decides_earlier,
    face_withdrawn,
    settle,
    settles,
    taken_out,
)

DISMISSED = ("companion", "not_customer", "refused", "left")
FORGETTING = ("retention.run", "person.erased", "consent.withdrawn")
OF_TWO = ("person.merged", "person.split")
KINDS = (
    *DECISION_OF_KIND,
    "visit.reentry",
    "visit.left",
    CORRECTED,
    "visit.checkin",
    "visit.assigned",
    APPROVED,
    APPLIED,
    "consent.given",
    *OF_TWO,
    *FORGETTING,
)


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


def decided(record: Record) -> ShownVisit:
    """The visit that a record of DECISION_OF_KIND begins."""
    fields = record.fields
    settled = settle(record.kind, fields, None)
    similarity = fields.get("similarity_e6")
    return ShownVisit(
        visit_id=fields["visit"],
        original=settled.original,
        decision=settled.decision,
        provisional=settled.person_id,
        person_id=settled.person_id,
        candidates=tuple(_candidates(fields.get("candidates", ()))),
        arrived_us=fields["arrived_us"],
        camera_id=fields["camera"],
        zone=fields.get("zone", "entrance"),
        source=fields["source"],
        grade=fields.get("grade", "C"),
        pack=fields.get("pack"),
        similarity=None if similarity is None else similarity / 1e6,
        compared=_compared(fields),
        merge=tuple(fields.get("merge", ())),
        party=fields.get("party", 1),
        party_id=fields.get("party_id"),
        agents=len(fields.get("agents", ())),
        maybe_staff="maybe_staff" in fields,
        decided=record,
        begun=record,
    )


def later(visit: ShownVisit, record: Record) -> ShownVisit:
    """The visit after a further record that names it; one already told changes nothing."""
    fields = record.fields
    match record.kind:
        case "visit.first" | "visit.return" | "visit.unsure":
            return _named(visit, record)
        case "visit.left":
            return replace(visit, left=True, agents=max(visit.agents, len(fields.get("agents", ()))))
        case "visit.reentry":
            agents = [len(fields.get(f"agents_{when}", ())) for when in ("before", "after")]
            others = [len(fields.get(f"company_{when}", ())) for when in ("before", "after")]
            company = [n + m for n, m in zip(others, agents, strict=True)]
            reentry = Reentry(fields["at_us"], fields["out_us"], *company, *agents)
            reentries = visit.reentries if reentry in visit.reentries else (*visit.reentries, reentry)
            return replace(visit, left=False, reentries=reentries)
        case "visit.corrected" if settles(fields):
            settled = settle(visit.decided.kind, visit.decided.fields, fields)
            correction = Correction(fields["account"], record.stamp.wall_us, record.seq)
            return replace(visit, decision=settled.decision, person_id=settled.person_id, correction=correction)
        case "visit.corrected" if isinstance(fields.get("party_id"), str):
            at = record.epoch, record.seq
            return visit if visit.party_at >= at else replace(visit, party_id=fields["party_id"], party_at=at)
        case "visit.corrected" | "visit.approved" | "notice.applied" if answers(record) or proposed(fields):
            return replace(visit, words=_with(visit.words, record))
        case "visit.checkin":
            return _checked_in(visit, record)
        case "visit.assigned":
            at = record.epoch, record.seq
            if visit.assigned is not None and visit.assigned.at > at:
                return visit
            assigned = Assigned(fields["consultant"], fields["turn"], fields["account"], record.stamp.wall_us, at)
            return replace(visit, assigned=assigned)
        case "person.merged" | "person.split":
            return _of_two(visit, record)
        case "consent.given":
            return replace(visit, consent=_consented(record), withdrawn=False)
        case "consent.withdrawn":
            taken_back = (record.epoch, record.seq) if face_withdrawn(record.fields) else None
            return replace(visit, consent=None, withdrawn=True, withdrawal=taken_back, forgotten=True)
        case "retention.run" | "person.erased":
            return replace(visit, forgotten=True)
        case _:
            return visit


def merge_said(record: Record) -> MergeSaid:
    """What a record of OF_TWO says."""
    fields = record.fields
    word = "merged" if record.kind == "person.merged" else fields["reason"]
    return MergeSaid(word, tuple(fields["persons"]), fields["account"], record.stamp.wall_us, record.seq)


def _of_two(visit: ShownVisit, record: Record) -> ShownVisit:
    """The desk has said of two ids whether they are one person."""
    fields, said = record.fields, merge_said(record)
    word = said.word
    if (whose := taken_out(fields)) is not None:
        mine = fields["visit"] == visit.visit_id
        return replace(visit, split_from=whose, split_at=(record.epoch, record.seq)) if mine else visit
    if visit.merge and set(visit.merge) == set(said.persons):
        visit = replace(visit, merge_said=said)
    if word == "merged" and visit.person_id == fields["alias"]:
        visit = replace(visit, person_id=fields["person"], alias=visit.alias or fields["alias"])
    if word == "not_same" and visit.alias == fields["alias"]:
        visit = replace(visit, person_id=visit.alias, alias=None)
    return visit


def _named(visit: ShownVisit, record: Record) -> ShownVisit:
    """Somebody who was only seen has consented since: who they are, by the pictures taken at the door."""
    if visit.original != "seen" or not decides_earlier(record.fields):
        return visit
    named = decided(record)
    return replace(
        named,
        begun=visit.begun,
        party=max(visit.party, named.party),
        party_id=visit.party_id,
        agents=max(visit.agents, named.agents),
        party_at=visit.party_at,
        closings=visit.closings,
        words=visit.words,
        bases=visit.bases,
        assigned=visit.assigned,
        alias=visit.alias,
        merge_said=visit.merge_said,
        split_from=visit.split_from,
        split_at=visit.split_at,
        consent=visit.consent,
        withdrawn=visit.withdrawn,
        withdrawal=visit.withdrawal,
        forgotten=visit.forgotten,
        left=visit.left,
        reentries=visit.reentries,
    )


def _checked_in(visit: ShownVisit, record: Record) -> ShownVisit:
    at = record.epoch, record.seq
    if any(told.at == at for told in visit.closings):
        return visit  # the page that made it has shown it already
    fields = record.fields
    closing = CheckedIn(
        state=fields["state"],
        reason=fields.get("reason"),
        way=fields.get("way"),
        account_id=fields["account"],
        at_us=record.stamp.wall_us,
        at=at,
        earlier_us=fields.get("earlier_us"),
        lead=fields.get("lead"),
        heads=fields.get("heads"),
        facts=Fact.read(fields),
        code_kind=fields.get("code_kind"),
        report_id=fields.get("report"),
        agent_id=fields.get("agent"),
        used_at=fields.get("used_at"),
        reports=tuple(fields.get("reports", ())),
        purpose=fields.get("purpose"),
        heard_of=fields.get("heard_of"),
        claimed=fields.get("claimed_place", {}).get("inside"),
        badge=fields.get("badge"),
    )
    closings = tuple(sorted((*visit.closings, closing), key=lambda told: told.at))
    return replace(visit, closings=closings, words=_with(visit.words, record))


def _with(words: tuple[Record, ...], record: Record) -> tuple[Record, ...]:
    """Records in chain order, each once: the page that made one has shown it before the ledger was read."""
    if any(word.hash == record.hash for word in words):
        return words
    return tuple(sorted((*words, record), key=lambda word: (word.epoch, word.seq)))


def _consented(record: Record) -> Consented:
    fields = record.fields
    return Consented(
        person_id=fields["person"],
        version=fields["version"],
        guardian="guardian" in fields,
        signed="signature" in fields,
        account_id=fields.get("account"),
        at_us=record.stamp.wall_us,
        seq=record.seq,
    )


def _candidates(listed: Iterable[Fields]) -> Iterable[PossiblePerson]:
    for candidate in listed:
        yield PossiblePerson(candidate["person"], candidate["similarity_e6"] / 1e6)


def _compared(fields: Fields) -> Compared | None:
    if "gallery_n" not in fields:
        return None
    return Compared(fields["gallery_n"], fields.get("gallery_since_us"), fields.get("unconsented_horizon_s"))
