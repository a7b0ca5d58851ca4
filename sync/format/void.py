"""What a revoked key signed behind the place up to which it counts: it is in the chain, and proves nothing."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from sync.format.keyring import Place
from sync.format.notices import KeyRevoked
from sync.format.records import Record, place


@dataclass(frozen=True, slots=True)
class Void:
    """Neighbouring records that are void: `first` to `last` of one epoch. key: the id of their signer's key.

    reason: as central gave it when it revoked the key.
    """

    epoch: int
    first: int
    last: int
    key: str
    reason: str


class Voids:
    """The void records of a chain, met in its order."""

    def __init__(self) -> None:
        self.runs: list[Void] = []
        self.count = 0

    def add(self, record: Record, revocation: KeyRevoked) -> None:
        self.count += 1
        one = Void(record.epoch, record.seq, record.seq, record.key_id, revocation.reason)
        last = self.runs[-1] if self.runs else None
        if last is not None and replace(one, first=last.first) == replace(last, last=last.last + 1):
            self.runs[-1] = replace(last, last=record.seq)
        else:
            self.runs.append(one)


def voided_by(revocations: Iterable[KeyRevoked], key_id: str, at: Place) -> KeyRevoked | None:
    """Which of these makes void what the key signed at (epoch, seq); None where it counts."""
    return next((one for one in revocations if one.key_id == key_id and at > (one.epoch, one.seq)), None)


def hold(runs: Iterable[Void], at: Place) -> bool:
    """Whether the record at (epoch, seq) is one of these."""
    return any(run.epoch == at[0] and run.first <= at[1] <= run.last for run in runs)


def lines(runs: Iterable[Void]) -> Iterator[str]:
    """The same for people, one line an epoch and key."""
    spans = dict[tuple[int, str, str], list[str]]()
    for run in runs:
        listed = spans.setdefault((run.epoch, run.key, run.reason), [])
        listed.append(f"{run.first}..{run.last}" if listed else f"{place(run.epoch, run.first)}..{run.last}")
    for (_epoch, key, reason), listed in spans.items():
        yield f"void: {', '.join(listed)}, signed after key {key} was revoked ({reason})"
