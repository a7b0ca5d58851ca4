"""What a verified bundle proves of its visit, for programs and in words."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from sync.certificate.bundle import Bundle
from sync.certificate.coverage import DAYS, Coverage
from sync.certificate.timeline import Arrival, Interval
from sync.format.canonical import Fields
from sync.format.head_office import Basis
from sync.format.log_proof import LogHead
from sync.format.messages import Ack, Statement
from sync.format.public_keys import CentralKeys, Enrolment
from sync.format.records import Record
from sync.format.signing import PublicKey
from sync.format.source import Source, source_of
from sync.format.source import lines as source_lines
from sync.format.stamp import rfc3339
from sync.format.visit_fields import Settled, number_of, taken_out
from sync.format.void import Void
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

    record: the decision's. seen: the arrival's, where that was decided only when the visitor had consented. before,
    after: its neighbours in the chain, as far as the bundle holds them. settled: what stands of the decision. later:
    corrections and what else was recorded of the visit since. confirmed: the first ack that covers the record, tied to
    it by an unbroken run of hashes; None where central has not confirmed it. log: what central said of its log then;
    log_index: where the head record lies in it. coverage: of the camera. custody: where the node's key lay, as it says
    itself; key: that key. enrolment: the one that counts in the record's epoch. central: the list of its keys. origin:
    what the keys prove of the origin, for people. records: how many were verified. void: those besides that were signed
    after their key was revoked; they link others and prove nothing. stated: central's word, of those in the bundle,
    that it let the node in with the keys of `enrolment`. bases: of the words on corrections that are head office's,
    what each rests on.
    """

    bundle: Bundle
    record: Record
    seen: Record | None
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
    bases: Mapping[bytes, Basis] = field(default_factory=dict)

    @property
    def source(self) -> Source:
        """Where the visitor came from, as registered and as corrected since."""
        return source_of(self.later, self.bases)

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
            "seen_seq": self.seen.seq if self.seen else None,
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
        *_seen(certificate),
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
    taken = ((one, taken_out(one.fields)) for one in certificate.later)
    said += [f"split out at seq {one.seq}: this visit was not of person {whose}" for one, whose in taken if whose]
    said += source_lines(certificate.source)
    if refusal := certificate.refusal():
        said.append(f"no certificate is issued for this visit: {REFUSALS[refusal]}")
    return said


def _seen(certificate: Certificate) -> Iterator[str]:
    if (seen := certificate.seen) is not None:
        yield (
            f"arrival recorded before, seq {seen.seq} of epoch {seen.epoch}: only seen; compared when the visitor had"
            " consented"
        )


def _let_in(certificate: Certificate) -> Iterator[str]:
    if certificate.stated is not None:
        at = rfc3339(certificate.stated.at_us, timespec="seconds")
        yield f"central states in its log that it let this node in with these keys, at {at}"


def words(interval: Interval | None) -> str:
    """An interval for people."""
    if interval is None:
        return "none"
    ends = [rfc3339(end) if end is not None else "unknown" for end in (interval.lo_us, interval.hi_us)]
    return " to ".join(ends)


def span(interval: Interval | None) -> list[int | None] | None:
    """An interval for programs."""
    return None if interval is None else [interval.lo_us, interval.hi_us]
