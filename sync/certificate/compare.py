"""Who came first: two visits held against each other by what is proven of their times, never by a clock's bare word."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from sync.certificate.certified import Certificate, span, words
from sync.certificate.timeline import SLEW_US, UNSEEN_STEP_US, Interval
from sync.format.canonical import Fields
from sync.format.stamp import rfc3339
from sync.format.visit_fields import number_of

Answer: TypeAlias = Literal["proven", "likely", "undecidable"]
Reason: TypeAlias = Literal[
    "one_clock", "restart", "bounds", "two_centrals", "unconfirmed", "claims", "overlap", "unknown"
]
"""one_clock: one uninterrupted boot clock saw both. restart: one was recorded before the device was started again, and
the other came after that. bounds: central's bounds do not touch. two_centrals: they do not
touch, but are two centrals'. unconfirmed: one of these tells them apart, but central has not confirmed both: whoever
holds the node's key could have written one of them today, behind whatever record. claims: only the nodes' own
synchronised clocks tell them apart. overlap: the intervals touch. unknown: one of them has no bound on the side that
counts."""

REASONS: dict[Reason, tuple[str, str]] = {
    "one_clock": (
        "同一设备在同一次开机中先后看到两人，依据无法人为调整的开机计时",
        "one device saw both by one uninterrupted clock that nobody can set",
    ),
    "restart": (
        "一方的记录写在设备重启之前，另一方在重启之后才到",
        "one had been recorded when the device was started again, the other came after that",
    ),
    "bounds": (
        "中心签名的时间界限互不重叠",
        "the bounds signed by central do not touch",
    ),
    "two_centrals": (
        "时间界限互不重叠，但出自两个不同的中心，两者时钟未经互相核对",
        "the bounds do not touch, but two centrals signed them, whose clocks nobody has compared",
    ),
    "unconfirmed": (
        "至少一方的记录尚未经中心确认，仅由设备自身担保",
        "central has not confirmed the record of at least one of them, so only the device vouches for it",
    ),
    "claims": (
        "仅凭设备自身已同步的时钟可以区分，中心签名的界限有重叠",
        "only the devices' own synchronised clocks tell them apart; the bounds signed by central touch",
    ),
    "overlap": ("两个时间区间有重叠", "the two intervals touch"),
    "unknown": (
        "至少一方缺少中心确认的时间界限",
        "at least one of them has no bound confirmed by central on the side that counts",
    ),
}
ANSWERS: dict[Answer, tuple[str, str]] = {
    "proven": ("已证明", "proven"),
    "likely": ("很可能", "likely"),
    "undecidable": ("无法判定", "undecidable"),
}
_ONE_CLOCK_US = SLEW_US + 2 * UNSEEN_STEP_US  # each first frame is tied to the boot clock through the wall clock


@dataclass(frozen=True, slots=True)
class Comparison:
    """The answer for two arrivals. first: the index of who came first, None where that is undecidable.

    records_first: the index of whose record stands earlier in their one chain, proven by its hashes whatever any clock
    says; None where they stand in two chains, or central has not confirmed that it is one.
    """

    visits: tuple[Certificate, Certificate]
    answer: Answer
    first: Literal[0, 1] | None
    reason: Reason
    records_first: Literal[0, 1] | None

    def fields(self) -> Fields:
        """For programs; times are microseconds since 1970 UTC."""
        zh, en = REASONS[self.reason]
        fields: Fields = {
            "answer": self.answer,
            "reason": self.reason,
            "text": {"zh": zh, "en": en},
            "visits": [_visit(one) for one in self.visits],
        }
        if self.first is not None:
            fields["first"] = self.visits[self.first].visit
        if self.records_first is not None:
            fields["records_in_one_chain"] = True
            fields["first_recorded"] = self.visits[self.records_first].visit
        return fields

    def lines(self) -> list[str]:
        """For people, Chinese and English."""
        zh, en = REASONS[self.reason]
        said_zh, said_en = ANSWERS[self.answer]
        if self.first is None:
            said = [f"谁先到：{said_zh}（{zh}）", f"who arrived first: {said_en} ({en})"]
        else:
            visit = self.visits[self.first].visit
            said = [f"先到：{visit}，{said_zh}（{zh}）", f"arrived first: {visit}, {said_en} ({en})"]
        for one in self.visits:
            moment = one.arrival.moment
            said += [
                f"{one.visit}  node {one.record.node_id}, seq {one.record.seq}, time grade {moment.grade}",
                f"  中心界限 central's bounds   {words(moment.carried)}",
                f"  设备声明 device's claim     {words(moment.claimed)}",
                f"  设备时钟 device's wall      {rfc3339(number_of(one.fields, 'arrived_us') or 0)}",
            ]
        said.append("held against the keys found beside the visits; whose they are is shown by firstvisit verify")
        if self.records_first is not None:
            visit = self.visits[self.records_first].visit
            said += [
                f"记录顺序：{visit} 的记录在同一条链上排在前面，由哈希证明，与时钟无关；到达顺序是另一个问题",
                f"order of records: that of {visit} comes first in their one chain, proven by its hashes whatever any"
                " clock says; the order of arrivals is another question",
            ]
        return said


def compare(one: Certificate, two: Certificate) -> Comparison:
    """Say who arrived first; both verified, of one node or two."""
    same_chain = one.record.node_id == two.record.node_id and one.enrolment.keys == two.enrolment.keys
    places = [(each.record.epoch, each.record.seq) for each in (one, two)]
    first_recorded: Literal[0, 1] | None = None
    if same_chain and places[0] != places[1]:
        first_recorded = 0 if places[0] < places[1] else 1
    one_central = one.central.root == two.central.root
    # that two files show one chain is central's word: each of them could be of a chain of its own
    confirmed = one.confirmed is not None and two.confirmed is not None
    records_first = first_recorded if confirmed and one_central else None

    def told(answer: Answer, first: Literal[0, 1] | None, reason: Reason) -> Comparison:
        if answer == "proven" and not confirmed:
            answer, reason = "likely", "unconfirmed"
        return Comparison((one, two), answer, first, reason, records_first)

    if same_chain and one_central and (earlier := _by_one_clock(one, two)) is not None:
        return told("proven", earlier, "one_clock")
    if one_central and first_recorded is not None and _restarted_between(one, two):
        return told("proven", first_recorded, "restart")
    bounds = one.arrival.moment.carried, two.arrival.moment.carried
    if (earlier := _earlier(*bounds)) is not None:
        return told("proven", earlier, "bounds") if one_central else told("likely", earlier, "two_centrals")
    whole = one.arrival.moment.whole, two.arrival.moment.whole
    if (earlier := _earlier(*whole)) is not None:
        return told("likely", earlier, "claims")
    unknown = any(interval.width_us is None for interval in whole)
    return told("undecidable", None, "unknown" if unknown else "overlap")


def _by_one_clock(one: Certificate, two: Certificate) -> Literal[0, 1] | None:
    """Who came first by a boot clock that ran on through both, None where none did or it is too close to say."""
    stamps = one.record.stamp, two.record.stamp
    readings = one.arrival.boot_us, two.arrival.boot_us
    if stamps[0].boot_id != stamps[1].boot_id or readings[0] is None or readings[1] is None:
        return None
    ordered = (one.record.epoch, one.record.seq) < (two.record.epoch, two.record.seq)
    if ordered != (stamps[0].boot_us <= stamps[1].boot_us):
        return None  # the machine was set back to an earlier moment of the same boot
    spans = [Interval(early, late) for early, late in (readings[0], readings[1])]
    apart = [Interval(s.lo_us, (s.hi_us or 0) + _ONE_CLOCK_US) for s in spans]
    if apart[0].before(spans[1]):
        return 0
    return 1 if apart[1].before(spans[0]) else None


def _restarted_between(one: Certificate, two: Certificate) -> bool:
    """Whether two records of one chain lie in two boots, the later one's first frame in its own."""
    later = max(one, two, key=lambda each: (each.record.epoch, each.record.seq))
    return one.record.stamp.boot_id != two.record.stamp.boot_id and later.arrival.boot_us is not None


def _earlier(one: Interval, two: Interval) -> Literal[0, 1] | None:
    if one.before(two):
        return 0
    return 1 if two.before(one) else None


def _visit(certificate: Certificate) -> Fields:
    moment = certificate.arrival.moment
    fields: Fields = {
        "visit": certificate.visit,
        "node": certificate.record.node_id,
        "central": certificate.central.central_id,
        "epoch": certificate.record.epoch,
        "seq": certificate.record.seq,
        "hash": certificate.record.hash.hex(),
        "decision": certificate.settled.decision,
        "time_grade": moment.grade,
        "bounds_us": span(moment.carried),
        "arrived_us": number_of(certificate.fields, "arrived_us"),
        "confirmed": certificate.confirmed is not None,
    }
    if moment.claimed is not None:
        fields["claimed_us"] = span(moment.claimed)
    return fields
