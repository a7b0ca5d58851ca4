"""What a node believes of central's log, and what it will not let pass."""

import sqlite3
from dataclasses import dataclass, replace

import pytest

from sync.format.log_proof import LogHead, LogProof
from sync.format.messages import Ack
from sync.format.public_keys import CentralKeys
from sync.format.signing import digest
from sync.node.ledger import Ledger
from sync.node.trust import Trust
from sync.node.witness import LOG_SILENCE_US, LogFork, LogSilence, log_fields, newest, witness
from sync.storage.database import DatabaseError
from tests.sync.a_log import ALog
from tests.sync.conftest import BuiltHome, key


@dataclass
class Scene:
    """A node, and a central whose log also holds what others sent."""

    ledger: Ledger
    keys: CentralKeys
    log: ALog
    now_us: int = 1_760_000_100_000_000

    def record(self, kind: str = "camera.up", count: int = 1, **fields: object) -> None:
        """Append records; central takes them, and others' between them."""
        for _ in range(count):
            record = self.ledger.append(kind, fields or {"camera": "door"})
            self.log.add(record.hash, digest("record-hash", b"somebody else's %d" % record.seq))

    def alive(self) -> None:
        self.record("node.alive", people=0, **log_fields(self.ledger))

    def ack(self, proof: LogProof | None) -> Ack:
        head = self.ledger.head()
        assert head
        self.now_us += 61_000_000
        ack = Ack.seal("gate-1", head.epoch, head.seq, head.hash, self.now_us, 8, key("ack"), proof)
        assert self.ledger.accept_ack(ack)
        return ack

    def proof(self, signed_back: LogHead | None = None) -> LogProof:
        head = self.ledger.head()
        assert head
        return self.log.proof(head.hash, signed_back)

    def hear(self, proof: LogProof | None) -> LogHead | None:
        return witness(self.ack(proof), self.ledger.connection, self.keys)


@pytest.fixture
def scene(home: BuiltHome) -> Scene:
    return Scene(home.ledger(), Trust(home.path).keys(), ALog(key("checkpoint")))


def test_a_checkpoint_is_followed_and_the_next_sign_of_life_signs_it_back(scene: Scene) -> None:
    scene.record(count=3)
    assert log_fields(scene.ledger) == {}
    assert scene.hear(scene.proof()) == scene.log.head()
    assert log_fields(scene.ledger) == {"log": {"size": 6, "root": scene.log.head().root.hex()}}
    scene.alive()
    found = scene.ledger.last_of("node.alive")
    assert found
    assert LogHead.of(found.fields["log"]) == scene.log.head(6)


def test_a_checkpoint_continues_the_head_that_was_signed_back(scene: Scene) -> None:
    scene.record(count=3)
    signed_back = scene.hear(scene.proof())
    scene.alive()
    scene.record(count=300)
    assert scene.hear(scene.proof(signed_back)) == scene.log.head()


def test_an_ack_without_a_checkpoint_changes_nothing(scene: Scene) -> None:
    scene.record()
    head = scene.hear(scene.proof())
    scene.record()
    assert scene.hear(None) is None
    assert log_fields(scene.ledger) == {"log": head.fields() if head else None}


def test_the_same_checkpoint_again_is_no_fork(scene: Scene) -> None:
    scene.record(count=2)
    assert scene.hear(scene.proof()) == scene.hear(scene.proof())


def test_a_checkpoint_is_kept_even_where_its_ack_repeats_a_place_within_the_minute(scene: Scene) -> None:
    scene.record()
    first = scene.ack(None)
    for proof in (None, scene.proof()):
        again = Ack.seal("gate-1", 1, first.upto_seq, first.head_hash, first.central_time_us + 1, 8, key("ack"), proof)
        assert scene.ledger.accept_ack(again)
        assert scene.ledger.has_ack(again.ack_hash) == (proof is not None)


def test_an_ack_and_its_checkpoint_are_kept_together_or_not_at_all(scene: Scene, home: BuiltHome) -> None:
    """The same ack is not looked at twice. It takes no key that may sign, either: the node's may be revoked."""
    scene.record(count=3)
    head, reader = scene.ledger.head(), Ledger(home.database)
    assert head
    ack = Ack.seal("gate-1", head.epoch, head.seq, head.hash, scene.now_us, 8, key("ack"), scene.proof())

    def cut(connection: sqlite3.Connection) -> None:
        witness(ack, connection, scene.keys)
        raise DatabaseError("power cut")

    with pytest.raises(DatabaseError):
        reader.accept_ack(ack, cut)
    assert (reader.has_ack(ack.ack_hash), newest(reader)) == (False, None)
    assert reader.accept_ack(ack, lambda connection: witness(ack, connection, scene.keys) and None)
    assert newest(reader) == (scene.log.head(), (1, 3))
    reader.close()


def _refused(scene: Scene, proof: LogProof, why: str) -> None:
    """The ack is kept as evidence, but its checkpoint is not believed."""
    before = log_fields(scene.ledger)
    ack = scene.ack(proof)
    with pytest.raises(LogFork, match=why):
        witness(ack, scene.ledger.connection, scene.keys)
    assert log_fields(scene.ledger) == before
    assert scene.ledger.has_ack(ack.ack_hash)
    assert scene.ledger.backlog() == 0


@pytest.mark.parametrize("name", ["ack", "notice", "root", "stranger"])
def test_a_checkpoint_under_another_key_is_refused(scene: Scene, name: str) -> None:
    scene.record(count=3)
    _refused(scene, ALog(key(name), scene.log.entries).proof(scene.log.entries[4]), "not signed by key")


def test_a_checkpoint_of_another_central_is_refused(scene: Scene) -> None:
    scene.record(count=3)
    _refused(scene, ALog(key("checkpoint"), scene.log.entries, "elsewhere").proof(scene.log.entries[4]), "of the log")


def test_a_log_without_the_acknowledged_record_is_refused(scene: Scene) -> None:
    scene.record(count=3)
    _refused(scene, scene.log.proof(scene.log.entries[2]), "not shown to be in the log")
    _refused(scene, replace(scene.proof(), index=3), "not shown to be in the log")
    _refused(scene, replace(scene.proof(), index=2**53 - 1), "not shown to be in the log")


def test_a_log_that_shrank_is_refused(scene: Scene) -> None:
    scene.record(count=3)
    scene.hear(scene.proof())
    scene.log.entries = scene.log.entries[4:]
    _refused(scene, scene.proof(), "had 6 leaves, now 2")


def test_a_second_root_at_one_size_is_refused(scene: Scene) -> None:
    scene.record(count=3)
    scene.hear(scene.proof())
    scene.log.entries[1] = bytes(32)
    _refused(scene, scene.proof(), "two roots at size 6")


def test_a_log_that_was_rewritten_below_a_head_signed_back_is_refused(scene: Scene) -> None:
    scene.record(count=3)
    signed_back = scene.hear(scene.proof())
    scene.alive()
    scene.record(count=3)
    scene.log.entries[1] = bytes(32)
    _refused(scene, scene.proof(signed_back), "does not continue the log of size 6")


def test_a_head_signed_back_cannot_be_left_out_of_the_proof(scene: Scene) -> None:
    scene.record(count=3)
    signed_back = scene.hear(scene.proof())
    assert signed_back
    scene.alive()
    _refused(scene, scene.proof(), "continues nothing, but size 6 was signed back")
    _refused(scene, replace(scene.proof(signed_back), from_size=5), "continues size 5, but size 6 was signed back")
    assert scene.hear(scene.proof(signed_back)) == scene.log.head()


def test_the_proof_begins_at_the_newest_head_that_central_has_when_it_acknowledges(scene: Scene) -> None:
    scene.record(count=3)
    first = scene.hear(scene.proof())
    scene.alive()
    head, proof = scene.ledger.head(), scene.proof(first)
    assert head
    scene.record(count=3)
    scene.hear(scene.proof(first))
    scene.alive()  # signs a later head back, which central has not seen when it says what follows
    ack = Ack.seal("gate-1", head.epoch, head.seq, head.hash, scene.now_us, 8, key("ack"), proof)
    with pytest.raises(LogFork, match="had 14 leaves, now 8"):  # an old one; but not for where it begins
        witness(ack, scene.ledger.connection, scene.keys)


def test_a_node_follows_its_log_into_the_next_process(scene: Scene, home: BuiltHome) -> None:
    scene.record(count=3)
    scene.hear(scene.proof())
    scene.ledger.close()
    scene.ledger = home.ledger()
    scene.record()
    scene.log.entries = scene.log.entries[4:]
    _refused(scene, scene.proof(), "had 6 leaves, now 4")


def test_a_central_that_falls_silent_on_its_log_is_noticed_after_an_hour_of_its_own_time(scene: Scene) -> None:
    scene.record()
    silence, hour_us = LogSilence(), LOG_SILENCE_US
    spoken, silent = scene.ack(scene.proof()), scene.ack(None)

    def heard(ack: Ack, at_us: int) -> bool:
        return silence.heard(replace(ack, central_time_us=at_us))

    assert not heard(silent, 0)
    assert not heard(silent, hour_us - 1)
    assert not heard(spoken, hour_us), "it has spoken"
    assert not heard(silent, 9 * hour_us), "nothing was acknowledged meanwhile"
    assert not heard(silent, 10 * hour_us - 1)
    assert heard(silent, 10 * hour_us)
    assert not heard(silent, 10 * hour_us + 1), "once an hour is enough"
    assert heard(silent, 11 * hour_us)
    assert not heard(silent, 5 * hour_us), "its clock was set back"


def test_a_home_of_an_older_version_has_witnessed_nothing(scene: Scene) -> None:
    assert newest(scene.ledger) is None
    scene.ledger.connection.execute("DROP TABLE log_head")
    assert newest(scene.ledger) is None
