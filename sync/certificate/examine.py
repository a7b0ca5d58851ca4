"""A certificate bundle, checked whole and believed only then: what it proves of one visit."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from sync import SyncError
from sync.audit.chain_audit import Bad
from sync.audit.origin import follow_notices, read_ack, settle
from sync.certificate.bundle import Bundle
from sync.certificate.compact import MAX_TEXT, Compact
from sync.certificate.coverage import DAY_US, DAYS, KINDS, Coverage, coverage
from sync.certificate.timeline import Arrival, Interval, Moment, Timeline
from sync.format.canonical import Fields
from sync.format.chain import admit
from sync.format.checkpoint import BadCheckpoint, origin_of
from sync.format.keyring import KeyRing
from sync.format.log_proof import LogHead, follows
from sync.format.messages import Ack, BadMessage, CentralKeys, Enrolment, Statement
from sync.format.records import BadRecord, Record, parse
from sync.format.signing import PublicKey
from sync.format.stamp import rfc3339
from sync.format.visit_fields import CORRECTED, DECISION_OF_KIND, Settled, number_of, text_of
from sync.format.visit_fields import settle as settle_visit
from sync.format.void import Void, Voids, hold
from sync.format.void import lines as void_lines
from sync.printable import counted

Refusal: TypeAlias = Literal["file", "seen", "unsure"]
"""Why a visit gets no certificate: its source was a file, nobody was compared, nobody has answered."""

REFUSALS: dict[Refusal, str] = {
    "file": "its source is a file, so it is a test; a certificate needs a live camera",
    "seen": "nobody was compared, so there is nothing to certify but that somebody came: `firstvisit ledger --export`",
    "unsure": "the desk has not answered yet whether this is a known person: answer at the kiosk, then ask again",
}


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a verified bundle says of its visit.

    record: the decision's. before, after: its neighbours in the chain, as far as the bundle holds them. settled: what
    stands of the decision. later: corrections and what else was recorded of the visit since. confirmed: the first ack
    that covers the record, tied to it by an unbroken run of hashes; None where central has not confirmed it. log: what
    central said of its log then; log_index: where the head record lies in it. coverage: of the camera. custody: where
    the node's key lay, as it says itself; key: that key. enrolment: the one that counts in the record's epoch. central:
    the list of its keys. origin: what the keys prove of the origin, for people. records: how many were verified. void:
    those besides that were signed after their key was revoked; they link others and prove nothing. stated: central's
    word, of those in the bundle, that it let the node in with the keys of `enrolment`.
    """

    bundle: Bundle
    record: Record
    before: Record | None
    after: Record | None
    settled: Settled
    later: tuple[Record, ...]
    arrival: Arrival
    confirmed: Ack | None
    log: LogHead | None
    log_index: int | None
    coverage: Coverage
    custody: str | None
    key: PublicKey
    enrolment: Enrolment
    central: CentralKeys
    origin: str
    records: int
    void: tuple[Void, ...] = ()
    stated: Statement | None = None

    @property
    def visit(self) -> str:
        return self.bundle.visit

    @property
    def fields(self) -> Fields:
        return self.record.fields

    def refusal(self) -> Refusal | None:
        """Why this visit gets no certificate, None where it gets one."""
        if self.fields.get("source") == "file":
            return "file"
        if self.settled.decision == "seen":
            return "seen"
        return "unsure" if self.settled.decision == "unsure" else None

    def listed(self) -> Fields:
        """The same for programs; times are microseconds since 1970 UTC."""
        moment = self.arrival.moment
        return {
            "visit": self.visit,
            "node": self.record.node_id,
            "epoch": self.record.epoch,
            "seq": self.record.seq,
            "hash": self.record.hash.hex(),
            "decision": self.settled.decision,
            "original_decision": self.settled.original,
            "arrived_us": number_of(self.fields, "arrived_us"),
            "time_grade": moment.grade,
            "arrived_between_us": span(moment.carried),
            "arrived_claimed_us": span(moment.claimed),
            "signed_between_us": span(self.arrival.record.signed),
            "contradicted": moment.contradicted,
            "confirmed_us": self.confirmed.central_time_us if self.confirmed else None,
            "log_size": self.log.size if self.log else None,
            "coverage": self.coverage.fields(),
            "later": [{"seq": one.seq, "kind": one.kind} for one in self.later],
            "let_in_us": self.stated.at_us if self.stated else None,
            "refusal": self.refusal(),
        }


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
    heads = _log_heads(acks, lists)
    at = _place_of(records, bundle.visit, linked)
    record = records[at]
    link = linked.index(record)
    confirmed = _confirmed(linked, link, acks)
    later = [one for one in records[at + 1 :] if _is_later(one, bundle.visit, records)]
    corrections = [one.fields for one in later if one.kind == CORRECTED]
    arrived_us = number_of(record.fields, "arrived_us")
    camera = text_of(record.fields, "camera")
    if arrived_us is None or camera is None:
        raise Bad("the visit's record has no arrived_us or no camera", (record.epoch, record.seq))
    arrival = Timeline(records, acks).arrival(record, arrived_us)
    until_us = _looked_back_from(arrival.moment, arrived_us)
    key = keys.ring.in_force("node", (record.epoch, record.seq))
    assert key is not None  # the record was checked against it
    enrolment = Enrolment.parse_text(_enrolment_for(bundle, record.epoch))
    shown = confirmed if confirmed and confirmed.checkpoint else _with_checkpoint(linked, link, acks)
    return Certificate(
        bundle=bundle,
        record=record,
        before=_neighbour(linked, link, -1),
        after=_neighbour(linked, link, 1),
        settled=settle_visit(record.kind, record.fields, corrections[-1] if corrections else None),
        later=tuple(later),
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


def code(certificate: Certificate) -> Compact | None:
    """The code for the certificate's paper; None where it holds more changes of keys than a QR code has room for."""
    bundle, record = certificate.bundle, certificate.record
    at = (record.epoch, record.seq)
    covering = [ack for ack in map(Ack.unverified, bundle.acks) if (ack.epoch, ack.upto_seq) >= at]
    # one without a checkpoint is small; of those the one that names this very record says most
    best = min(
        covering, key=lambda ack: (ack.checkpoint is not None, (ack.epoch, ack.upto_seq), len(ack.data)), default=None
    )
    pub = _enrolment_for(bundle, record.epoch)
    rotations = [] if record.key_id in {key.key_id for key in Enrolment.parse_text(pub).keys.values()} else [
        one for one in bundle.records
        if b'"key.rotated"' in one.body and (before := parse(one.body, one.signature)).kind == "key.rotated"
        and (before.epoch, before.seq) < at and not hold(certificate.void, (before.epoch, before.seq))
    ]  # fmt: skip
    pinned = CentralKeys.parse_text(bundle.central_pub)
    notices = bundle.notices if best is not None and not _signed_by(best, pinned) else ()
    made = Compact(
        record.body,
        record.signature,
        best.data if best else None,
        pub,
        bundle.central_pub,
        tuple(rotations),
        notices,
    )
    return made if len(made.text()) <= MAX_TEXT else None


def lines(certificate: Certificate) -> list[str]:
    """What `verify` prints of a good bundle."""
    moment, record = certificate.arrival.moment, certificate.record
    compared = certificate.fields.get("gallery_n")
    watched = certificate.coverage
    said = [
        f"{counted(certificate.records, 'record')} verified, {counted(len(certificate.bundle.acks), 'ack')} of central",
        *void_lines(certificate.void),
        certificate.origin,
        *_let_in(certificate),
        f"visit {certificate.visit}: {certificate.settled.decision}"
        + (f", compared with {compared} people" if compared is not None else "")
        + (f", first said {certificate.settled.original}" if certificate.settled.corrected else ""),
        f"record seq {record.seq} of epoch {record.epoch}, hash {record.hash.hex()}",
        f"arrived (device's wall clock): {rfc3339(number_of(certificate.fields, 'arrived_us') or 0)}",
        f"arrived (central's bounds): {words(moment.carried)}, time grade {moment.grade}",
        f"arrived (device's claim): {words(moment.claimed)}",
        f"signed (central's signatures alone): {words(certificate.arrival.record.signed)}",
        "confirmed by central: "
        + (rfc3339(certificate.confirmed.central_time_us) if certificate.confirmed else "not yet"),
        "central's log: " + (f"shown to hold it, size {certificate.log.size}" if certificate.log else "not shown"),
        f"camera watched {watched.share:.1%} of the {DAYS} days before, gaps of a minute or more: {len(watched.gaps)}"
        " (by the records chosen for this bundle)",
    ]
    said += [f"later: seq {one.seq} {one.kind}" for one in certificate.later]
    if refusal := certificate.refusal():
        said.append(f"no certificate is issued for this visit: {REFUSALS[refusal]}")
    return said


def words(interval: Interval | None) -> str:
    """An interval for people."""
    if interval is None:
        return "none"
    ends = [rfc3339(end) if end is not None else "unknown" for end in (interval.lo_us, interval.hi_us)]
    return " to ".join(ends)


def span(interval: Interval | None) -> list[int | None] | None:
    """An interval for programs."""
    return None if interval is None else [interval.lo_us, interval.hi_us]


def _enrolment_for(bundle: Bundle, epoch: int) -> str:
    """The text of the enrolment that counts in an epoch."""
    texts = (bundle.node_pub, *bundle.enrolments)
    earlier = [text for text in texts if Enrolment.parse_text(text).epoch <= epoch]
    return max(earlier, key=lambda text: Enrolment.parse_text(text).epoch, default=bundle.node_pub)


def _signed_by(ack: Ack, keys: CentralKeys) -> bool:
    try:
        Ack.parse(ack.data, keys.keys["ack"])
    except BadMessage:
        return False
    return True


# -- inside --------------------------------------------------------------------------------------------------------


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


def _place_of(records: Sequence[Record], visit: str, linked: Sequence[Record]) -> int:
    """Where the one record that decides the visit stands in `records`. linked: the void ones too."""
    found = [i for i, one in enumerate(records) if _decides(one, visit)]
    if not found and (void := next((one for one in linked if _decides(one, visit)), None)):
        raise Bad(f"visit {visit}: signed after its key was revoked, so it proves nothing", (void.epoch, void.seq))
    if len(found) != 1:
        raise Bad(f"visit {visit}: {len(found)} records decide it, one should")
    return found[0]


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


def _let_in(certificate: Certificate) -> Iterator[str]:
    if certificate.stated is not None:
        at = rfc3339(certificate.stated.at_us, timespec="seconds")
        yield f"central states in its log that it let this node in with these keys, at {at}"


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
