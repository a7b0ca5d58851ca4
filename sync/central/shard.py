"""Which nodes are one ingest worker's own, where several share a store."""

import hashlib
from dataclasses import dataclass

from sync import SyncError

SLOTS = 256


@dataclass(frozen=True, slots=True)
class Shard:
    """Shard `number` (from 1) of `count`.

    A node's slot is the first byte of SHA-256 over its name; slot s belongs to shard (s mod count) + 1. A worker holds
    a lock on each of its slots, so that no node has two writers whatever counts the workers were started with.
    """

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read `I/N`, 1 <= I <= N <= 256; raises SyncError."""
        number, slash, count = text.partition("/")
        if slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count) <= SLOTS:
            return cls(int(number), int(count))
        raise SyncError(f"shard {text!r}: expected I/N, such as 2/4, with N at most {SLOTS}")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def slots(self) -> range:
        return range(self.number - 1, SLOTS, self.count)

    def has(self, node_id: str) -> bool:
        return hashlib.sha256(node_id.encode()).digest()[0] in self.slots


WHOLE = Shard()
