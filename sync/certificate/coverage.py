"""How much of the time before a visit its camera really watched: only then does "not seen before" mean anything.

What counts is what heartbeats say: the union of the windows of `node.alive` in which the camera delivered frames, less
the times it was down, covered, moved or another device. The time between a `camera.up` and the next `camera.down`
counts for nothing by itself: a box without power says neither. All of this is in the device's own wall time.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

from sync.format.canonical import Fields
from sync.format.records import Record
from sync.format.stamp import Stamp
from sync.format.visit_fields import number_of

Outage: TypeAlias = Literal["changed", "moved", "frozen", "backlit", "blind", "down"]
"""Another device stood in the camera's place; it looked elsewhere than its reference view; it gave one picture again
and again; faces were unusable against the light; it was dark, covered or showed something else; it gave no picture."""
GapReason: TypeAlias = Literal[Outage, "off", "silent", "before"]
"""Beside these: the node was off or lost its heartbeat; frames were missing for longer than any record explains; the
device did not exist yet."""
Span: TypeAlias = tuple[int, int]  # from, to; microseconds since 1970 by the device's wall clock

OUTAGES: tuple[Outage, ...] = ("changed", "moved", "frozen", "backlit", "blind", "down")
"""As a gap is named where several hold."""
KINDS = (
    "node.boot",
    "node.alive",
    "node.stopped",
    "camera.up",
    "camera.down",
    "camera.blind",
    "camera.moved",
    "camera.changed",
    "place.changed",
    "clock.step",
)
DAYS = 30
DAY_US = 86_400_000_000
HEARTBEAT_US = 600_000_000  # protocol.md: node.alive every 10 minutes
NAMED_US = 60_000_000
"""A shorter gap counts, and is not named: a camera is called down after 5 s of silence and at most once a minute
(camera/outage.py), and a restart of the service takes less than a minute."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch in which nobody would have been seen; wall time of the device, microseconds since 1970."""

    from_us: int
    to_us: int
    reason: GapReason

    @property
    def length_us(self) -> int:
        return self.to_us - self.from_us


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a camera watched between two moments.

    gaps: in order, the named ones; unnamed_us and unnamed: the length and number of the shorter ones. pending_us: the
    end of the span, shorter than a heartbeat, of which no heartbeat has told yet.
    """

    from_us: int
    to_us: int
    covered_us: int
    gaps: tuple[Gap, ...]
    unnamed: int
    unnamed_us: int
    pending_us: int

    @property
    def share(self) -> float:
        """Of the whole span, 0..1."""
        return self.covered_us / max(1, self.to_us - self.from_us)

    def fields(self) -> Fields:
        return {
            "from_us": self.from_us,
            "to_us": self.to_us,
            "covered_us": self.covered_us,
            "gaps": [{"from_us": gap.from_us, "to_us": gap.to_us, "reason": gap.reason} for gap in self.gaps],
            "unnamed": self.unnamed,
            "unnamed_us": self.unnamed_us,
            "pending_us": self.pending_us,
        }


def coverage(records: Iterable[Record], camera: str, until_us: int, born_us: int | None) -> Coverage:
    """Judge the DAYS before `until_us`.

    records: of KINDS, in chain order, verified. born_us: when the device began, None where that is further back than
    the span or not known.
    """
    listed = list(records)
    from_us = until_us - DAYS * DAY_US
    windows, silent = _windows(listed, camera)
    told = list(_outages(listed, camera, until_us))
    outages = {why: _union((one, two) for one, two, reason in told if reason == why) for why in OUTAGES}
    silent = _union(silent)
    out = _union((one, two) for one, two, _ in told)
    watched = _within(_less(_union(windows), out), from_us, until_us)
    missing = _less([(from_us, until_us)], watched)
    pending_us = 0
    if missing and watched and missing[-1][1] == until_us and missing[-1][0] == watched[-1][1]:
        tail = missing[-1]
        if tail[1] - tail[0] <= HEARTBEAT_US + NAMED_US and not any(_overlap(tail, spans) for spans in (out, silent)):
            pending_us = tail[1] - tail[0]
            missing.pop()
    gaps: list[Gap] = []
    for span in missing:
        if born_us is not None and span[0] < born_us:
            gaps.append(Gap(span[0], min(born_us, span[1]), "before"))
            span = (min(born_us, span[1]), span[1])
        for piece in _pieces(span, [*outages.values(), silent]):
            gap = Gap(*piece, _reason(piece, outages, silent))
            if gaps and gaps[-1].reason == gap.reason and gaps[-1].to_us == gap.from_us:
                gap = Gap(gaps.pop().from_us, gap.to_us, gap.reason)
            gaps.append(gap)
    named = tuple(gap for gap in gaps if gap.length_us >= NAMED_US)
    short = [gap for gap in gaps if 0 < gap.length_us < NAMED_US]
    covered_us = sum(two - one for one, two in watched)
    return Coverage(
        from_us, until_us, covered_us, named, len(short), sum(gap.length_us for gap in short), pending_us
    )  # fmt: skip


def _windows(records: Sequence[Record], camera: str) -> tuple[list[Span], list[Span]]:
    """The windows in which the camera watched, and those in which frames were missing that no record explains.

    A window is no longer than the boot clock says since the record before it, whatever the wall clock did meanwhile.
    """
    good: list[Span] = []
    silent: list[Span] = []
    told = _union((one, two) for one, two, _ in _outages(records, camera, 2**62))
    before: Stamp | None = None
    for record in records:
        stamp = record.stamp
        if record.kind == "node.alive" and (vitals := _vitals(record, camera)) is not None:
            since_us, until_us = number_of(record.fields, "since_us"), number_of(record.fields, "until_us")
            if since_us is not None and until_us is not None:
                if before is not None and before.boot_id == stamp.boot_id:
                    since_us = max(since_us, until_us - (stamp.boot_us - before.boot_us))
                frames, gap_us = number_of(vitals, "frames") or 0, number_of(vitals, "longest_gap_us") or 0
                window = (since_us, until_us)
                longest_told_us = max((two - one for one, two in _within(told, *window)), default=0)
                if since_us < until_us and frames > 0:
                    (good if gap_us <= longest_told_us + NAMED_US else silent).append(window)
        if record.kind in ("node.boot", "node.alive"):
            before = stamp
    return good, silent


def _vitals(record: Record, camera: str) -> Fields | None:
    cameras = record.fields.get("cameras")
    listed = cameras if isinstance(cameras, list) else []
    return next((one for one in listed if isinstance(one, dict) and one.get("camera") == camera), None)


def _outages(records: Sequence[Record], camera: str, end_us: int) -> Iterator[tuple[int, int, Outage]]:
    """When the camera gave no picture, one of nothing, or one of another place.

    After a boot it gives none until it is up, and whatever lasts is said again; only another device stays one until the
    place is attested to.
    """
    since: dict[
        str, tuple[int, Outage]
    ] = {}  # by what ends it: the next word of the picture, of the place, of the device

    def end(topic: str, at_us: int) -> Iterator[tuple[int, int, Outage]]:
        if topic in since:
            began_us, reason = since.pop(topic)
            yield began_us, max(began_us, at_us), reason

    for record in records:
        at_us = number_of(record.fields, "at_us")
        if record.kind == "node.boot":
            yield from end("moved", record.stamp.wall_us)
            since["picture"] = (record.stamp.wall_us, "down")
        elif record.kind == "place.changed" and record.fields.get("reason") == "attested":
            yield from end("changed", record.stamp.wall_us)
        if record.fields.get("camera") != camera or at_us is None:
            continue
        match record.kind:
            case "camera.up":
                yield from end("picture", at_us)
            case "camera.down" | "camera.blind":
                yield from end("picture", at_us)
                since["picture"] = (at_us, "down" if record.kind == "camera.down" else _blind(record))
            case "camera.moved":
                yield from end("moved", at_us)
                if record.fields.get("state") != "clear":
                    since["moved"] = (at_us, "moved")
            case "camera.changed":
                since.setdefault("changed", (at_us, "changed"))
    for began_us, reason in since.values():
        if began_us < end_us:
            yield began_us, end_us, reason


def _blind(record: Record) -> Outage:
    match record.fields.get("reason"):
        case "frozen":
            return "frozen"
        case "backlit":
            return "backlit"
        case _:
            return "blind"


def _reason(piece: Span, outages: Mapping[Outage, list[Span]], silent: list[Span]) -> GapReason:
    for why in OUTAGES:
        if _overlap(piece, outages[why]):
            return why
    return "silent" if _overlap(piece, silent) else "off"


# -- spans ---------------------------------------------------------------------------------------------------------


def _pieces(span: Span, cuts: Iterable[list[Span]]) -> list[Span]:
    """A span cut wherever one of these begins or ends."""
    edges = sorted({*span, *(end for spans in cuts for part in _within(spans, *span) for end in part)})
    return list(pairwise(edges))


def _union(spans: Iterable[Span]) -> list[Span]:
    joined: list[Span] = []
    for one, two in sorted(span for span in spans if span[0] < span[1]):
        if joined and one <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(two, joined[-1][1]))
        else:
            joined.append((one, two))
    return joined


def _within(spans: Sequence[Span], from_us: int, to_us: int) -> list[Span]:
    """The parts of `spans` (in order and disjoint) between two moments."""
    at = bisect_right(spans, from_us, key=lambda span: span[1])
    found: list[Span] = []
    while at < len(spans) and spans[at][0] < to_us:
        found.append((max(spans[at][0], from_us), min(spans[at][1], to_us)))
        at += 1
    return found


def _overlap(span: Span, others: Sequence[Span]) -> bool:
    """Whether a span shares anything with `others`, in order and disjoint."""
    return bool(_within(others, *span))


def _less(spans: list[Span], taken: list[Span]) -> list[Span]:
    """What is left of `spans`; both in order and disjoint."""
    left: list[Span] = []
    for one, two in spans:
        for a, b in _within(taken, one, two):
            if a > one:
                left.append((one, a))
            one = b
        if one < two:
            left.append((one, two))
    return left
