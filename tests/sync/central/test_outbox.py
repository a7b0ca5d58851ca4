"""Notices go to each node in order, a bounded number at a time, again until they are answered."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sync import SyncError
from sync.central.enrol import enrol
from sync.central.keys import key_path, load_public
from sync.central.notices import order, rotate
from sync.central.outbox import BATCH, Outbox
from sync.central.shard import Shard
from sync.central.store.batch import Batch
from sync.central.store.store import Store
from sync.format.messages import Notice, Statement, Status
from sync.format.notices import AccountSet, BadBody, Erase, KeyRevoked, Policy
from sync.storage.database import DatabaseError
from tests.sync.postgres_server import PostgresServer
from tests.sync.uplink_site import Central, Node

ACCOUNT = AccountSet("acc-" + "0b" * 8, True)
NOW_US = 1_760_000_000_000_000


@dataclass
class Desk:
    """A central with one enrolled node, its outbox, and a hand that answers for the node."""

    directory: Path
    store: Store
    outbox: Outbox

    def write(self, count: int) -> None:
        for _ in range(count):
            order(self.directory, "n1", ACCOUNT)

    def online(self) -> None:
        self.store.write(Batch(statuses=[(Status("n1", True, 1, 1, 1), NOW_US)]))

    def answer(self, *nseqs: int) -> list[int]:
        """Commit the answers to these, and return what goes out next."""
        hashes = {row.nseq: row.hash for row in self.store.notices("n1")}
        self.store.write(Batch(applied=[(NOW_US, "n1", n, hashes[n]) for n in nseqs], seen={"n1": NOW_US}))
        return nseqs_of(self.outbox.answered("n1", nseqs[-1]))


def everybody(_node_id: str) -> bool:
    return True


def nseqs_of(sent: list[bytes]) -> list[int]:
    return [Notice.unverified(data).nseq for data in sent]


@pytest.fixture
def desk(tmp_path: Path, store_url: str | None) -> Iterator[Desk]:
    central, node = Central(tmp_path / "central", store_url=store_url), Node(tmp_path / "home")
    enrol(central.directory, node.home / "node.pub")  # notice 1: central's keys
    with central.store() as store:
        yield Desk(central.directory, store, Outbox(store))


def test_a_long_list_goes_out_in_batches_each_as_the_one_before_is_answered(desk: Desk) -> None:
    desk.write(99)
    assert nseqs_of(desk.outbox.greet("n1", 0)) == list(range(1, BATCH + 1))
    assert desk.answer(1) == [BATCH + 1]
    assert desk.answer(*range(2, 11)) == list(range(BATCH + 2, BATCH + 11))
    assert desk.answer(*range(11, 43)) == list(range(43, 75))
    assert desk.answer(*range(43, 75)) == list(range(75, 101))
    assert desk.answer(*range(75, 101)) == []
    assert desk.store.open_notices("n1", 9) == []


def test_what_is_written_while_a_node_is_online_goes_out_once_and_again_when_it_is_reminded(desk: Desk) -> None:
    desk.online()
    assert nseqs_of(desk.outbox.greet("n1", 0)) == [1]
    desk.answer(1)
    assert desk.outbox.look(everybody) == []
    desk.write(1)
    assert desk.outbox.look(lambda _node_id: False) == desk.outbox.remind(lambda _node_id: False) == []
    assert nseqs_of([data for _, data in desk.outbox.look(everybody)]) == [2]
    assert desk.outbox.look(everybody) == []
    assert nseqs_of([data for _, data in desk.outbox.remind(everybody)]) == [2]
    desk.answer(2)
    assert desk.outbox.remind(everybody) == []


def test_nothing_is_sent_to_a_node_that_is_not_online(desk: Desk) -> None:
    desk.write(3)
    assert (desk.outbox.look(everybody), desk.outbox.remind(everybody)) == ([], [])


def test_a_node_restored_from_a_copy_is_told_again_what_it_has_forgotten_it_was_told(desk: Desk) -> None:
    desk.write(9)
    desk.outbox.greet("n1", 0)
    desk.answer(*range(1, 11))
    assert desk.outbox.greet("n1", 10) == []
    assert nseqs_of(desk.outbox.greet("n1", 4)) == [5, 6, 7, 8, 9, 10]


def test_notices_that_a_node_holds_back_do_not_keep_the_rest_from_it(desk: Desk) -> None:
    desk.write(BATCH * 2)
    desk.online()
    desk.outbox.greet("n1", 0)  # the node understands none of the first batch, and answers none
    assert nseqs_of(desk.outbox.greet("n1", BATCH)) == list(range(BATCH + 1, 2 * BATCH + 1))
    reminded = nseqs_of([data for _, data in desk.outbox.remind(everybody)])
    assert reminded == list(range(1, 2 * BATCH + 1))


def test_a_word_nobody_signed_keeps_no_notice_from_a_node(desk: Desk) -> None:
    desk.write(3)
    desk.online()
    assert desk.outbox.greet("n1", 1_000_000) == []  # somebody on the broker, in the node's name
    assert nseqs_of([data for _, data in desk.outbox.remind(everybody)]) == [1, 2, 3, 4]


def test_a_node_that_does_not_say_what_it_has_gets_what_it_has_not_answered(desk: Desk) -> None:
    desk.write(2)
    desk.outbox.greet("n1", 0)
    desk.answer(1)
    assert nseqs_of(desk.outbox.greet("n1", None)) == [2, 3]


def test_two_writers_never_take_one_place_in_the_chain(desk: Desk) -> None:
    with pytest.raises(SyncError, match="node nobody: not enrolled here"):
        order(desk.directory, "nobody", ACCOUNT)
    desk.write(4)
    rows = desk.store.notices("n1")
    prevs = [Notice.unverified(row.data).prev_hash for row in rows]
    assert [row.nseq for row in rows] == [1, 2, 3, 4, 5]
    assert prevs[1:] == [row.hash for row in rows][:-1]


def test_central_does_not_say_what_no_node_would_understand(desk: Desk) -> None:
    for said in (Erase("13812345678", "request"), Policy(unconsented_h=0), KeyRevoked("ab" * 16, 1, 0, "because")):
        with pytest.raises(BadBody):
            order(desk.directory, "n1", said)
    assert len(desk.store.notices("n1")) == 1


def test_no_key_is_rotated_while_a_worker_elsewhere_writes_the_same_store(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    central = Central(tmp_path / "central", store_url=postgres.fresh())
    with central.store() as worker:
        worker.hold(Shard(2, 3))
        with pytest.raises(DatabaseError):
            rotate(central.directory, "ack", key_path(central.directory, "root"))
    rotate(central.directory, "ack", key_path(central.directory, "root"))


def test_revoked_keys_are_found_by_their_node(desk: Desk) -> None:
    revoked = KeyRevoked("ab" * 16, 1, 40, "lost")
    order(desk.directory, "n1", revoked)
    assert desk.store.revocations("n1") == [revoked]
    assert desk.store.revocations("n2") == []
    (_, _enrolled), (_, stated) = desk.store.statements("n1")
    public = load_public(desk.directory)
    statement = Statement.parse(stated, public.keys["notice"])
    assert (statement.kind, statement.fields["key"], statement.fields["seq"]) == ("key.revoked", "ab" * 16, 40)
