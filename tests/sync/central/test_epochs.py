"""New epochs, rotated and renewed keys as central judges them: restored machines, copied ones, and forks lifted."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sync import SyncError
from sync.central.enrol import enrol, readmit
from sync.central.ingest import Answer, Arrived, Ingest
from sync.central.keys import load_public, load_serving_keys
from sync.central.notices import order
from sync.central.store.store import Store
from sync.format.messages import Ack, BadMessage, Nack
from sync.format.notices import KeyRevoked
from sync.format.public_keys import Enrolment
from sync.format.records import GENESIS_PREV, Record, seal
from sync.format.rotation import Rotation
from sync.format.signing import Signer, create_key_file
from sync.format.wire import SignedBody, encode_frame
from sync.verify.verify import verify
from tests.sync.uplink_site import Central, Node

_AT = {"wall_us": 1, "boot_us": 1, "boot_id": "b" * 32, "maxerror_us": 1, "source": "synced", "steps": 0}


@dataclass
class Machine:
    """Whoever holds the node's key and some of its chain: the node itself, or a copy of it."""

    key: Signer
    chain: list[Record] = field(default_factory=list)

    def record(self, kind: str = "node.alive", by: Signer | None = None, **fields: Any) -> Record:
        last = self.chain[-1] if self.chain else None
        envelope = {
            "v": 1,
            "node": "n1",
            "epoch": last.epoch if last else 1,
            "seq": last.seq + 1 if last else 1,
            "prev": last.hash.hex() if last else GENESIS_PREV,
            "kind": kind,
            "key": (by or self.key).public.key_id,
            "at": _AT,
        }
        self.chain.append(seal({**envelope, **fields}, by or self.key))
        return self.chain[-1]

    def begin(self, reason: str = "restore", epoch: int | None = None) -> Record:
        return self.record("epoch.started", epoch=epoch or self.chain[-1].epoch + 1, seq=1, reason=reason)

    def copy(self, upto: int) -> "Machine":
        """A machine restored from what this one had after `upto` records."""
        return Machine(self.key, self.chain[:upto])


class Desk:
    """A central that is asked frame by frame."""

    def __init__(self, central: Central, store: Store) -> None:
        self.central, self.store = central, store
        self._now_us = 1_760_000_000_000_000
        self.restart()

    def restart(self) -> None:
        """Another ingest on the same store; pauses count by the desk's own time."""
        keys = load_serving_keys(self.central.directory)
        self.ingest = Ingest(self.store, keys, monotonic=lambda: self._now_us / 1e6)

    def take(self, *records: Record) -> Ack | Nack:
        """Hand over one frame and return the last answer."""
        self._now_us += 2_000_000
        frame = encode_frame([SignedBody(record.body, record.signature) for record in records])
        return self._read(self.ingest.take(self.ingest.read([Arrived("n1", frame)]), self._now_us)[-1])

    def _read(self, answer: Answer) -> Ack | Nack:
        key = load_public(self.central.directory).keys["ack"]
        try:
            return Ack.parse(answer.payload, key)
        except BadMessage:
            return Nack.parse(answer.payload, key)

    def state(self) -> str:
        node = self.store.node("n1")
        assert node is not None
        return node.chain

    def good(self) -> bool:
        verdict = verify(self.central.directory)
        assert verdict.ok, verdict.lines
        return True


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path / "home")


@pytest.fixture
def box(node: Node) -> Machine:
    """The node, with a chain of ten records."""
    machine = Machine(node.key)
    for _ in range(10):
        machine.record()
    return machine


@pytest.fixture
def desk(node: Node, tmp_path: Path, store_url: str | None) -> Iterator[Desk]:
    central = Central(tmp_path / "central", store_url=store_url)
    enrol(central.directory, node.home / "node.pub")
    with central.store() as store:
        yield Desk(central, store)


def acked(answer: Ack | Nack) -> tuple[int, int]:
    assert isinstance(answer, Ack), answer
    return answer.epoch, answer.upto_seq


def refused(answer: Ack | Nack) -> str:
    assert isinstance(answer, Nack), answer
    return answer.code


def test_a_restored_machine_begins_behind_any_record_held_and_closes_the_epoch_before(desk: Desk, box: Machine) -> None:
    restored = box.copy(4)
    assert acked(desk.take(*box.chain)) == (1, 10)
    assert acked(desk.take(restored.begin(), restored.record())) == (2, 2)
    assert acked(desk.take(*box.chain)) == (2, 2)  # what is held is held
    assert desk.good()
    assert refused(desk.take(box.record())) == "FORK"  # the old machine goes on
    assert desk.state() == "fork"
    assert refused(desk.take(restored.record())) == "FORK"  # and the restored one is told so too
    assert desk.good()


def test_a_tail_not_sent_before_the_restore_is_taken_before_the_new_epoch(desk: Desk, box: Machine) -> None:
    restored = box.copy(10)
    assert acked(desk.take(*box.chain[:6])) == (1, 6)
    opening = restored.begin()
    nack = desk.take(opening)
    assert (refused(nack), nack.epoch, nack.seq) == ("GAP", 1, 7)  # type: ignore[union-attr]
    assert acked(desk.take(*restored.chain[6:])) == (2, 1)
    assert desk.good()


def test_two_machines_that_open_the_same_epoch_fork(desk: Desk, box: Machine) -> None:
    first, second = box.copy(10), box.copy(8)
    desk.take(*box.chain)
    assert acked(desk.take(first.begin())) == (2, 1)
    assert refused(desk.take(second.begin())) == "FORK"
    assert refused(desk.take(first.record())) == "FORK"


def test_an_epoch_behind_a_record_of_an_epoch_closed_before_is_no_continuation(desk: Desk, box: Machine) -> None:
    late = box.copy(10)
    desk.take(*box.chain, box.begin(), box.record())
    assert refused(desk.take(late.begin(epoch=3))) == "GAP"
    assert desk.state() == "ok"


def test_a_fork_is_lifted_knowingly_and_only_the_epoch_named_goes_on(desk: Desk, box: Machine) -> None:
    clone = box.copy(10)
    desk.take(*box.chain)
    desk.take(clone.begin("clone"))
    desk.take(box.record())
    with pytest.raises(SyncError, match="not enrolled"):
        readmit(desk.central.directory, "n2")
    assert readmit(desk.central.directory, "n1") == 3
    assert desk.state() == "ok"
    box.record()  # more that central never took
    assert acked(desk.take(box.begin("fork", epoch=3), box.record())) == (3, 2)
    assert desk.good()
    assert refused(desk.take(clone.record())) == "FORK"
    assert readmit(desk.central.directory, "n1") == 4
    with pytest.raises(SyncError, match="node n1 is ok, not forked"):
        readmit(desk.central.directory, "n1")
    kinds = [data for _, data in desk.store.statements("n1")]
    assert sum(b'"epoch.opened"' in data for data in kinds) == 2


def test_an_epoch_behind_a_record_not_held_verifies_only_where_it_was_opened(desk: Desk, box: Machine) -> None:
    clone = box.copy(10)
    desk.take(*box.chain, clone.begin("clone"))
    desk.take(box.record())
    desk.take(box.begin("fork", epoch=readmit(desk.central.directory, "n1")))
    assert desk.good()
    desk.store.database.execute("DELETE FROM openings")
    verdict = verify(desk.central.directory)
    assert "bad: node n1: epoch 3 seq 1: prev is not the hash of the record before" in verdict.lines


def test_records_under_a_rotated_key_are_taken_and_the_rotation_outlives_a_restart(
    desk: Desk, box: Machine, node: Node, tmp_path: Path
) -> None:
    new = create_key_file(tmp_path / "new.key")
    desk.take(*box.chain)
    old, place = box.key, (1, len(box.chain) + 1)
    fields = Rotation("n1", *place, "node", old.public.key_id, new.public).fields(new, old, "file")
    box.record("key.rotated", **fields)
    box.key = new
    box.record()
    assert acked(desk.take(*box.chain[10:])) == (1, 12)
    stale = Machine(old, list(box.chain))
    assert refused(desk.take(stale.record())) == "BAD_SIG"
    desk.restart()
    assert refused(desk.take(stale.chain[-1])) == "BAD_SIG"
    assert acked(desk.take(box.record())) == (1, 13)
    assert enrol(desk.central.directory, node.home / "node.pub")[1] is False  # its enrolment is the one it was
    assert "retired by the rotation at seq 11" in desk.store.refusals()[0].detail
    assert desk.good()


def test_a_rotation_that_the_new_key_did_not_sign_is_refused(desk: Desk, box: Machine, tmp_path: Path) -> None:
    new = create_key_file(tmp_path / "new.key")
    desk.take(*box.chain)
    fields = Rotation("n1", 1, 11, "node", box.key.public.key_id, new.public).fields(new, box.key, "file")
    box.record("key.rotated", **{**fields, "proof": "00" * 64})
    assert refused(desk.take(box.chain[-1])) == "BAD_SIG"
    assert desk.good()


def _renewed(box: Machine, folder: Path, epoch: int, site: str = "site-1") -> Path:
    """Give the machine new keys from an epoch on; returns its new node.pub."""
    box.key, desk = create_key_file(folder / "renewed.key"), create_key_file(folder / "desk.key")
    (folder / "node.pub").write_text(Enrolment("n1", site, box.key.public, desk.public, epoch).text(box.key))
    return folder / "node.pub"


def test_new_keys_count_from_their_epoch_on_once_they_are_enrolled_knowingly(
    desk: Desk, box: Machine, tmp_path: Path
) -> None:
    desk.take(*box.chain[:8])  # the last two never came: the key that signed them is gone with the disk
    old = Machine(box.key, list(box.chain))
    node_pub = _renewed(box, tmp_path, 2)
    opening = box.begin("rekey")
    arrived = Arrived("n1", encode_frame([SignedBody(opening.body, opening.signature)]))
    assert desk.ingest.take(desk.ingest.read([arrived]), 1) == []
    with pytest.raises(SyncError, match=r"enrolled with other keys.*--rekey"):
        enrol(desk.central.directory, node_pub)
    assert enrol(desk.central.directory, node_pub, rekey=True)[1]
    assert enrol(desk.central.directory, node_pub, rekey=True)[1] is False
    assert acked(desk.take(opening, box.record())) == (2, 2)
    assert refused(desk.take(old.begin())) == "BAD_SIG"
    assert desk.good()
    told = desk.store.statements("n1")[-1][1]
    assert b'"node.enrolled"' in told
    assert b'"epoch":2' in told


@pytest.mark.parametrize(("epoch", "site", "why"), [(1, "site-1", "epoch 1"), (2, "site-2", "of site site-2")])
def test_keys_of_an_epoch_that_has_begun_or_of_another_site_are_not_enrolled(
    desk: Desk, box: Machine, tmp_path: Path, epoch: int, site: str, why: str
) -> None:
    desk.take(*box.chain)
    with pytest.raises(SyncError, match=why):
        enrol(desk.central.directory, _renewed(box, tmp_path, epoch, site), rekey=True)


def test_a_node_that_is_not_known_is_not_enrolled_by_its_later_keys(box: Machine, tmp_path: Path) -> None:
    renewed = _renewed(box, tmp_path, 2)
    stranger = Central(tmp_path / "other")
    with pytest.raises(SyncError, match=r"node-1\.pub"):
        enrol(stranger.directory, renewed, rekey=True)


def test_a_revoked_key_cannot_end_the_chain_by_contradicting_what_it_signed_in_its_time(
    desk: Desk, box: Machine, node: Node
) -> None:
    box.record("day.closed", node.desk)
    assert acked(desk.take(*box.chain)) == (1, 11)
    order(desk.central.directory, "n1", KeyRevoked(node.desk.public.key_id, 1, 11, "compromised"))
    desk.ingest.look(lambda _: True)
    thief = Machine(node.key, box.chain[:10])
    assert refused(desk.take(thief.record("day.closed", node.desk, day="another"))) == "REVOKED"
    assert desk.state() == "ok"
    assert acked(desk.take(box.record())) == (1, 12)
    assert desk.good()
