"""The Merkle tree of RFC 6962 over a list that only grows: its hashes, its roots, and proofs made and checked.

A tree is kept as tiles: tile (level, number) holds, 32 bytes each, the roots of the perfect subtrees of 256^level
leaves from the (256 * number)th on, at most 256 of them; the last tile of a level holds fewer. Whatever a proof needs
is recomputed from at most one tile a level.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sync import SyncError

HASH_BYTES = 32
TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
EMPTY_ROOT = hashlib.sha256(b"").digest()  # RFC 6962 2.1: the hash of an empty list
MAX_PROOF_HASHES = 64  # of an inclusion; a consistency has at most twice as many. Sizes are under 2^53
_TILE_BYTES = TILE_WIDTH * HASH_BYTES

TileReader: TypeAlias = Callable[[int, int], bytes]
"""(level, number) to a tile's hashes, one behind the other; of the last tile of a level at least those that belong to
the size asked about."""


class MerkleError(SyncError):
    """A place outside the tree, or a tile that is missing or too short for it."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile as it is stored; data: up to 256 hashes."""

    level: int
    number: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Edge:
    """The right edge of a tree of `size` leaves: what must be known to append to it and to say its root.

    partial: by level, the hashes of its last tile, empty where the last one is full.
    """

    size: int = 0
    partial: tuple[bytes, ...] = ()

    @classmethod
    def read(cls, tiles: TileReader, size: int) -> "Edge":
        """Read the right edge of a stored tree; raises MerkleError where a tile is missing or too short."""
        partial = []
        level = 0
        while count := size >> (TILE_HEIGHT * level):
            held = count % TILE_WIDTH
            partial.append(_span(tiles, level, count // TILE_WIDTH, 0, held) if held else b"")
            level += 1
        return cls(size, tuple(partial))

    def grown(self, leaves: Sequence[bytes]) -> tuple["Edge", list[Tile]]:
        """Append leaf hashes; returns the edge then, and every tile that is new or longer than before."""
        partial, tiles = list(self.partial), list[Tile]()
        fresh, level = b"".join(leaves), 0
        while fresh:
            if level == len(partial):
                partial.append(b"")
            number = self.size >> TILE_HEIGHT * (level + 1)
            run, above = partial[level] + fresh, list[bytes]()
            full = len(run) - len(run) % _TILE_BYTES
            for at in range(0, full, _TILE_BYTES):
                tiles.append(Tile(level, number, run[at : at + _TILE_BYTES]))
                above.append(_fold(tiles[-1].data))
                number += 1
            if full < len(run):
                tiles.append(Tile(level, number, run[full:]))
            partial[level] = run[full:]
            fresh, level = b"".join(above), level + 1
        return Edge(self.size + len(leaves), tuple(partial)), tiles

    def root(self) -> bytes:
        """The root of the tree, 32 bytes."""
        return root(lambda level, _number: self.partial[level], self.size)


def leaf_hash(data: bytes) -> bytes:
    """RFC 6962 2.1: the hash of a list of one entry."""
    return hashlib.sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 6962 2.1: the hash over two subtrees."""
    return hashlib.sha256(b"\1" + left + right).digest()


# -- made from the tiles ---------------------------------------------------------------------------------------


def root(tiles: TileReader, size: int) -> bytes:
    """Return the root over the first `size` leaves; raises MerkleError where a tile is missing or too short."""
    return _range(tiles, 0, size) if size else EMPTY_ROOT


def inclusion_proof(tiles: TileReader, index: int, size: int) -> tuple[bytes, ...]:
    """Return PATH(index, D[size]) of RFC 6962 2.1.1, the nearest hash first; raises MerkleError."""
    if not 0 <= index < size:
        raise MerkleError(f"leaf {index} is not among the first {size}")
    proof, start, end = list[bytes](), 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append(_range(tiles, middle, end))
            end = middle
        else:
            proof.append(_range(tiles, start, middle))
            start = middle
    return tuple(reversed(proof))


def consistency_proof(tiles: TileReader, first: int, second: int) -> tuple[bytes, ...]:
    """Return PROOF(first, D[second]) of RFC 6962 2.1.2, empty where both are one size; raises MerkleError."""
    if not 0 < first <= second:
        raise MerkleError(f"there is no proof from size {first} to size {second}")
    proof, start, end = list[bytes](), 0, second
    while end != first:
        middle = start + _split(end - start)
        if first <= middle:
            proof.append(_range(tiles, middle, end))
            end = middle
        else:
            proof.append(_range(tiles, start, middle))
            start = middle
    if start:  # else the subtree is the whole first tree, whose root the verifier has
        proof.append(_range(tiles, start, end))
    return tuple(reversed(proof))


# -- checked ---------------------------------------------------------------------------------------------------


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root_hash: bytes) -> bool:
    """Whether `proof` shows leaf hash `leaf` at `index` under the root of `size` leaves (RFC 9162 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    place, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            found = node_hash(sibling, found)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and found == root_hash


def verify_consistency(first: int, second: int, proof: Sequence[bytes], first_root: bytes, second_root: bytes) -> bool:
    """Whether `proof` shows that the tree of `second` leaves begins with that of `first` (RFC 9162 2.1.4.2)."""
    if not 0 < first <= second:
        return False
    if first == second:
        return not proof and first_root == second_root
    path = list(proof)
    if first & (first - 1) == 0:
        path.insert(0, first_root)
    if not path:
        return False
    place, last = first - 1, second - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and old == first_root and new == second_root


# -- inside ----------------------------------------------------------------------------------------------------


def _split(count: int) -> int:
    """The largest power of two smaller than `count` (RFC 6962 2.1)."""
    return 1 << (count - 1).bit_length() - 1


def _range(tiles: TileReader, start: int, end: int) -> bytes:
    """MTH(D[start:end]), where `start` is a multiple of a power of two that is not smaller than the length."""
    count = end - start
    if count & (count - 1) == 0:
        level, place = divmod(count.bit_length() - 1, TILE_HEIGHT)
        first = start >> TILE_HEIGHT * level
        return _fold(_span(tiles, level, first // TILE_WIDTH, first % TILE_WIDTH, 1 << place))
    middle = start + _split(count)
    return node_hash(_range(tiles, start, middle), _range(tiles, middle, end))


def _span(tiles: TileReader, level: int, number: int, first: int, count: int) -> bytes:
    data = tiles(level, number)[first * HASH_BYTES : (first + count) * HASH_BYTES]
    if len(data) != count * HASH_BYTES:
        raise MerkleError(f"tile {number} of level {level} has fewer than {first + count} hashes")
    return data


def _fold(data: bytes) -> bytes:
    """The root over 1, 2, 4 … 256 hashes."""
    sha256 = hashlib.sha256
    while len(data) > HASH_BYTES:
        data = b"".join(
            sha256(b"\1" + data[at : at + 2 * HASH_BYTES]).digest() for at in range(0, len(data), 2 * HASH_BYTES)
        )
    return data
