"""What a node attempted, showed and was told is held: written by its own process, read by the checker.

The file lies outside everything a fault reaches. Each line is one write(2): a killed process loses at most the line it
had not begun. Lines: `A ns epoch seq hash kind` before the commit, `S ns epoch seq hash` once the record has been
returned to its caller, `K ns epoch upto hash` once an ack has been accepted, `E ns word text` for what else is said.
ns: the machine's true time, whatever the process under test believes.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

_TAIL_BYTES = 4096
Place: TypeAlias = tuple[int, int]
"""(epoch, seq)."""


class Journal:
    """The writing end, open for the life of a process."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def attempted(self, epoch: int, seq: int, digest: bytes, kind: str) -> None:
        self._write("A", f"{epoch} {seq} {digest.hex()} {kind}")

    def shown(self, epoch: int, seq: int, digest: bytes) -> None:
        self._write("S", f"{epoch} {seq} {digest.hex()}")

    def acked(self, epoch: int, upto: int, digest: bytes) -> None:
        self._write("K", f"{epoch} {upto} {digest.hex()}")

    def said(self, word: str, text: str) -> None:
        self._write("E", f"{word} {' '.join(text.split())}")

    def _write(self, what: str, rest: str) -> None:
        os.write(self._handle, f"{what} {time.time_ns()} {rest}\n".encode())


@dataclass(frozen=True, slots=True)
class Account:
    """A journal as a whole: places and hashes attempted, shown and acknowledged, each with when (true ns)."""

    attempted: dict[tuple[Place, str], int]
    shown: dict[tuple[Place, str], int]
    acked: dict[tuple[Place, str], int]
    said: list[tuple[int, str, str]]

    @property
    def acked_upto(self) -> Place:
        return max((place for place, _ in self.acked), default=(0, 0))

    def longest_silence_s(self) -> float:
        """The longest time between two acks."""
        times = sorted(self.acked.values())
        return max(((later - earlier) / 1e9 for earlier, later in pairwise(times)), default=0.0)

    def latencies_s(self, since_ns: int = 0) -> list[float]:
        """From a record being shown to the first ack that covers it, for each shown since and acknowledged."""
        waiting = sorted((place, at_ns) for (place, _), at_ns in self.shown.items() if at_ns >= since_ns)
        acks = sorted((at_ns, place) for (place, _), at_ns in self.acked.items())
        found, covered = [], 0
        for ack_ns, upto in acks:
            while covered < len(waiting) and waiting[covered][0] <= upto:
                found.append(max(0.0, (ack_ns - waiting[covered][1]) / 1e9))
                covered += 1
        return found


def read(path: Path) -> Account:
    """Read a journal; of an ack given twice the first counts."""
    account = Account({}, {}, {}, [])
    for line in _lines(path):
        what, at_ns, rest = line[0], int(line[1]), line[2:]
        if what == "E":
            account.said.append((at_ns, rest[0], " ".join(rest[1:])))
            continue
        key = ((int(rest[0]), int(rest[1])), rest[2])
        kept = {"A": account.attempted, "S": account.shown, "K": account.acked}[what]
        kept.setdefault(key, at_ns)
    return account


def last_shown_ns(path: Path) -> int:
    """When the newest record was shown, out of the journal's end; 0 where none of the last lines says so."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        lines = file.read().split(b"\n")[:-1]
    return next((int(line.split(b" ")[1]) for line in reversed(lines) if line.startswith(b"S ")), 0)


def _lines(path: Path) -> Iterator[list[str]]:
    if path.exists():
        text = path.read_text()
        for line in text[: text.rfind("\n") + 1].splitlines():
            yield line.split(" ")


def quantile(values: list[float], share: float) -> float:
    """The value that `share` of them do not exceed (nearest rank); 0 of none."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else 0.0
