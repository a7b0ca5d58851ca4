"""How the records of a visit make the one that is shown, each folded into what stood before it."""

from collections.abc import Iterable
from dataclasses import replace

from edge.desk.fact import Fact
from edge.desk.shown import (
    Assigned,
    CheckedIn,
    Compared,
    Consented,
    Correction,
    MergeSaid,
    PossiblePerson,
    Reentry,
    ShownVisit,
)
from sync.format.canonical import Fields
from sync.format.head_office import APPLIED
from sync.format.records import Record
from sync.format.source import APPROVED, answers, proposed
from sync.format.visit_fields import (
    CORRECTED,
    DECISION_OF_KIND,
    decides_earlier,
    face_withdrawn,
    settle,
    settles,
    taken_out,
)

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
