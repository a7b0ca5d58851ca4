"""A certificate bundle, checked whole and believed only then."""

from collections.abc import Iterable, Sequence
from typing import Literal

from sync import SyncError
from sync.audit.ack_keys import ReplacedAckKeys
from sync.audit.chain_audit import Bad
from sync.audit.origin import account_notices, follow_notices, read_ack, settle
from sync.certificate.bundle import Bundle
from sync.certificate.certified import Certificate
from sync.certificate.coverage import DAY_US, DAYS, KINDS, coverage
from sync.certificate.timeline import Moment, Timeline
from sync.certificate.words import rests
from sync.format.chain import admit
from sync.format.checkpoint import BadCheckpoint, origin_of
from sync.format.keyring import KeyRing
from sync.format.log_proof import LogHead, follows
from sync.format.messages import Ack, BadMessage, Statement
from sync.format.public_keys import CentralKeys, Enrolment
from sync.format.records import BadRecord, Record, parse
from sync.format.visit_fields import CORRECTED, DECISION_OF_KIND, decides_earlier, number_of, settles, text_of
from sync.format.visit_fields import settle as settle_visit
from sync.format.void import Voids, hold

ARRIVAL = ("site", "camera", "source", "source_hash", "arrived_us", "place", "party_id")
"""What a decision made after consent repeats of the arrival that it decides, and may not change."""


def examine(bundle: Bundle, given: Enrolment | CentralKeys | None = None) -> Certificate:
    """Verify every byte of a bundle and say what it proves; raises Bad where anything in it does not hold.

    given: a key obtained some other way. Without one the origin stays unproven.
    """
    keys = settle((bundle.node_pub, *bundle.enrolments), bundle.central_pub, given)
    if keys.mismatch:
        raise Bad(keys.mismatch)
    lists, revocations = follow_notices(keys.central, bundle.notices)
    for revocation in revocations:
        keys.ring.revoke(revocation)
    statements = _statements(bundle, keys.node_id, lists)
    acks = _acks(bundle, keys.node_id, lists)
    voids = Voids()
    linked = _records(bundle, keys.node_id, keys.ring, acks, voids)
    records = [one for one in linked if not hold(voids.runs, (one.epoch, one.seq))]
    replaced = ReplacedAckKeys(keys.central, bundle.notices)
    for one in records:
        replaced.hear(one)
    for ack in acks:
        replaced.check(ack)
    heads = _log_heads(acks, lists)
    begun, at = _places_of(records, bundle.visit, linked)
    seen, record = records[begun], records[at]
    link = linked.index(record)
    confirmed = _confirmed(linked, link, acks)
    later = [one for one in records[begun + 1 :] if _is_later(one, bundle.visit, records)]
    corrections = [one.fields for one in later if one.kind == CORRECTED and settles(one.fields)]
    arrived_us = number_of(record.fields, "arrived_us")
    camera = text_of(record.fields, "camera")
    if arrived_us is None or camera is None:
        raise Bad("the visit's record has no arrived_us or no camera", (record.epoch, record.seq))
    arrival = Timeline(records, acks).arrival(seen, arrived_us)
    until_us = _looked_back_from(arrival.moment, arrived_us)
    key = keys.ring.in_force("node", (record.epoch, record.seq))
    assert key is not None  # the record was checked against it
    enrolment = Enrolment.parse_text(bundle.enrolment_in(record.epoch))
    shown = confirmed if confirmed and confirmed.checkpoint else _with_checkpoint(linked, link, acks)
    return Certificate(
        bundle=bundle,
        record=record,
        seen=seen if seen is not record else None,
        before=_neighbour(linked, link, -1),
        after=_neighbour(linked, link, 1),
        settled=settle_visit(record.kind, record.fields, corrections[-1] if corrections else None),
        later=tuple(later),
        bases=rests(records, linked, account_notices(lists, bundle.notices)),
        arrival=arrival,
        confirmed=confirmed,
        log=heads.get(shown.ack_hash) if shown else None,
        log_index=shown.checkpoint.index if shown and shown.checkpoint else None,
        coverage=coverage([one for one in records if one.kind in KINDS], camera, until_us, _born_us(records, until_us)),
        custody=_custody(records[:at]),
        key=key,
        enrolment=enrolment,
        central=CentralKeys.parse_text(bundle.central_pub),
        origin=keys.origin,
        records=len(records),
        void=tuple(voids.runs),
        stated=next((one for one in statements if _lets_in(one, enrolment.epoch)), None),
    )


def _acks(bundle: Bundle, node_id: str, lists: Sequence[CentralKeys]) -> list[Ack]:
    acks: list[Ack] = []
    for number, data in enumerate(bundle.acks, 1):
        try:
            ack = read_ack(data, lists)
        except BadMessage as error:
            raise Bad(f"ack {number} of {len(bundle.acks)}: {error}") from error
        if ack.node_id != node_id:
            raise Bad(f"ack {number} of {len(bundle.acks)}: it is node {ack.node_id}'s")
        if ack in acks:
            raise Bad(f"ack {number} of {len(bundle.acks)}: there twice")
        acks.append(ack)
    return acks


def _records(bundle: Bundle, node_id: str, ring: KeyRing, acks: Sequence[Ack], voids: Voids) -> list[Record]:
    """Every record: signed by a key in force there, in chain order, linked where neighbours, never against an ack.

    Those that are void go to `voids` besides.
    """
    heads = {(ack.epoch, ack.upto_seq): ack.head_hash for ack in acks}
    records: list[Record] = []
    for number, signed in enumerate(bundle.records, 1):
        try:
            record = parse(signed.body, signed.signature)
        except SyncError as error:
            raise Bad(f"record {number} of {len(bundle.records)}: {error}") from error
        at = (record.epoch, record.seq)
        try:
            if record.node_id != node_id:
                raise BadRecord(f"it is node {record.node_id}'s")
            before = records[-1] if records else None
            if before is not None and at <= (before.epoch, before.seq):
                raise BadRecord("not behind the record before it in the bundle")
            if before is not None and at == (before.epoch, before.seq + 1) and record.prev_hash != before.hash:
                raise BadRecord("prev is not the hash of the record before")
            admit(record, ring, voids)
            if heads.get(at, record.hash) != record.hash:
                raise BadRecord("not the record that central acknowledged: its ack names another hash")
        except BadRecord as error:
            raise Bad(str(error), at) from error
        records.append(record)
    return records


def _places_of(records: Sequence[Record], visit: str, linked: Sequence[Record]) -> tuple[int, int]:
    """Where the record that begins the visit and the one that decides it stand in `records`: mostly the same one.

    Who was only seen and has consented since has two, of which the second names the first by its hash. linked: the void
    ones too.
    """
    found = [i for i, one in enumerate(records) if _decides(one, visit)]
    if not found and (void := next((one for one in linked if _decides(one, visit)), None)):
        raise Bad(f"visit {visit}: signed after its key was revoked, so it proves nothing", (void.epoch, void.seq))
    begun, decided = (records[found[0]], records[found[-1]]) if found else (None, None)
    if begun is None or decided is None or len(found) > 2 or (begun is not decided and begun.kind != "visit.seen"):
        raise Bad(f"visit {visit}: {len(found)} records decide it, one should")
    if decides_earlier(decided.fields):
        place = (decided.epoch, decided.seq)
        if begun is decided or decided.fields["seen"] != begun.hash.hex():
            raise Bad(f"visit {visit}: the record of its arrival is not here", place)
        if any(decided.fields.get(name) != begun.fields.get(name) for name in ARRIVAL):
            raise Bad(f"visit {visit}: decided with another arrival than was recorded", place)
    elif begun is not decided:
        raise Bad(f"visit {visit}: {len(found)} records decide it, one should")
    return found[0], found[-1]


def _decides(record: Record, visit: str) -> bool:
    return record.kind in DECISION_OF_KIND and record.fields.get("visit") == visit


def _confirmed(records: Sequence[Record], at: int, acks: Iterable[Ack]) -> Ack | None:
    """The nearest ack that covers the record, reached from it by neighbours; raises Bad where they are missing."""
    place = (records[at].epoch, records[at].seq)
    covering = sorted(
        (ack for ack in acks if (ack.epoch, ack.upto_seq) >= place),
        key=lambda ack: (ack.epoch, ack.upto_seq, ack.central_time_us),
    )
    if not covering:
        return None
    if not _reaches(records, at, covering[0]):
        raise Bad(f"records between the visit and the ack of seq {covering[0].upto_seq} are missing", place)
    return covering[0]


def _with_checkpoint(records: Sequence[Record], at: int, acks: Iterable[Ack]) -> Ack | None:
    """The nearest ack with a checkpoint that the record is tied to."""
    place = (records[at].epoch, records[at].seq)
    found = [ack for ack in acks if ack.checkpoint and (ack.epoch, ack.upto_seq) >= place]
    for ack in sorted(found, key=lambda ack: (ack.epoch, ack.upto_seq)):
        if _reaches(records, at, ack):
            return ack
    return None


def _reaches(records: Sequence[Record], at: int, ack: Ack) -> bool:
    while (records[at].epoch, records[at].seq) != (ack.epoch, ack.upto_seq):
        if at + 1 == len(records) or records[at + 1].prev_hash != records[at].hash:
            return False
        at += 1
    return True


def _neighbour(records: Sequence[Record], at: int, step: Literal[-1, 1]) -> Record | None:
    """The record next to `at` in the bundle, where the two are neighbours in the chain."""
    other = at + step
    if not 0 <= other < len(records):
        return None
    earlier, later = sorted((at, other))
    return records[other] if records[later].prev_hash == records[earlier].hash else None


def _is_later(record: Record, visit: str, records: Sequence[Record]) -> bool:
    if record.kind in DECISION_OF_KIND:
        return False
    if record.fields.get("visit") == visit:
        return True
    persons = {text_of(one.fields, "person") for one in records if one.fields.get("visit") == visit}
    return record.kind.startswith("person.") and text_of(record.fields, "person") in persons


def _custody(before: Sequence[Record]) -> str | None:
    """Where the node key lies: as the newest `node.boot` says, or the rotation behind it."""
    for record in reversed(before):
        if record.kind == "node.boot" or (record.kind == "key.rotated" and record.fields.get("role") == "node"):
            return text_of(record.fields, "custody")
    return None


def _looked_back_from(moment: Moment, arrived_us: int) -> int:
    """Where in the device's days the visit lies: by its own clock, unless that was wrong or nobody knows."""
    if moment.claimed is not None or (moment.carried.holds(arrived_us) and moment.carried.width_us is not None):
        return arrived_us
    known = moment.carried.hi_us if moment.carried.hi_us is not None else moment.carried.lo_us
    return arrived_us if known is None else known


def _born_us(records: Sequence[Record], arrived_us: int) -> int | None:
    """When the device began, by its wall clock, where that lies in the span that coverage looks at."""
    first = records[0]
    if (first.epoch, first.seq, first.kind) != (1, 1, "epoch.started"):
        return None
    born_us = first.stamp.wall_us
    return born_us if arrived_us - DAYS * DAY_US < born_us <= arrived_us else None


def _log_heads(acks: Iterable[Ack], lists: Sequence[CentralKeys]) -> dict[bytes, LogHead]:
    """What central said of its log in each ack that says something, held against itself.

    By place, not by central's time: its clock may have been set back, its log and a chain only grow.
    """
    heads: dict[bytes, LogHead] = {}
    newest: LogHead | None = None
    listed = [(keys.central_id, keys.keys["checkpoint"]) for keys in lists]
    for ack in sorted(acks, key=lambda ack: (ack.epoch, ack.upto_seq, ack.central_time_us)):
        if ack.checkpoint is None:
            continue
        fault: BadCheckpoint | None = None
        for central_id, key in listed:
            try:
                head = ack.checkpoint.check(ack.head_hash, origin_of(central_id), key, None)
                break
            except BadCheckpoint as error:
                fault = error
        else:
            raise Bad(f"the ack of seq {ack.upto_seq}: {fault}")
        if why := follows(head, newest):
            raise Bad(f"the ack of seq {ack.upto_seq}: {why}")
        heads[ack.ack_hash] = newest = head
    return heads


def _lets_in(statement: Statement, epoch: int) -> bool:
    return statement.kind == "node.enrolled" and statement.fields.get("epoch") == epoch


def _statements(bundle: Bundle, node_id: str, lists: Sequence[CentralKeys]) -> list[Statement]:
    """What central's log says of the node; raises Bad where it is unsigned, another node's, or of other keys."""
    found: list[Statement] = []
    enrolments = [Enrolment.parse_text(text) for text in (bundle.node_pub, *bundle.enrolments)]
    for number, data in enumerate(bundle.statements, 1):
        said = _statement(number, data, lists)
        if said.fields.get("node") != node_id:
            raise Bad(f"statement {number}: it is not about node {node_id}")
        for enrolment in enrolments:
            keys = {role: str(key) for role, key in enrolment.keys.items()}
            if _lets_in(said, enrolment.epoch) and said.fields.get("keys") != keys:
                raise Bad(f"statement {number}: central let the node in with other keys in epoch {enrolment.epoch}")
        found.append(said)
    return found


def _statement(number: int, data: bytes, lists: Sequence[CentralKeys]) -> Statement:
    for listed in lists:
        try:
            return Statement.parse(data, listed.keys["notice"])
        except BadMessage:
            continue
    raise Bad(f"statement {number}: not signed by central's notice key")
