"""Forgetting is on time, whole, and on record."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from edge import EdgeError
from edge.clock import Clock
from edge.consent import CapturePolicy
from edge.home import Home
from edge.people.vault import Vault, opened
from edge.rights.retention import PEOPLE_PER_RECORD, REASONS, erase, expire
from sync.format.records import MAX_BODY_BYTES
from sync.format.signing import commitment
from sync.node.ledger import Ledger
from sync.verify.verify import verify

PACK = "test@000000000000"
NOW = datetime(2026, 7, 1, 2, tzinfo=UTC)
NOTE = "张女士 called and asked to be forgotten"


@pytest.fixture
def vault(home: Home) -> Iterator[Vault]:
    with opened(home.database, home.keys_database) as vault:
        yield vault


@pytest.fixture
def node(home: Home) -> Iterator[Ledger]:
    ledger = home.open_ledger("node", Clock())
    yield ledger
    ledger.close()


def ephemeral(hours: float = 24) -> CapturePolicy:
    return CapturePolicy("ephemeral", "test", timedelta(hours=hours))


def remember(vault: Vault, ledger: Ledger, ids: list[str], stored: datetime = NOW) -> None:
    vector = np.eye(1, 128, dtype=np.float32)[0]
    for person_id in ids:
        vault.create_key(person_id)
    with ledger.transaction() as transaction:
        for person_id in ids:
            vault.add_person(transaction.connection, person_id, PACK, vector, stored, True)
            vault.of_visits.add_crop(transaction.connection, f"v-{person_id}", person_id, b"\xff\xd8\xff", stored)


def test_people_whose_time_is_up_are_forgotten_and_named_in_a_record(home: Home, vault: Vault, node: Ledger) -> None:
    remember(vault, node, ["p-1", "p-2"])
    remember(vault, node, ["p-3"], NOW + timedelta(hours=1))
    assert expire(node, vault, ephemeral(), NOW + timedelta(hours=23)) == 0
    assert node.last_of("retention.run") is None
    assert expire(node, vault, ephemeral(), NOW + timedelta(hours=24)) == 2
    record = node.last_of("retention.run")
    assert record is not None
    assert sorted(record.fields["expired"]) == ["p-1", "p-2"]
    assert [person.person_id for person in vault.people()] == ["p-3"]
    assert vault.of_visits.crop("v-p-1") is None
    assert vault.of_visits.crop("v-p-3") is not None
    assert vault.sweep_keys() == 0  # no key is left behind
    assert expire(node, vault, ephemeral(), NOW + timedelta(hours=24)) == 0
    assert verify(home.path).ok


def test_a_return_does_not_lengthen_the_life_of_an_older_face(vault: Vault, node: Ledger) -> None:
    remember(vault, node, ["p-1"])
    for visit in range(1, 50):  # somebody who comes every twenty hours
        now = NOW + timedelta(hours=20 * visit)
        assert expire(node, vault, ephemeral(), now) == 0
        with node.transaction() as transaction:
            vault.templates.add(transaction.connection, "p-1", PACK, np.eye(1, 128, dtype=np.float32)[0], now)
            vault.of_visits.add_crop(transaction.connection, f"v-{visit}", "p-1", b"\xff\xd8\xff", now)
        (person,) = vault.people()
        assert person.templates <= 2, "a face outlived its horizon"
    assert vault.of_visits.crop("v-p-1") is None
    assert vault.of_visits.crop("v-49") is not None
    assert verify_last_drop(node) == 2


def verify_last_drop(node: Ledger) -> int:
    record = node.last_of("retention.run")
    assert record is not None
    assert record.fields["expired"] == []
    return int(record.fields["dropped"])


@pytest.mark.parametrize(
    ("policy", "forgotten"),
    [
        (CapturePolicy("after_consent", "", timedelta(hours=24)), 1),  # nobody unconsented may be kept at all
        (ephemeral(1), 1),  # a shorter horizon holds for who is already stored
        (ephemeral(48), 0),
    ],
)
def test_the_policy_in_force_decides_not_the_one_of_then(
    vault: Vault, node: Ledger, policy: CapturePolicy, forgotten: int
) -> None:
    remember(vault, node, ["p-1"])
    assert expire(node, vault, policy, NOW + timedelta(hours=2)) == forgotten


def test_a_crowd_is_split_over_records_that_stay_small(vault: Vault, node: Ledger) -> None:
    crowd = [f"p-{number:020x}" for number in range(2 * PEOPLE_PER_RECORD + 1)]
    remember(vault, node, crowd)
    assert expire(node, vault, ephemeral(), NOW + timedelta(hours=24)) == len(crowd)
    records = list(node.records(("retention.run",)))
    assert [len(record.fields["expired"]) for record in records] == [PEOPLE_PER_RECORD, PEOPLE_PER_RECORD, 1]
    assert sorted(p for record in records for p in record.fields["expired"]) == crowd
    assert all(len(record.body) < MAX_BODY_BYTES / 2 for record in records)
    assert vault.people() == []


def test_a_crash_after_the_keys_went_is_finished_by_the_next_run(vault: Vault, node: Ledger) -> None:
    remember(vault, node, ["p-1"])
    vault.destroy_keys(["p-1"])
    assert [person.person_id for person in vault.people()] == ["p-1"]
    assert vault.templates.one(1) is None
    assert expire(node, vault, ephemeral(), NOW + timedelta(hours=24)) == 1
    assert vault.people() == []


def test_an_erasure_is_the_desks_record_and_the_chain_still_verifies(
    home: Home, vault: Vault, node: Ledger, desk: Ledger
) -> None:
    remember(vault, node, ["p-1", "p-2"])
    done = erase(desk, vault, "p-1", "request", NOTE)
    assert done.complete
    assert done.record.kind == "person.erased"
    assert done.record.fields["person"] == "p-1"
    assert done.record.fields["reason"] == "request"
    assert [person.person_id for person in vault.people()] == ["p-2"]
    verdict = verify(home.path)
    assert verdict.ok, verdict.why


def test_the_note_stays_out_of_the_record_which_commits_to_it(
    home: Home, vault: Vault, node: Ledger, desk: Ledger, find_bytes
) -> None:
    remember(vault, node, ["p-1", "p-2"])
    done = erase(desk, vault, "p-1", "request", NOTE)
    assert done.salt is not None
    assert done.record.fields["note"] == commitment(done.salt, NOTE.encode()).hex()
    assert find_bytes(home.path, NOTE.encode()) == []
    plain = erase(desk, vault, "p-2", "legal", None)
    assert plain.salt is None
    assert "note" not in plain.record.fields


def test_the_node_may_not_erase_in_the_desks_name(vault: Vault, node: Ledger) -> None:
    remember(vault, node, ["p-1"])
    with pytest.raises(Exception, match=r"person\.erased is not for the node key"):
        erase(node, vault, "p-1", "request", None)


def test_unknown_people_and_reasons_are_refused_in_one_line_and_change_nothing(
    vault: Vault, node: Ledger, desk: Ledger
) -> None:
    remember(vault, node, ["p-1"])
    head = desk.head()
    with pytest.raises(EdgeError, match=r"^person 'p-9': not remembered here [^\n]*$"):
        erase(desk, vault, "p-9", "request", None)
    with pytest.raises(EdgeError, match=r"^reason 'because': one of [^\n]*$") as caught:
        erase(desk, vault, "p-1", "because", None)
    assert all(reason in str(caught.value) for reason in REASONS)
    assert desk.head() == head
    assert vault.of_visits.crop("v-p-1") is not None
