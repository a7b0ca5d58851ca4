"""Every node has exactly one worker, and the worker's locks are its alone."""

import pytest

from sync import SyncError
from sync.central.shard import SLOTS, WHOLE, Shard


def test_whatever_the_count_every_node_is_one_workers_own() -> None:
    names = [f"node-{number}" for number in range(1000)]
    for count in (1, 2, 3, 7, 256):
        shards = [Shard.parse(f"{number}/{count}") for number in range(1, count + 1)]
        assert sorted(slot for shard in shards for slot in shard.slots) == list(range(SLOTS))
        for name in names:
            (_one,) = (shard for shard in shards if shard.has(name))


def test_nodes_spread_evenly() -> None:
    shard = Shard(2, 4)
    assert 2300 < sum(shard.has(f"node-{number}") for number in range(10_000)) < 2700


def test_the_split_is_by_the_first_byte_of_the_names_hash() -> None:
    assert Shard(0x67 % 4 + 1, 4).has("n1")  # SHA-256 of n1 begins with 67; another language's worker must agree


def test_the_text_of_a_shard_is_what_it_was_read_from() -> None:
    assert str(Shard.parse("2/4")) == "2/4"
    assert Shard.parse("1/1") == WHOLE


@pytest.mark.parametrize("text", ["", "2", "0/4", "5/4", "1/257", "-1/4", "1/0", "a/b", "1/2/3", "²/4"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(SyncError, match="expected I/N"):
        Shard.parse(text)
