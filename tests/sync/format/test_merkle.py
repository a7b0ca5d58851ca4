import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync.format.merkle import (
    EMPTY_ROOT,
    Edge,
    MerkleError,
    TileReader,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root,
    verify_consistency,
    verify_inclusion,
)

# The eight entries and roots with which the implementations of Certificate Transparency test RFC 6962.
ENTRIES = [
    bytes.fromhex(digits)
    for digits in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
PATHS = {
    (0, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (2, 3): ("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",),
    (0, 1): (),
}


def naive_root(leaves: list[bytes]) -> bytes:
    """MTH, word for word as RFC 6962 2.1 has it; of leaf hashes."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return node_hash(naive_root(leaves[:k]), naive_root(leaves[k:]))


def naive_path(index: int, leaves: list[bytes]) -> list[bytes]:
    """PATH, word for word as RFC 6962 2.1.1 has it."""
    if len(leaves) == 1:
        return []
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    if index < k:
        return [*naive_path(index, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(index - k, leaves[k:]), naive_root(leaves[:k])]


def naive_proof(first: int, leaves: list[bytes], known: bool = True) -> list[bytes]:
    """PROOF and SUBPROOF, word for word as RFC 6962 2.1.2 has them."""
    if first == len(leaves):
        return [] if known else [naive_root(leaves)]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    if first <= k:
        return [*naive_proof(first, leaves[:k], known), naive_root(leaves[k:])]
    return [*naive_proof(first - k, leaves[k:], False), naive_root(leaves[:k])]


def leaves_of(count: int) -> list[bytes]:
    return [leaf_hash(number.to_bytes(4, "big")) for number in range(count)]


def grown(leaves: list[bytes], steps: list[int]) -> tuple[Edge, dict[tuple[int, int], bytes]]:
    """The tree grown by these many leaves at a time, and then by the rest."""
    edge, stored, at = Edge(), dict[tuple[int, int], bytes](), 0
    for step in [*steps, len(leaves)]:
        edge, tiles = edge.grown(leaves[at : at + step])
        stored |= {(tile.level, tile.number): tile.data for tile in tiles}
        at = min(at + step, len(leaves))
    return edge, stored


def reader(stored: dict[tuple[int, int], bytes]) -> TileReader:
    return lambda level, number: stored.get((level, number), b"")


def tree(count: int) -> TileReader:
    return reader(grown(leaves_of(count), [])[1])


def test_the_roots_are_those_of_the_published_vectors() -> None:
    leaves = [leaf_hash(entry) for entry in ENTRIES]
    for size, expected in enumerate(ROOTS, 1):
        assert grown(leaves[:size], [])[0].root().hex() == expected
    assert EMPTY_ROOT == Edge().root() == root(tree(0), 0)


@pytest.mark.parametrize(("index", "size"), PATHS)
def test_the_inclusion_proofs_are_those_of_the_published_vectors(index: int, size: int) -> None:
    stored = grown([leaf_hash(entry) for entry in ENTRIES], [])[1]
    proof = inclusion_proof(reader(stored), index, size)
    assert tuple(one.hex() for one in proof) == PATHS[index, size]
    assert verify_inclusion(leaf_hash(ENTRIES[index]), index, size, proof, bytes.fromhex(ROOTS[size - 1]))


def test_every_proof_of_small_trees_is_the_naive_one_and_verifies() -> None:
    leaves = leaves_of(20)
    tiles = tree(20)
    for size in range(1, 21):
        whole = naive_root(leaves[:size])
        assert root(tiles, size) == whole
        for index in range(size):
            proof = inclusion_proof(tiles, index, size)
            assert list(proof) == naive_path(index, leaves[:size])
            assert verify_inclusion(leaves[index], index, size, proof, whole)
        for first in range(1, size + 1):
            proof = consistency_proof(tiles, first, size)
            assert list(proof) == naive_proof(first, leaves[:size])
            assert verify_consistency(first, size, proof, naive_root(leaves[:first]), whole)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 300), max_size=6), st.integers(0, 1100), st.data())
def test_a_tree_grown_in_any_steps_has_the_naive_roots_and_proofs(
    steps: list[int], count: int, data: st.DataObject
) -> None:
    leaves = leaves_of(count)
    edge, stored = grown(leaves, steps)
    tiles = reader(stored)
    assert edge.root() == naive_root(leaves)
    assert Edge.read(tiles, count) == edge
    if not count:
        return
    size = data.draw(st.integers(1, count))
    index, first = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    assert list(inclusion_proof(tiles, index, size)) == naive_path(index, leaves[:size])
    assert list(consistency_proof(tiles, first, size)) == naive_proof(first, leaves[:size])


def test_tiles_are_256_wide_and_the_last_of_each_level_is_kept() -> None:
    _, stored = grown(leaves_of(256 * 256 + 300), [])
    assert {key: len(data) // 32 for key, data in stored.items() if len(data) < 8192 or key[0]} == {
        (0, 257): 44,
        (1, 0): 256,
        (1, 1): 1,
        (2, 0): 1,
    }
    assert stored[1, 0][:32] == naive_root(leaves_of(256))


def test_growing_hands_over_only_the_tiles_that_changed() -> None:
    edge, _ = grown(leaves_of(600), [])
    assert [(tile.level, tile.number) for tile in edge.grown(leaves_of(1))[1]] == [(0, 2)]
    assert edge.grown([]) == (edge, [])


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 700), st.data())
def test_every_wrong_inclusion_proof_is_refused(size: int, data: st.DataObject) -> None:
    leaves, tiles = leaves_of(size), tree(size)
    index = data.draw(st.integers(0, size - 1))
    proof, whole = list(inclusion_proof(tiles, index, size)), root(tiles, size)
    assert verify_inclusion(leaves[index], index, size, proof, whole)
    wrong_leaf = leaves[(index + 1) % size]
    assert not verify_inclusion(wrong_leaf, index, size, proof, whole)
    assert not verify_inclusion(leaves[index], index, size, proof, leaf_hash(b"another"))
    for other in {index - 1, index + 1, index ^ 2, size, -1} - {index}:
        assert not verify_inclusion(leaves[index], other, size, proof, whole)
    at = data.draw(st.integers(0, len(proof) - 1))
    assert not verify_inclusion(
        leaves[index], index, size, [*proof[:at], leaf_hash(b"another"), *proof[at + 1 :]], whole
    )
    assert not verify_inclusion(leaves[index], index, size, proof[:-1], whole)
    assert not verify_inclusion(leaves[index], index, size, [*proof, leaves[0]], whole)
    assert not verify_inclusion(leaves[index], index, size, [], whole)
    if len(proof) > 1:
        assert not verify_inclusion(leaves[index], index, size, [proof[1], proof[0], *proof[2:]], whole)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 700), st.data())
def test_every_wrong_consistency_proof_is_refused(size: int, data: st.DataObject) -> None:
    tiles = tree(size)
    first = data.draw(st.integers(1, size - 1))
    proof = list(consistency_proof(tiles, first, size))
    old, new = root(tiles, first), root(tiles, size)
    assert verify_consistency(first, size, proof, old, new)
    assert not verify_consistency(first, size, proof, leaf_hash(b"another"), new)
    assert not verify_consistency(first, size, proof, old, leaf_hash(b"another"))
    at = data.draw(st.integers(0, len(proof) - 1))
    assert not verify_consistency(first, size, [*proof[:at], leaf_hash(b"another"), *proof[at + 1 :]], old, new)
    assert not verify_consistency(first, size, proof[:-1], old, new)
    assert not verify_consistency(first, size, [*proof, old], old, new)
    assert not verify_consistency(first, size, [], old, new)
    assert not verify_consistency(size, first, proof, new, old)
    assert not verify_consistency(0, size, proof, EMPTY_ROOT, new)


def test_two_trees_of_one_size_are_consistent_only_where_they_are_one() -> None:
    tiles = tree(5)
    assert consistency_proof(tiles, 5, 5) == ()
    assert verify_consistency(5, 5, [], root(tiles, 5), root(tiles, 5))
    assert not verify_consistency(5, 5, [], root(tiles, 5), leaf_hash(b"another"))
    assert not verify_consistency(5, 5, [root(tiles, 5)], root(tiles, 5), root(tiles, 5))


def test_a_history_changed_below_the_first_size_has_no_proof() -> None:
    honest, forged = leaves_of(400), leaves_of(400)
    forged[17] = leaf_hash(b"rewritten")
    tiles = reader(grown(forged, [])[1])
    for first in (18, 200, 399):
        proof = consistency_proof(tiles, first, 400)
        assert not verify_consistency(first, 400, proof, naive_root(honest[:first]), naive_root(forged))


@pytest.mark.parametrize(("index", "size"), [(3, 3), (-1, 3), (0, 0)])
def test_a_leaf_outside_the_tree_has_no_proof(index: int, size: int) -> None:
    with pytest.raises(MerkleError, match=f"leaf {index} is not among the first {size}"):
        inclusion_proof(tree(3), index, size)


@pytest.mark.parametrize(("first", "second"), [(0, 3), (3, 2), (-1, 2)])
def test_sizes_in_the_wrong_order_have_no_proof(first: int, second: int) -> None:
    with pytest.raises(MerkleError, match="there is no proof"):
        consistency_proof(tree(3), first, second)


def test_a_missing_tile_is_named() -> None:
    _, stored = grown(leaves_of(700), [])
    del stored[0, 1]
    with pytest.raises(MerkleError, match="tile 1 of level 0 has fewer than"):
        inclusion_proof(reader(stored), 300, 700)
    with pytest.raises(MerkleError, match="tile 2 of level 0 has fewer than 189"):
        Edge.read(reader(stored), 701)


def test_the_golden_proofs_hold() -> None:
    vectors = json.loads((Path(__file__).parents[1] / "vectors" / "checkpoints.json").read_text())["proofs"]
    tiles = reader(grown([leaf_hash(number.to_bytes(32, "big")) for number in range(1000)], [])[1])
    for vector in vectors:
        proof = [bytes.fromhex(one) for one in vector["proof"]]
        if vector["what"] == "inclusion":
            index, size, whole = vector["index"], vector["size"], bytes.fromhex(vector["root"])
            assert list(inclusion_proof(tiles, index, size)) == proof
            assert verify_inclusion(bytes.fromhex(vector["leaf"]), index, size, proof, whole)
        else:
            first, second = vector["first"], vector["second"]
            roots = bytes.fromhex(vector["first_root"]), bytes.fromhex(vector["second_root"])
            assert list(consistency_proof(tiles, first, second)) == proof
            assert verify_consistency(first, second, proof, *roots)
    assert {vector["what"] for vector in vectors} == {"inclusion", "consistency"}
