"""`firstvisit central log` as a person and a program read it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sync import SyncError
from sync.central.cli import app
from sync.central.keys import load_public
from sync.format.checkpoint import Checkpoint, origin_of
from sync.format.merkle import leaf_hash, verify_consistency, verify_inclusion
from tests.sync.witnessed_site import Two, make_two


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    made = make_two(tmp_path)
    (made.central.directory / "central.toml").write_text('id = "c1"\n')
    (ack,) = made.send(made.node, count=20)
    made.hear(made.node, ack)
    made.alive(made.node)
    yield made
    made.store.close()


def ran(two: Two, *words: str) -> str:
    result = CliRunner().invoke(app, ["log", "--dir", str(two.central.directory), *words])
    if result.exception:
        raise result.exception
    return result.stdout


def test_the_log_is_shown_as_a_signed_note_and_with_what_nodes_signed_back(two: Two) -> None:
    shown = ran(two)
    public = load_public(two.central.directory)
    note, _, rest = shown.partition("\n\nverifier key")
    read = Checkpoint.parse(note + "\n", origin_of("c1"), public.keys["checkpoint"])
    assert read.size == 23
    assert "signed back   size 22 by n1 at epoch 1 seq 21" in rest
    two.send(two.node, "node.alive", people=0, log={"size": 5, "root": "ab" * 32})
    assert "NOT THIS LOG  size 5 by n1 at epoch 1 seq 22" in ran(two)


def test_what_it_proves_verifies(two: Two) -> None:
    held = json.loads(ran(two, "--inclusion", "n1", "1", "7", "--consistency", "9", "23", "--json"))
    root, size = bytes.fromhex(held["checkpoint"]["root"]), held["checkpoint"]["size"]
    inclusion, consistency = held["inclusion"], held["consistency"]
    assert verify_inclusion(
        leaf_hash(bytes.fromhex(inclusion["hash"])), inclusion["leaf"], size, _hashes(inclusion), root
    )
    first = json.loads(ran(two, "--consistency", "9", "9", "--json"))
    assert first["consistency"]["proof"] == []
    assert verify_consistency(9, 23, _hashes(consistency), two.log().root_at(9), root)
    text = ran(two, "--inclusion", "n1", "1", "7")
    assert f"inclusion     record {inclusion['hash']} is leaf {inclusion['leaf']} of 23" in text
    assert all(f"  {one}" in text for one in inclusion["proof"])


def _hashes(proof: dict[str, list[str]]) -> list[bytes]:
    return [bytes.fromhex(one) for one in proof["proof"]]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--inclusion", "n1", "1", "99"), "holds no record of node n1 epoch 1 seq 99"),
        (("--inclusion", "n9", "1", "1"), "holds no record of node n9"),
        (("--consistency", "0", "5"), "expected 0 < M <= N <= 23"),
        (("--consistency", "5", "24"), "expected 0 < M <= N <= 23"),
    ],
)
def test_what_cannot_be_proven_is_refused_in_one_line(two: Two, words: tuple[str, ...], why: str) -> None:
    with pytest.raises(SyncError, match=why):
        ran(two, *words)
