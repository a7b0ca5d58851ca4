"""What of a ledger goes into a certificate bundle: the visit, its place in the chain, its proofs, what surrounds it."""

from collections.abc import Collection, Iterable, Iterator
from typing import Protocol

from sync import SyncError
from sync.certificate.bundle import Bundle
from sync.certificate.coverage import DAY_US, DAYS
from sync.certificate.coverage import KINDS as COVERAGE
from sync.format.accounts import KIND as TOLD
from sync.format.head_office import APPLIED
from sync.format.messages import Ack, Notice
from sync.format.records import Record
from sync.format.visit_fields import DECISION_OF_KIND, number_of, text_of
from sync.format.wire import SignedBody

LATER = ("visit.corrected", "visit.reentry", "visit.left", "visit.checkin", "visit.approved", "visit.assigned", APPLIED)
LATER_OF_PERSON = ("person.merged", "person.split", "person.erased", "person.expired")
ALWAYS = ("epoch.started", "key.rotated", "policy.changed", "place.changed", "place.outside")
MAX_LINK = 20_000  # records between the visit and the first ack that covers it
MAX_TO_CHECKPOINT = 2_000  # from there on, the checkpoint is not worth its weight
MAX_FROM_ANCHOR = 2_000  # records back to the one that central had confirmed before: a narrower time is not worth more


class Source(Protocol):
    """A ledger, or whatever holds a node's records the same way."""

    def record(self, epoch: int, seq: int) -> Record | None: ...

    def records(self, kinds: Iterable[str], after: tuple[int, int] = (0, 0)) -> Iterator[Record]: ...

    def naming(self, id: str, kinds: Iterable[str], after: tuple[int, int] = (0, 0)) -> list[Record]: ...

    def between(self, after: tuple[int, int], upto: tuple[int, int]) -> Iterator[Record]:
        """Every record behind `after` up to `upto`, in chain order."""

    def ack(self, ack_hash: bytes) -> bytes | None:
        """The signed bytes of a stored ack."""

    def acks_covering(self, epoch: int, seq: int) -> Iterator[bytes]:
        """The signed bytes of the acks that cover a record, those of the nearest place first."""


def gather(
    source: Source,
    visit: str,
    node_pub: str,
    enrolments: Iterable[str],
    central_pub: str,
    notices: Iterable[bytes],
    statements: Iterable[bytes] = (),
) -> Bundle:
    """Collect the bundle of a visit, nothing about it verified; raises SyncError where there is no such visit.

    node_pub, enrolments, central_pub: the texts of these files. notices: central's about keys and accounts, oldest
    first; of these only whoever gave a word on the visit goes into it. statements: from its log, about this node.
    """
    decided = [one for one in source.naming(visit, DECISION_OF_KIND) if one.fields.get("visit") == visit]
    if not decided:
        raise SyncError(f"visit {visit!r}: not in this ledger (firstvisit visits lists them)")
    seen, record = decided[0], decided[-1]  # the same one, unless the visitor was only seen and has consented since
    at, seen_at = (record.epoch, record.seq), (seen.epoch, seen.seq)
    covering, checkpointed, plain = _proofs(source, at)
    chosen = {seen_at: seen, at: record}

    def take(found: Iterable[Record | None]) -> None:
        chosen.update({(one.epoch, one.seq): one for one in found if one is not None})

    take(_neighbours(source, record))
    linked = [ack for ack in (covering, checkpointed) if ack is not None]
    if seen is not record:
        take(source.between(_confirmed_before(source, seen), seen_at))
        if seen.epoch == record.epoch and record.seq - seen.seq <= MAX_LINK:
            take(source.between(seen_at, at))
        if (first := _proofs(source, seen_at)[0]) is not None and first not in linked:
            linked.append(first)
    end = max(((ack.epoch, ack.upto_seq) for ack in linked), default=at)
    if covering and (anchored := _first_anchored_on(source, covering)) is not None:
        end = max(end, (anchored.epoch, anchored.seq))
    take(source.between(_confirmed_before(source, record), at))
    take(source.between(at, end))
    take(one for one in source.naming(visit, LATER, seen_at) if one.fields.get("visit") == visit)
    accounts = {text_of(one.fields, "account") or "" for one in chosen.values() if "proposal" in one.fields}
    for account in sorted(accounts):
        take(source.naming(account, (TOLD, APPLIED)))
    for notice in map(Notice.unverified, notices):
        if notice.kind == "keys":  # from there on, acks under an earlier key are nobody's word
            take(source.naming(notice.hash.hex(), (APPLIED,)))
    for person in _persons(chosen.values(), record):
        take(source.naming(person, LATER_OF_PERSON))
    # a clock that says 1970 would reach back to the first record: the visit is no earlier than its anchor
    now_us = max(number_of(record.fields, "arrived_us") or 0, record.fields.get("anchor", {}).get("central_time_us", 0))
    take(_watched(source, record, now_us - DAYS * DAY_US))
    take(source.records(ALWAYS))
    near = [chosen[place] for place in sorted(chosen) if chosen[place].stamp.boot_id == record.stamp.boot_id]
    acks = {ack.ack_hash: ack.data for ack in (*linked, plain) if ack is not None}
    for one in (*_near(near, seen_at), *_near(near, at)):
        named = bytes.fromhex(one.fields["anchor"]["ack_hash"]) if "anchor" in one.fields else None
        data = source.ack(named) if named is not None else None
        if named and data and (covering is not None or Ack.unverified(data).upto_seq < at[1]):
            acks[named] = data
    return Bundle(
        visit=visit,
        node_pub=node_pub,
        central_pub=central_pub,
        notices=tuple(data for data in notices if _needed(Notice.unverified(data), accounts)),
        statements=tuple(statements),
        acks=tuple(acks.values()),
        records=tuple(SignedBody(chosen[place].body, chosen[place].signature) for place in sorted(chosen)),
        enrolments=tuple(enrolments),
    )


def _proofs(source: Source, at: tuple[int, int]) -> tuple[Ack | None, Ack | None, Ack | None]:
    """The nearest ack that covers the record, the nearest with a checkpoint, and the nearest without.

    The last is small, and so what goes into the code on paper.
    """
    covering: Ack | None = None
    with_log: Ack | None = None
    plain: Ack | None = None
    for data in source.acks_covering(*at):
        ack = Ack.unverified(data)
        if ack.epoch == at[0] and ack.upto_seq - at[1] > MAX_LINK:
            break
        covering = covering or ack
        if ack.epoch != covering.epoch or ack.upto_seq - covering.upto_seq > MAX_TO_CHECKPOINT:
            break
        if ack.checkpoint is None:
            plain = plain or ack
        else:
            with_log = with_log or ack
        if plain is not None and with_log is not None:
            break
    return covering, with_log, plain


def _needed(notice: Notice, accounts: Collection[str]) -> bool:
    return notice.kind != "account" or text_of(notice.body, "account") in accounts


def _neighbours(source: Source, record: Record) -> list[Record | None]:
    """The record before, the whole of it: in a first record of an epoch, the one that `prev` names."""
    if record.seq > 1:
        before = source.record(record.epoch, record.seq - 1)
        if before is None:
            raise SyncError(f"seq {record.seq - 1}, which the visit follows, is not kept any more")
        return [before, source.record(record.epoch, record.seq + 1)]
    return [source.record(record.epoch, record.seq + 1)]


def _first_anchored_on(source: Source, ack: Ack) -> Record | None:
    """The first record that the node signed knowing this ack: by it the boot clock is tied to central's."""
    for record in source.between((ack.epoch, ack.upto_seq - 1), (ack.epoch, ack.upto_seq + 500)):
        anchor = record.fields.get("anchor")
        if anchor and anchor["ack_hash"] == ack.ack_hash.hex():
            return record
    return None


def _confirmed_before(source: Source, record: Record) -> tuple[int, int]:
    """The place before the last record that the visit's anchor confirms: from it to the visit, time is carried."""
    at, anchor = (record.epoch, record.seq), record.fields.get("anchor")
    data = source.ack(bytes.fromhex(anchor["ack_hash"])) if anchor else None
    ack = Ack.unverified(data) if data is not None else None
    if ack is None or ack.epoch != record.epoch or not 0 < record.seq - ack.upto_seq <= MAX_FROM_ANCHOR:
        return at
    return ack.epoch, ack.upto_seq - 1


def _persons(records: Iterable[Record], decided: Record) -> set[str]:
    """Everybody the visit was ever said to be of."""
    visit = decided.fields["visit"]
    told = (text_of(one.fields, "person") for one in records if one.fields.get("visit") == visit)
    return {person for person in told if person is not None}


def _watched(source: Source, record: Record, from_us: int) -> Iterator[Record]:
    """What tells of the camera before the visit, and the first heartbeat behind it."""
    at, boot_id = (record.epoch, record.seq), record.stamp.boot_id
    for one in source.records(COVERAGE):
        stamp = one.stamp
        if (one.epoch, one.seq) < at and (stamp.wall_us >= from_us or stamp.boot_id == boot_id):
            yield one
    after = next(source.records(("node.alive",), at), None)
    if after is not None:
        yield after


def _near(records: list[Record], at: tuple[int, int]) -> list[Record]:
    """The records of the visit's boot whose anchors can narrow its time: a few before it, and those behind."""
    before = [one for one in records if (one.epoch, one.seq) <= at]
    return [*before[-3:], *[one for one in records if (one.epoch, one.seq) > at][:200]]
