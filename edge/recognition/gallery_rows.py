"""Where the gallery keeps its templates: one row each in blocks that never move, a ring of rows a person.

At a million templates of 128 numbers the vectors take 512 MB and everything else here 57: ids lie in flat arrays, for a
Python object each would take as much again. A row is written, moved and zeroed in place, so that no copy of an erased
vector stays behind in memory that was given back. # measured: edge/README.md
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

BLOCK_BITS = 15
BLOCK_ROWS = 1 << BLOCK_BITS
PERSON_ID_BYTES = 24  # of p- and 20 hexadecimal digits 22 are used
_OFFSET = BLOCK_ROWS - 1


class Rows:
    """Templates by row number, 0 and up without gaps; the last row takes the place of one that is removed.

    Adding, removing, and finding a person's rows take the same time however many rows there are.
    """

    def __init__(self) -> None:
        self._count = 0
        self._people = 0
        self._blocks: list[_Block] = []
        self._head_of = _Heads(self.person_id)

    def __len__(self) -> int:
        return self._count

    @property
    def people(self) -> int:
        """How many people have at least one row."""
        return self._people

    def of(self, person_id: str) -> list[int]:
        """A person's rows, none where they are unknown."""
        head = self._head_of.find(person_id)
        if head < 0:
            return []
        rows, row = [head], self._next(head)
        while row != head:
            rows.append(row)
            row = self._next(row)
        return rows

    def __contains__(self, person_id: str) -> bool:
        return self._head_of.find(person_id) >= 0

    def person_id(self, row: int) -> str:
        """Whose row this is."""
        start = (row & _OFFSET) * PERSON_ID_BYTES
        owners = self._blocks[row >> BLOCK_BITS].owners
        return owners[start : start + PERSON_ID_BYTES].rstrip(b"\0").decode()

    def template_id(self, row: int) -> int:
        """The vault's number of this template."""
        return self._blocks[row >> BLOCK_BITS].template_ids[row & _OFFSET]

    def since_us(self, row: int) -> int:
        """Since when the person of this row is known."""
        return self._blocks[row >> BLOCK_BITS].since_us[row & _OFFSET]

    def vector(self, row: int) -> NDArray[np.float32]:
        """The (D,) float32 vector of a row, as it lies there."""
        vector: NDArray[np.float32] = self._blocks[row >> BLOCK_BITS].vectors[row & _OFFSET]
        return vector

    def vectors(self, rows: Sequence[int]) -> NDArray[np.float32]:
        """A copy (len(rows), D) of some rows."""
        return np.stack([self.vector(row) for row in rows])

    def scores(self, probe: NDArray[np.float32]) -> NDArray[np.float32]:
        """The similarity (rows,) of every row to `probe` (D,) float32."""
        if self._count <= BLOCK_ROWS:  # one block: BLAS straight into the answer
            return self._blocks[0].vectors[: self._count] @ probe if self._count else np.empty(0, np.float32)
        scores = np.empty(self._count, np.float32)
        for start in range(0, self._count, BLOCK_ROWS):
            part = scores[start : start + BLOCK_ROWS]
            np.matmul(self._blocks[start >> BLOCK_BITS].vectors[: len(part)], probe, out=part)
        return scores

    def add(self, template_id: int, person_id: str, since_us: int, vector: NDArray[np.float32]) -> None:
        """Take in a template; raises ValueError for a person's id of more than PERSON_ID_BYTES bytes."""
        owner = person_id.encode()
        if not 0 < len(owner) <= PERSON_ID_BYTES:
            raise ValueError(f"person {person_id!r}: an id of 1 to {PERSON_ID_BYTES} bytes was expected")
        row = self._count
        if row >> BLOCK_BITS == len(self._blocks):
            self._blocks.append(_Block(len(vector)))
        block, offset = self._blocks[row >> BLOCK_BITS], row & _OFFSET
        block.vectors[offset] = vector
        block.template_ids[offset], block.since_us[offset] = template_id, since_us
        block.owners[offset * PERSON_ID_BYTES : (offset + 1) * PERSON_ID_BYTES] = owner.ljust(PERSON_ID_BYTES, b"\0")
        self._count += 1
        head = self._head_of.find(person_id)
        if head < 0:
            self._people += 1
            self._head_of.put(person_id, row)
            self._link(row, row)
        else:
            after = self._next(head)
            self._link(head, row)
            self._link(row, after)

    def remove(self, row: int) -> None:
        """Drop a row and zero what it held."""
        person_id, after = self.person_id(row), self._next(row)
        if after == row:
            self._people -= 1
            self._head_of.discard(person_id)
        else:
            self._link(self._before(row), after)
            if self._head_of.find(person_id) == row:
                self._head_of.put(person_id, after)
        last = self._count - 1
        if row != last:
            self._move(last, row)
        block, offset = self._blocks[last >> BLOCK_BITS], last & _OFFSET
        block.vectors[offset] = 0.0
        block.owners[offset * PERSON_ID_BYTES : (offset + 1) * PERSON_ID_BYTES] = bytes(PERSON_ID_BYTES)
        self._count = last
        if last & _OFFSET == 0:
            self._blocks.pop()

    def clear(self) -> None:
        """Drop and zero every row."""
        for block in self._blocks:
            block.vectors[:] = 0.0
        self._count = self._people = 0
        self._blocks = []
        self._head_of = _Heads(self.person_id)

    def _move(self, old: int, new: int) -> None:
        person_id, before, after = self.person_id(old), self._before(old), self._next(old)
        source, target = self._blocks[old >> BLOCK_BITS], self._blocks[new >> BLOCK_BITS]
        at, to = old & _OFFSET, new & _OFFSET
        target.vectors[to] = source.vectors[at]
        target.template_ids[to], target.since_us[to] = source.template_ids[at], source.since_us[at]
        target.owners[to * PERSON_ID_BYTES : (to + 1) * PERSON_ID_BYTES] = source.owners[
            at * PERSON_ID_BYTES : (at + 1) * PERSON_ID_BYTES
        ]
        if self._head_of.find(person_id) == old:
            self._head_of.put(person_id, new)
        if after == old:
            self._link(new, new)
        else:
            self._link(before, new)
            self._link(new, after)

    def _next(self, row: int) -> int:
        return self._blocks[row >> BLOCK_BITS].next_rows[row & _OFFSET]

    def _before(self, row: int) -> int:
        return self._blocks[row >> BLOCK_BITS].rows_before[row & _OFFSET]

    def _link(self, row: int, after: int) -> None:
        self._blocks[row >> BLOCK_BITS].next_rows[row & _OFFSET] = after
        self._blocks[after >> BLOCK_BITS].rows_before[after & _OFFSET] = row


class _Block:
    """BLOCK_ROWS rows; pages of it that no row has reached yet take no memory."""

    __slots__ = ("next_rows", "owners", "rows_before", "since_us", "template_ids", "vectors")

    def __init__(self, dim: int) -> None:
        self.vectors = np.zeros((BLOCK_ROWS, dim), np.float32)
        self.template_ids = array("q", bytes(8 * BLOCK_ROWS))
        self.since_us = array("q", bytes(8 * BLOCK_ROWS))
        self.next_rows = array("i", bytes(4 * BLOCK_ROWS))
        self.rows_before = array("i", bytes(4 * BLOCK_ROWS))
        self.owners = bytearray(PERSON_ID_BYTES * BLOCK_ROWS)


class _Heads:
    """One row of each person: open addressing with linear probing, the ids themselves read where the row keeps them.

    In shards, so that outgrowing one never makes the caller wait for all people to be hashed anew.
    """

    SHARD_BITS = 6

    def __init__(self, person_id: Callable[[int], str]) -> None:
        self._person_id = person_id
        shards = 1 << self.SHARD_BITS
        self._slots = [array("i", [-1] * 8) for _ in range(shards)]
        self._used = [0] * shards

    def find(self, person_id: str) -> int:
        """A row of this person, -1 where there is none."""
        shard, slot = self._place(person_id)
        return self._slots[shard][slot]

    def put(self, person_id: str, row: int) -> None:
        """Name a row of this person, instead of the one named before."""
        shard, slot = self._place(person_id)
        slots = self._slots[shard]
        if slots[slot] < 0:
            if 3 * (self._used[shard] + 1) > 2 * len(slots):
                self._widen(shard)
                shard, slot = self._place(person_id)
                slots = self._slots[shard]
            self._used[shard] += 1
        slots[slot] = row

    def discard(self, person_id: str) -> None:
        """Forget a person whose rows are all still readable."""
        shard, hole = self._place(person_id)
        slots = self._slots[shard]
        if slots[hole] < 0:
            return
        self._used[shard] -= 1
        mask, slot = len(slots) - 1, hole
        while True:  # whoever was pushed past the hole moves up, Knuth 6.4 R
            slots[hole] = -1
            while True:
                slot = (slot + 1) & mask
                if slots[slot] < 0:
                    return
                home = (hash(self._person_id(slots[slot])) >> self.SHARD_BITS) & mask
                if (slot - home) & mask >= (slot - hole) & mask:
                    break
            slots[hole], hole = slots[slot], slot

    def _place(self, person_id: str) -> tuple[int, int]:
        """Shard and slot where this person is, or would be put."""
        hashed = hash(person_id)
        shard = hashed & ((1 << self.SHARD_BITS) - 1)
        slots = self._slots[shard]
        mask = len(slots) - 1
        slot = (hashed >> self.SHARD_BITS) & mask
        while (row := slots[slot]) >= 0 and self._person_id(row) != person_id:
            slot = (slot + 1) & mask
        return shard, slot

    def _widen(self, shard: int) -> None:
        rows = [row for row in self._slots[shard] if row >= 0]
        self._slots[shard] = array("i", [-1] * (2 * len(self._slots[shard])))
        for row in rows:
            _, slot = self._place(self._person_id(row))
            self._slots[shard][slot] = row
