"""Mode ephemeral over a fake clock: everybody is compared, and forgotten at their hour unless they have consented."""

import hashlib
import json
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge.cli import app
from edge.clock import Clock
from edge.consent import CapturePolicy, declare
from edge.desk.checkin import Arrival, CheckIn, Registration
from edge.rights.retention import expire
from sync.format.records import Record
from sync.format.stamp import rfc3339
from sync.verify.verify import verify
from tests.edge.conftest import FindBytes, MakeNode
from tests.edge.visiting import CROP, T0, Node, after, must, person
from tests.edge.visits.test_after_consent import AGREED

BASIS = "访客进入前签署的来访登记协议第 3 条"
HOUR = 3600
POLICY = CapturePolicy("ephemeral", BASIS, timedelta(hours=24))


@pytest.fixture
def node(make_node: MakeNode) -> Node:
    return make_node(policy=POLICY)


def minute_by_minute(node: Node, from_s: float, until_s: float, step_s: float = 60) -> None:
    """What the node's job does each minute, as the clock goes on."""
    at = from_s
    while at <= until_s:
        expire(node.ledger, node.vault, POLICY, after(at))
        node.visits.sweep(after(at))
        at += step_s


def forgotten(node: Node) -> list[Record]:
    return node.records("retention.run")


def test_each_face_goes_in_the_minute_that_its_hour_is_over(node: Node) -> None:
    who: dict[str, float] = {}
    for number in range(3):
        came_s = number * 5 * HOUR
        fields = must(node.arrive(person(number), number + 1, after(came_s)), "first")
        node.leave(number + 1, after(came_s + 60))
        who[fields["person"]] = came_s + 1  # stored a second after the door
    now_s = 10 * HOUR + 61.0
    gone: dict[str, float] = {}
    while now_s < 36 * HOUR:
        expire(node.ledger, node.vault, POLICY, after(now_s))
        remembered = {one.person_id for one in node.vault.people()}
        for person_id in who.keys() - remembered - gone.keys():
            gone[person_id] = now_s
        now_s += 60
    assert gone.keys() == who.keys()
    for person_id, stored_s in who.items():
        assert 0 <= gone[person_id] - (stored_s + 24 * HOUR) < 60
    named = [one for record in forgotten(node) for one in record.fields["expired"]]
    assert sorted(named) == sorted(who)
    assert {record.fields["basis"] for record in forgotten(node)} == {"unconsented"}


def test_before_the_hour_it_is_a_return_and_after_it_a_first_with_its_horizon(node: Node) -> None:
    first = must(node.arrive(person(0), 1, T0), "first")
    node.leave(1, after(60))
    minute_by_minute(node, 60, 23 * HOUR, HOUR)
    back = must(node.arrive(person(0), 2, after(23 * HOUR)), "return")
    assert back["person"] == first["person"]
    node.leave(2, after(23 * HOUR + 60))
    minute_by_minute(node, 23 * HOUR + 60, 48 * HOUR, HOUR)
    again = must(node.arrive(person(0), 3, after(48 * HOUR)), "first")
    assert again["person"] != first["person"]
    assert again["gallery_n"] == 0
    assert back["unconsented_horizon_s"] <= 24 * HOUR


def test_nothing_of_a_face_opens_after_its_hour_on_disk_in_the_log_or_in_free_pages(
    node: Node, find_bytes: FindBytes
) -> None:
    fields = must(node.arrive(person(0), 1, T0), "first")
    node.leave(1, after(60))
    with closing(node.home.open_ledger()) as ledger:
        (crop,) = ledger.connection.execute("SELECT sealed FROM crops").fetchone()
        (template,) = ledger.connection.execute("SELECT sealed FROM templates").fetchone()
    key = node.vault._safe.key(fields["person"])
    assert key is not None
    for needle in (key, crop, template):
        assert find_bytes(node.home.path, needle), "the search does find what is there"
    expire(node.ledger, node.vault, POLICY, after(24 * HOUR + 1))
    for needle in (key, crop, template, CROP):
        assert find_bytes(node.home.path, needle) == []
    assert verify(node.home.path, node.home.node_pub).ok


def test_who_consents_is_kept_beyond_the_hour_and_until_the_consent_is_old(node: Node) -> None:
    record = node.arrive(person(0), 1, T0)
    fields = must(record, "first")
    assert record is not None
    node.leave(1, after(60))
    desk = CheckIn(lambda: node.home.open_ledger("desk", Clock()), node.home)
    arrival = Arrival(fields["visit"], fields["person"], fields["arrived_us"], None, (), (record.epoch, record.seq))
    desk.register(arrival, Registration("walk_in", consent=AGREED), "0" * 32, "u-1")
    minute_by_minute(node, 60, 30 * HOUR, HOUR)
    assert node.vault.remembers(fields["person"])
    assert node.vault.of_visits.crop(fields["visit"]) == CROP
    given_us = node.vault.consented_us(fields["person"])
    assert given_us is not None
    over = datetime.fromtimestamp(given_us / 1e6, T0.tzinfo) + POLICY.consented
    assert expire(node.ledger, node.vault, POLICY, over - timedelta(seconds=1)) == 0
    assert expire(node.ledger, node.vault, POLICY, over) == 1
    assert forgotten(node)[-1].fields["basis"] == "consented"
    assert not node.vault.remembers(fields["person"])


def test_the_legal_basis_is_in_the_chain_by_its_digest_and_another_basis_is_another_policy(
    node: Node, find_bytes: Callable[[Path, bytes], list[str]]
) -> None:
    said = node.records("policy.changed")[-1].fields
    assert said["mode"] == "ephemeral"
    assert said["legal_basis_sha256"] == hashlib.sha256(BASIS.encode()).hexdigest()
    assert said["unconsented_horizon_s"] == 24 * HOUR
    assert said["consented_horizon_s"] == 180 * 24 * HOUR
    assert find_bytes(node.home.path, BASIS.encode()) == []
    before = len(node.records("policy.changed"))
    declare(CapturePolicy("ephemeral", "another", timedelta(hours=24)), node.ledger, node.home.path)
    declare(CapturePolicy("ephemeral", "another", timedelta(hours=24)), node.ledger, node.home.path)
    declare(
        CapturePolicy("ephemeral", "another", timedelta(hours=24), consented=timedelta(days=30)),
        node.ledger,
        node.home.path,
    )
    assert len(node.records("policy.changed")) == before + 2


def test_the_list_of_people_says_until_when_who_has_consented_is_kept(node: Node) -> None:
    record = node.arrive(person(0), 1, T0)
    fields = must(record, "first")
    assert record is not None
    arrival = Arrival(fields["visit"], fields["person"], fields["arrived_us"], None, (), (record.epoch, record.seq))
    CheckIn(lambda: node.home.open_ledger("desk", Clock()), node.home).register(
        arrival, Registration("walk_in", consent=AGREED), "0" * 32, "u-1"
    )
    told = CliRunner().invoke(app, ["people", "list", "--home", str(node.home.path), "--json"])
    (row,) = json.loads(told.output)
    given_us = node.vault.consented_us(fields["person"])
    assert given_us is not None
    assert row["expires_at"] == rfc3339(given_us + 180 * 24 * HOUR * 1_000_000, timespec="seconds")
