"""What the verifier says, for programs and in words."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sync.audit.chain_audit import Acks, Audit, Bad
from sync.audit.log_audit import witnessed
from sync.format.canonical import Fields
from sync.format.public_keys import CentralKeys
from sync.format.stamp import from_us, rfc3339
from sync.format.void import Void
from sync.format.void import lines as void_lines
from sync.printable import counted


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the verifier found.

    what: "home", "central", "export", "certificate", "code" or "receipt". lines: for people, in order. first_bad: seq
    of the first bad record, None where all is well or no single record is at fault. why: one line. checked: records
    that verified. end: (epoch, seq, hash in hex) of the last record of a HOME or export whose chain is good, whatever
    central's log is. void: the records of it that were signed after their key was revoked, and prove nothing.
    """

    ok: bool
    what: str
    lines: tuple[str, ...]
    first_bad: int | None
    why: str | None
    checked: int
    end: tuple[int, int, str] | None = None
    void: tuple[Void, ...] = ()

    def fields(self) -> Fields:
        """The same as JSON values."""
        return dataclasses.asdict(self)


def bad_verdict(what: str, head: str, bad: Bad, checked: int = 0) -> Verdict:
    lines = [head, f"bad: {bad}"]
    if bad.at:
        lines.append(f"{checked} verified before it")
    return Verdict(False, what, tuple(lines), bad.at[1] if bad.at else None, bad.why, checked)


def chain_verdict(what: str, head: str, audit: Audit, acks: Acks, origin: str, lists: Sequence[CentralKeys]) -> Verdict:
    """The verdict on a chain that is good in itself; what central said of its log may yet contradict itself."""
    last, log = acks.last(), witnessed(acks.checkpointed, audit.signed_back, lists)
    confirmed, behind = "none", "of a chain without acks"
    if acks.newest:
        at = from_us(acks.newest.central_time_us)
        confirmed = f"{acks.count} verified, the last covers seq {last[1]}, central time {at:%Y-%m-%dT%H:%M:%SZ}"
        behind = f"behind seq {last[1]}, the last ack,"
    lines = (
        head,
        summary(audit),
        *void_lines(audit.voids.runs),
        *_purged(audit, acks),
        origin,
        f"acks: {confirmed}",
        log.text(audit.signed_back),
        f"unanchored: {audit.spans(last) or 'none'}",
        f"records lost from the end {behind} cannot be detected",
    )
    end = (audit.chain.epoch, audit.chain.seq, audit.chain.head_hash.hex()) if audit.rows else None
    void = tuple(audit.voids.runs)
    if log.fault:
        why = f"central's log contradicts what central signed before: {log.fault}"
        return Verdict(False, what, (*lines, f"bad: {why}"), None, why, audit.checked, end, void)
    return Verdict(True, what, lines, None, None, audit.checked, end, void)


def summary(audit: Audit) -> str:
    if not audit.rows:
        return "no records yet"
    return f"{counted(audit.checked, 'record')} verified, {audit.spans()}, head {audit.chain.head_hash.hex()}"


def _purged(audit: Audit, acks: Acks) -> Iterator[str]:
    """What a chain that begins later says of what it no longer holds."""
    if audit.base is not None:
        epoch, upto = audit.base.at
        until = f"seq 1..{upto}" if epoch == 1 else f"everything up to epoch {epoch} seq {upto}"
        when = acks.at_of(audit.base.at)
        at = "" if when is None else f" acknowledged at {rfc3339(when, timespec='seconds')}"
        yield f"{until} purged, central holds them: head {audit.base.head.hex()}{at}"
