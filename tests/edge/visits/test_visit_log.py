"""Visits as people and programs read them, with what the desk said later."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest

from edge.clock import Clock
from edge.home import Home
from edge.visits.visit_log import visit_log
from sync.format.messages import Ack
from sync.format.records import Role
from sync.node.ledger import Ledger
from tests.edge.test_cli import Call, call

__all__ = ["call"]  # a fixture

ARRIVED_US = 1_782_871_200_123_456
KEYS = {
    "visit_id", "person_id", "decision", "original_decision", "compared_with", "arrived_at", "camera_id",
    "zone", "party_id", "agents",
    "similarity", "margin", "grade", "pack", "acked", "seq", "hash", "void", "split_from",
}  # fmt: skip


@pytest.fixture
def node(home: Home) -> Iterator[Ledger]:
    ledger = home.open_ledger("node", Clock())
    yield ledger
    ledger.close()


def visit(ledger: Ledger, kind: str, visit_id: str, **more: Any) -> None:
    fields = {"visit": visit_id, "camera": "door", "arrived_us": ARRIVED_US, "grade": "B"}
    ledger.append(f"visit.{kind}", fields | more)


def test_a_row_says_what_the_record_says(node: Ledger) -> None:
    visit(node, "first", "v-1", person="p-1", pack="m@1", similarity_e6=341_000, margin_e6=-2_000)
    (row,) = visit_log(node)
    assert (row.visit_id, row.person_id, row.decision, row.original_decision) == ("v-1", "p-1", "first", "first")
    assert (row.similarity, row.margin, row.grade, row.pack, row.camera_id) == (0.341, -0.002, "B", "m@1", "door")
    assert row.arrived_at == datetime(2026, 7, 1, 2, 0, 0, 123456, UTC)
    assert row.acked is False
    head = node.head()
    assert head is not None
    assert (row.record.seq, row.record.hash) == (head.seq, head.hash)


def test_what_was_not_compared_is_none(node: Ledger) -> None:
    visit(node, "seen", "v-1", party=3)
    (row,) = visit_log(node)
    assert (row.decision, row.person_id, row.similarity, row.margin, row.pack) == ("seen", None, None, None, None)


def test_the_listed_row_is_json_of_the_documented_keys(node: Ledger) -> None:
    visit(node, "return", "v-1", person="p-1", pack="m@1", similarity_e6=500_000)
    (row,) = visit_log(node)
    listed = json.loads(json.dumps(row.listed()))
    assert set(listed) == KEYS
    assert listed["arrived_at"] == "2026-07-01T02:00:00.123Z"


def test_the_newest_correction_stands_and_the_node_s_own_word_is_kept(node: Ledger, desk: Ledger) -> None:
    visit(node, "unsure", "v-1", person="p-new", similarity_e6=400_000)
    visit(node, "first", "v-2", person="p-2")
    answer = {"visit": "v-1", "reason": "same_person", "account": "a-1"}
    desk.append("visit.corrected", answer | {"decision": "first", "person": "p-new", "reason": "new_person"})
    desk.append("visit.corrected", answer | {"decision": "return", "person": "p-old"})
    first, second = visit_log(node)
    assert (first.decision, first.original_decision, first.person_id) == ("return", "unsure", "p-old")
    assert first.similarity == 0.4
    assert first.record.kind == "visit.unsure"
    assert second.decision == "first"


def test_rows_come_in_the_order_of_the_chain_and_reading_can_go_on_from_one(node: Ledger, desk: Ledger) -> None:
    for number in range(5):
        visit(node, "first", f"v-{number}", person=f"p-{number}", arrived_us=ARRIVED_US - number)
        node.append("visit.left", {"visit": f"v-{number}", "reason": "gap"})
    rows = visit_log(node)
    assert [row.visit_id for row in rows] == [f"v-{number}" for number in range(5)]
    third = rows[2].record
    desk.append("visit.corrected", {"visit": "v-0", "decision": "return", "person": "p-9", "reason": "same_person"})
    later = visit_log(node, (third.epoch, third.seq))
    assert [row.visit_id for row in later] == ["v-3", "v-4"]  # a correction of an older one is not a new visit


def test_what_central_holds_is_acked(home: Home, node: Ledger) -> None:
    visit(node, "first", "v-1", person="p-1")
    visit(node, "first", "v-2", person="p-2")
    first = visit_log(node)[0].record
    ack = Ack.seal("puxi-01-a", 1, first.seq, first.hash, ARRIVED_US, 8, home.signer("desk"))
    assert node.accept_ack(ack)
    assert [row.acked for row in visit_log(node)] == [True, False]


def test_a_correction_in_a_word_of_a_later_version_leaves_the_decision(node: Ledger, desk: Ledger) -> None:
    visit(node, "unsure", "v-1", person="p-new")
    desk.append("visit.corrected", {"visit": "v-1", "decision": "guided", "person": "p-old", "account": "a-1"})
    (row,) = visit_log(node)
    assert (row.decision, row.original_decision, row.person_id) == ("unsure", "unsure", "p-old")


def test_a_correction_of_the_party_leaves_the_desk_s_answer_standing(node: Ledger, desk: Ledger) -> None:
    visit(node, "unsure", "v-1", person="p-new")
    desk.append("visit.corrected", {"visit": "v-1", "decision": "return", "person": "p-old", "account": "a-1"})
    desk.append("visit.corrected", {"visit": "v-1", "party_id": "g-2", "reason": "party_split", "account": "a-1"})
    (row,) = visit_log(node)
    assert (row.decision, row.person_id) == ("return", "p-old")


def _revoke(home: Home, role: Role, seq: int) -> None:
    """Central's word, as applied here, that the key counts up to a record of the first epoch."""
    with closing(sqlite3.connect(home.database)) as connection, connection:
        values = (home.signer(role).public.key_id, seq)
        connection.execute("INSERT INTO revoked_keys VALUES (?, 1, ?, 'compromised')", values)


def test_what_a_revoked_key_went_on_signing_is_listed_as_void(home: Home, call: Call) -> None:
    ledger = home.open_ledger("node", Clock())
    visit(ledger, "first", "v-1", person="p-1")
    last = ledger.head()
    assert last is not None
    visit(ledger, "first", "v-2", person="p-2")
    assert [row.void for row in visit_log(ledger)] == [None, None]
    _revoke(home, "node", last.seq)
    assert [row.void for row in visit_log(ledger)] == [None, "compromised"]
    ledger.close()
    listed = json.loads(call("visits", "--home", home.path, "--json").out)
    assert [row["void"] for row in listed] == [None, "compromised"]
    shown = call("visits", "--home", home.path).out.splitlines()
    assert ["first (void)" in line for line in shown[1:]] == [False, True]


def test_a_correction_that_is_void_changes_no_decision(home: Home) -> None:
    node, desk = home.open_ledger("node", Clock()), home.open_ledger("desk", Clock())
    visit(node, "unsure", "v-1", person="p-new")
    desk.append("visit.corrected", {"visit": "v-1", "decision": "return", "person": "p-old", "account": "a-1"})
    assert visit_log(node)[0].decision == "return"
    head = node.head()
    assert head is not None
    _revoke(home, "desk", head.seq - 1)
    assert visit_log(node)[0].decision == "unsure"
    node.close()
    desk.close()
