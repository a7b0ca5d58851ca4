"""Faces at rest are sealed, and an erased person is nowhere on the disk."""

import sqlite3
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from edge.clock import Clock
from edge.home import Home
from edge.people.handing_over import absorb
from edge.people.person_keys import VaultError
from edge.people.template_choice import MOST_TEMPLATES
from edge.people.vault import Vault, opened
from edge.rights.retention import erase
from sync import SyncError
from sync.format.stamp import to_us
from sync.node.ledger import Ledger
from sync.storage.database import DatabaseError, NewerFormat

PACK = "test@000000000000"
NOW = datetime(2026, 7, 1, 2, tzinfo=UTC)
JPEG = b"\xff\xd8\xff\xe0" + b"a face that must never be found again " * 8


def unit(seed: int) -> np.ndarray:
    vector = np.random.default_rng(seed).standard_normal(128).astype(np.float32)
    return vector / np.linalg.norm(vector)


@pytest.fixture
def vault(home: Home) -> Iterator[Vault]:
    with opened(home.database, home.keys_database) as vault:
        yield vault


@pytest.fixture
def ledger(home: Home) -> Iterator[Ledger]:
    ledger = home.open_ledger("node", Clock())
    yield ledger
    ledger.close()


def remember(vault: Vault, ledger: Ledger, person_id: str, seed: int, searchable: bool = True) -> None:
    """What `Visits` does: the key first, then person and crop in one transaction."""
    vault.create_key(person_id)
    with ledger.transaction() as transaction:
        connection = transaction.connection
        vault.add_person(connection, person_id, PACK, unit(seed), NOW, searchable)
        vault.of_visits.add_crop(connection, f"v-{person_id}", person_id, JPEG + person_id.encode(), NOW)


def owners(vault: Vault) -> list[str]:
    """Whose the searchable templates are, oldest first."""
    return [sealed.person_id for sealed in vault.templates.sealed(PACK)]


def raw_key(home: Home, person_id: str) -> bytes:
    connection = sqlite3.connect(home.keys_database)
    (key,) = connection.execute("SELECT key FROM person_keys WHERE person_id = ?", (person_id,)).fetchone()
    connection.close()
    return bytes(key)


def test_what_is_remembered_reads_back_and_lies_sealed(
    home: Home, vault: Vault, ledger: Ledger, find_bytes, searchable
) -> None:
    remember(vault, ledger, "p-1", 1)
    remember(vault, ledger, "p-2", 2, searchable=False)
    (stored,) = searchable(vault, PACK)
    assert stored.person_id == "p-1"
    assert np.array_equal(stored.vector, unit(1))
    assert vault.of_visits.crop("v-p-2") == JPEG + b"p-2"
    assert [(p.person_id, p.searchable, p.templates) for p in vault.people()] == [("p-1", True, 1), ("p-2", False, 1)]
    for plain in (unit(1).tobytes(), unit(1).tobytes()[:16], JPEG, JPEG[:8]):
        assert find_bytes(home.path, plain) == []


def test_every_person_has_a_key_of_their_own_in_keys_db_alone(
    home: Home, vault: Vault, ledger: Ledger, find_bytes
) -> None:
    remember(vault, ledger, "p-1", 1)
    remember(vault, ledger, "p-2", 2)
    keys = {person_id: raw_key(home, person_id) for person_id in ("p-1", "p-2")}
    assert keys["p-1"] != keys["p-2"]
    assert all(len(key) == 32 for key in keys.values())
    for key in keys.values():
        assert set(find_bytes(home.path, key)) <= {"keys.db", "keys.db-wal"}
        assert find_bytes(home.path, key)


def sealed_bytes(home: Home, person_id: str) -> list[bytes]:
    connection = sqlite3.connect(home.database)
    rows = [
        row[0]
        for table in ("templates", "crops")
        for row in connection.execute(f"SELECT sealed FROM {table} WHERE person_id = ?", (person_id,))
    ]
    connection.close()
    return rows


def test_an_erased_person_leaves_no_byte_of_key_face_or_ciphertext(
    home: Home, vault: Vault, ledger: Ledger, find_bytes
) -> None:
    remember(vault, ledger, "p-1", 1)
    remember(vault, ledger, "p-2", 2)
    key, other, sealed = raw_key(home, "p-1"), raw_key(home, "p-2"), sealed_bytes(home, "p-1")
    assert len(sealed) == 2
    desk = home.open_ledger("desk", Clock())
    assert erase(desk, vault, "p-1", "request", None).complete
    for needle in (key, unit(1).tobytes(), JPEG + b"p-1", *sealed):
        assert find_bytes(home.path, needle) == []
    assert find_bytes(home.path, other)  # the search does find what is there
    assert vault.of_visits.crop("v-p-1") is None
    assert vault.of_visits.crop("v-p-2") == JPEG + b"p-2"
    desk.close()


def test_a_long_reader_makes_an_erasure_pending_until_it_has_gone(
    home: Home, vault: Vault, ledger: Ledger, find_bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.storage.database.BUSY_TIMEOUT_S", 0.2)
    remember(vault, ledger, "p-1", 1)
    key = raw_key(home, "p-1")
    reader = sqlite3.connect(home.keys_database, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM person_keys").fetchone()
    desk = home.open_ledger("desk", Clock())
    with opened(home.database, home.keys_database) as impatient:
        first = erase(desk, impatient, "p-1", "request", "asked by telephone")
        assert not first.complete
        assert find_bytes(home.path, key)  # which is why it says pending
        assert impatient.of_visits.crop("v-p-1") is None
        reader.execute("ROLLBACK")
        again = erase(desk, impatient, "p-1", "request", None)
    assert again.complete
    assert again.record == first.record
    assert find_bytes(home.path, key) == []
    assert len(list(desk.records(("person.erased",)))) == 1
    reader.close()
    desk.close()


@pytest.mark.parametrize("does", ["INSERT INTO stash VALUES (OLD.person_id, OLD.key)", "SELECT RAISE(IGNORE)"])
def test_a_trigger_that_keeps_keys_stops_the_erasure_and_nothing_is_called_erased(
    home: Home, vault: Vault, ledger: Ledger, does: str
) -> None:
    remember(vault, ledger, "p-1", 1)
    connection = sqlite3.connect(home.keys_database)
    connection.execute("CREATE TABLE stash (person_id, key)")
    connection.execute(f"CREATE TRIGGER keep BEFORE DELETE ON person_keys BEGIN {does}; END")
    connection.close()
    desk = home.open_ledger("desk", Clock())
    with pytest.raises(DatabaseError, match=r"keys\.db: it holds the trigger 'keep'"):
        erase(desk, vault, "p-1", "request", None)
    assert desk.last_of("person.erased") is None
    desk.close()
    with pytest.raises(DatabaseError, match="trigger 'keep'"), opened(home.database, home.keys_database):
        pass


def test_keys_that_are_still_there_after_their_destruction_are_named(vault: Vault, ledger: Ledger) -> None:
    remember(vault, ledger, "p-1", 1)
    vault._safe.keys.connection.execute(
        "CREATE TEMP TRIGGER keep BEFORE DELETE ON person_keys BEGIN SELECT RAISE(IGNORE); END"
    )
    with pytest.raises(VaultError, match=r"keys\.db: the key of person p-1 is still there"):
        vault.destroy_keys(["p-1"])


def test_a_crash_between_key_and_person_leaves_a_key_that_the_next_start_sweeps(
    home: Home, vault: Vault, ledger: Ledger, find_bytes
) -> None:
    remember(vault, ledger, "p-1", 1)
    vault.create_key("p-lost")
    key = raw_key(home, "p-lost")
    assert vault.sweep_keys() == 1
    assert find_bytes(home.path, key) == []
    assert vault.sweep_keys() == 0
    assert vault.of_visits.crop("v-p-1") is not None


def test_a_transaction_that_fails_remembers_nobody(vault: Vault, ledger: Ledger) -> None:
    vault.create_key("p-1")
    revision = vault.templates.revision()

    def add_and_record_what_is_the_desks() -> None:
        with ledger.transaction() as transaction:
            vault.add_person(transaction.connection, "p-1", PACK, unit(1), NOW, True)
            transaction.append("person.erased", {"person": "p-1", "reason": "request"})

    with pytest.raises(SyncError, match="not for the node key"):
        add_and_record_what_is_the_desks()
    assert vault.people() == []
    assert vault.templates.revision() == revision
    assert vault.templates.since_us(PACK) is None
    assert vault.sweep_keys() == 1


def test_nobody_is_added_without_a_key(vault: Vault, ledger: Ledger) -> None:
    with pytest.raises(VaultError, match="person p-1: no key"), ledger.transaction() as transaction:
        vault.add_person(transaction.connection, "p-1", PACK, unit(1), NOW, True)


def test_the_desks_answer_reseals_everything_under_the_older_person(
    home: Home, vault: Vault, ledger: Ledger, find_bytes
) -> None:
    remember(vault, ledger, "p-old", 1)
    remember(vault, ledger, "p-new", 2, searchable=False)
    with ledger.transaction() as transaction:
        absorb(transaction.connection, vault, "p-new", "p-old")
    assert [(p.person_id, p.templates) for p in vault.people()] == [("p-old", 2)]
    assert owners(vault) == ["p-old", "p-old"]
    assert vault.of_visits.crop("v-p-new") == JPEG + b"p-new"
    vault.sweep_keys()  # the provisional key opens nothing any more
    assert vault.of_visits.crop("v-p-new") == JPEG + b"p-new"
    key = raw_key(home, "p-old")
    desk = home.open_ledger("desk", Clock())
    assert erase(desk, vault, "p-old", "request", None).complete
    desk.close()
    assert vault.of_visits.crop("v-p-new") is None
    assert find_bytes(home.path, key) == []


def test_nothing_is_absorbed_into_somebody_forgotten(vault: Vault, ledger: Ledger) -> None:
    remember(vault, ledger, "p-new", 2, searchable=False)
    with pytest.raises(VaultError, match="person p-old is no longer"), ledger.transaction() as transaction:
        absorb(transaction.connection, vault, "p-new", "p-old")
    assert [p.person_id for p in vault.people()] == ["p-new"]


def test_each_change_of_the_searchable_names_whose_it_was_until_it_is_forgotten(
    vault: Vault, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember(vault, ledger, "p-1", 1)
    remember(vault, ledger, "p-2", 2, searchable=False)
    first = vault.templates.revision()
    with ledger.transaction() as transaction:
        absorb(transaction.connection, vault, "p-2", "p-1")
    assert vault.templates.changed_between(0, first) == ["p-1"]
    assert vault.templates.changed_between(first, vault.templates.revision()) == ["p-1", "p-2"]
    assert vault.templates.changed_between(first, first) == []
    monkeypatch.setattr("edge.people.templates._CHANGES_KEPT", 2)
    for _ in range(2):
        with ledger.transaction() as transaction:
            vault.make_searchable(transaction.connection, "p-1")
    assert vault.templates.changed_between(vault.templates.revision() - 2, vault.templates.revision()) == ["p-1"]
    assert vault.templates.changed_between(first, vault.templates.revision()) is None


def test_more_templates_than_a_page_are_all_read_once(
    vault: Vault, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.people.templates._PAGE", 2)
    for number in range(5):
        remember(vault, ledger, f"p-{number}", number)
    assert owners(vault) == [f"p-{number}" for number in range(5)]
    vault.destroy_keys(["p-3"])
    assert owners(vault) == ["p-0", "p-1", "p-2", "p-4"]


def test_a_provisional_person_becomes_searchable_when_the_desk_says_new(vault: Vault, ledger: Ledger) -> None:
    remember(vault, ledger, "p-1", 1, searchable=False)
    assert owners(vault) == []
    revision = vault.templates.revision()
    with ledger.transaction() as transaction:
        vault.make_searchable(transaction.connection, "p-1")
    assert owners(vault) == ["p-1"]
    assert vault.templates.revision() > revision


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE templates SET sealed = zeroblob(length(sealed))",
        "UPDATE templates SET sealed = CAST(substr(sealed, 1, length(sealed) - 1) || x'00' AS BLOB)",
        "UPDATE templates SET sealed = x''",
        "UPDATE templates SET pack = 'other@000000000000'",
        "UPDATE templates SET sealed = (SELECT sealed FROM crops LIMIT 1)",
    ],
)
def test_a_ciphertext_that_was_touched_does_not_open(vault: Vault, ledger: Ledger, searchable, change: str) -> None:
    remember(vault, ledger, "p-1", 1)
    with ledger.transaction() as transaction:
        transaction.connection.execute(change)
    with pytest.raises(VaultError, match=r"template:p-1.*does not open"):
        searchable(vault, "other@000000000000" if "other@" in change else PACK)


def test_two_crops_swapped_do_not_open(vault: Vault, ledger: Ledger) -> None:
    remember(vault, ledger, "p-1", 1)
    remember(vault, ledger, "p-2", 2)
    with ledger.transaction() as transaction:
        transaction.connection.execute(
            "UPDATE crops SET sealed = (SELECT sealed FROM crops WHERE visit_id = 'v-p-2') WHERE visit_id = 'v-p-1'"
        )
    with pytest.raises(VaultError, match="crop:v-p-1"):
        vault.of_visits.crop("v-p-1")


def test_a_crop_for_somebody_erased_meanwhile_is_not_kept(vault: Vault, ledger: Ledger, searchable) -> None:
    remember(vault, ledger, "p-1", 1)
    vault.destroy_keys(["p-1"])
    with ledger.transaction() as transaction:
        vault.of_visits.add_crop(transaction.connection, "v-2", "p-1", JPEG, NOW)
        assert vault.templates.add(transaction.connection, "p-1", PACK, unit(2), NOW) is None
    assert vault.of_visits.crop("v-2") is None
    assert searchable(vault, PACK) == []


def test_each_template_has_its_own_life(vault: Vault, ledger: Ledger) -> None:
    remember(vault, ledger, "p-1", 1)
    later = NOW + timedelta(hours=20)
    with ledger.transaction() as transaction:
        added = vault.templates.add(transaction.connection, "p-1", PACK, unit(2), later)
    assert owners(vault) == ["p-1", "p-1"]
    assert vault.outlived.people(to_us(NOW)) == []
    assert vault.outlived.templates(to_us(NOW)) == 2  # the first visit's template and crop
    with ledger.transaction() as transaction:
        vault.outlived.drop(transaction.connection, to_us(NOW))
    assert [sealed.template_id for sealed in vault.templates.sealed(PACK)] == [added]
    assert [person.stored_us for person in vault.people()] == [to_us(later)]
    assert vault.of_visits.crop("v-p-1") is None
    assert vault.outlived.people(to_us(later)) == ["p-1"]


def like(vector: np.ndarray, seed: int) -> np.ndarray:
    """Nearly the same face again."""
    near = vector + 0.05 * unit(seed)
    return near / np.linalg.norm(near)


def kept(vault: Vault) -> list[np.ndarray]:
    return [sealed.opened().vector for sealed in vault.templates.sealed(PACK)]


def test_a_person_keeps_the_templates_that_differ_most_and_always_the_newest(vault: Vault, ledger: Ledger) -> None:
    remember(vault, ledger, "p-1", 0)
    looks = [unit(seed) for seed in range(MOST_TEMPLATES)]  # the first is remembered already
    again = [like(looks[0], 100), like(looks[3], 101)]
    for number, vector in enumerate([*looks[1:], *again], start=1):
        revision = vault.templates.revision()
        with ledger.transaction() as transaction:
            at = NOW + timedelta(hours=number)
            added = vault.templates.add(transaction.connection, "p-1", PACK, vector, at)
        assert vault.templates.changed_between(revision, vault.templates.revision()) == ["p-1"]
        assert [sealed.template_id for sealed in vault.templates.sealed(PACK)][-1] == added
    expected = [looks[1], looks[2], *looks[4:], *again]  # of each pair that is nearly the same the older went
    assert np.array_equal(np.stack(kept(vault)), np.stack(expected).astype(np.float32))


def test_templates_of_another_pack_are_counted_apart(vault: Vault, ledger: Ledger) -> None:
    remember(vault, ledger, "p-1", 0)
    with ledger.transaction() as transaction:
        for seed in range(1, MOST_TEMPLATES + 2):
            vault.templates.add(transaction.connection, "p-1", "other@1", unit(seed), NOW)
    assert len(kept(vault)) == 1
    assert len(list(vault.templates.sealed("other@1"))) == MOST_TEMPLATES


def test_a_damaged_template_keeps_nobody_from_being_remembered_again(vault: Vault, ledger: Ledger) -> None:
    remember(vault, ledger, "p-1", 0)
    with ledger.transaction() as transaction:
        transaction.connection.execute("UPDATE templates SET sealed = x''")
    with ledger.transaction() as transaction:
        for seed in range(1, MOST_TEMPLATES + 3):
            vault.templates.add(transaction.connection, "p-1", PACK, unit(seed), NOW)
    assert len(list(vault.templates.sealed(PACK))) == MOST_TEMPLATES + 1  # the damaged one is left for who repairs it


def test_what_the_desk_joins_is_thinned_too(vault: Vault, ledger: Ledger) -> None:
    remember(vault, ledger, "p-old", 0)
    with ledger.transaction() as transaction:
        for seed in range(1, MOST_TEMPLATES):
            vault.templates.add(transaction.connection, "p-old", PACK, unit(seed), NOW)
    remember(vault, ledger, "p-new", 50, searchable=False)
    with ledger.transaction() as transaction:
        absorb(transaction.connection, vault, "p-new", "p-old")
    assert len(kept(vault)) == MOST_TEMPLATES


def test_a_vault_without_its_keys_or_ledger_is_refused_and_makes_no_file(home: Home) -> None:
    home.keys_database.rename(home.path / "aside.db")
    with pytest.raises(DatabaseError, match=r"keys\.db: no person key database there"):
        Vault(home.database, home.keys_database)
    (home.path / "aside.db").rename(home.keys_database)
    home.database.rename(home.path / "aside.db")
    with pytest.raises(DatabaseError, match=r"firstvisit\.db: no ledger there"):
        Vault(home.database, home.keys_database)
    assert not home.database.exists()


@pytest.mark.parametrize("name", ["keys.db", "firstvisit.db"])
def test_a_damaged_database_is_named_in_one_line(home: Home, name: str) -> None:
    for leftover in home.path.glob(f"{name}*"):
        leftover.unlink()
    (home.path / name).write_bytes(b"not a database at all" * 100)
    with pytest.raises(DatabaseError, match=rf"^[^\n]*{name}: [^\n]*$"):
        Vault(home.database, home.keys_database)


def test_a_database_of_a_newer_version_is_refused(home: Home) -> None:
    connection = sqlite3.connect(home.database)
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(NewerFormat, match="written by a newer FirstVisit"):
        Vault(home.database, home.keys_database)


def test_a_locked_key_database_is_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync.storage.database.BUSY_TIMEOUT_S", 0.2)
    other = sqlite3.connect(home.keys_database, isolation_level=None)
    with opened(home.database, home.keys_database) as vault:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseError, match=r"keys\.db: database is locked"):
            vault.create_key("p-1")
        with pytest.raises(DatabaseError, match=r"keys\.db: database is locked"):
            vault.destroy_keys(["p-1"])
        other.execute("ROLLBACK")
        vault.create_key("p-1")  # and it goes on afterwards
        assert vault.sweep_keys() == 1
    other.close()


def test_two_vaults_in_two_threads_see_each_other(home: Home, vault: Vault, ledger: Ledger) -> None:
    found: list[str] = []

    def look(database: Path, keys: Path) -> None:
        with opened(database, keys) as other:
            found.extend(owners(other))

    remember(vault, ledger, "p-1", 1)
    thread = threading.Thread(target=look, args=(home.database, home.keys_database))
    thread.start()
    thread.join(20)
    assert found == ["p-1"]


@pytest.mark.parametrize(("name", "table"), [("firstvisit.db", "people"), ("keys.db", "person_keys")])
def test_a_page_that_is_damaged_is_named_when_it_is_read(
    home: Home, vault: Vault, ledger: Ledger, name: str, table: str
) -> None:
    remember(vault, ledger, "p-1", 1)
    vault.close()
    ledger.close()
    connection = sqlite3.connect(home.path / name)
    (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    with (home.path / name).open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    with opened(home.database, home.keys_database) as damaged:
        read = damaged.people if table == "people" else lambda: damaged.of_visits.crop("v-p-1")
        with pytest.raises(DatabaseError, match=rf"^[^\n]*{name}: database disk image is malformed$"):
            read()
