"""A backup is taken while the node writes, says nothing to strangers, and becomes a node again on an empty machine."""

import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyrage
import pytest

from edge import EdgeError
from edge.backup import back_up
from edge.clock import Clock
from edge.consent import CapturePolicy, Horizon
from edge.desk.desk_secrets import desk_secret
from edge.doctor import _copies
from edge.home import Home
from edge.keys.key_copies import INDEX, KeyCopies
from edge.keys.sealed import Lock, SealError, Secret
from edge.people.vault import Vault, opened
from edge.restore import Restored, restore
from edge.rights.retention import erase
from sync import SyncError
from sync.verify.verify import verify
from sync.web.accounts import Accounts

PACK = "test@000000000000"
JPEG = b"\xff\xd8\xff\xe0 JFIF a face of nobody, long enough to be found again \xff\xd9"
PASSPHRASE = "correct horse battery"
NOW_US = 1_770_000_000_000_000
IDENTITY = pyrage.x25519.Identity.generate()
LOCK, SECRET = Lock.of_recipient(str(IDENTITY.to_public())), Secret(identity=str(IDENTITY))

FindBytes = Callable[[Path, bytes], list[str]]


def vector(number: int) -> np.ndarray:
    return np.random.default_rng(number).standard_normal(128).astype(np.float32)


def remember(home: Home, *people: str) -> None:
    """Visits of new people, with their faces."""
    with opened(home.database, home.keys_database) as vault, closing(home.open_ledger("node", Clock())) as ledger:
        for person_id in people:
            vault.create_key(person_id)
            number = int(person_id.removeprefix("p-"))
            with ledger.transaction() as transaction:
                transaction.append("visit.first", {"visit": f"v-{person_id}", "person": person_id})
                connection, now = transaction.connection, datetime.now(UTC)
                vault.add_person(connection, person_id, PACK, vector(number), now, True)
                vault.of_visits.add_crop(connection, f"v-{person_id}", person_id, JPEG, now)


def forget(home: Home, person_id: str) -> tuple[str, ...]:
    with opened(home.database, home.keys_database) as vault, closing(home.open_ledger("desk", Clock())) as ledger:
        return erase(ledger, vault, person_id, "request", None).pending


def keys_of(home: Home) -> dict[str, bytes]:
    with closing(sqlite3.connect(home.keys_database)) as connection:
        return dict(connection.execute("SELECT person_id, key FROM person_keys").fetchall())


def known(home: Home) -> list[str]:
    with opened(home.database, home.keys_database) as vault:
        return [person.person_id for person in vault.people()]


@pytest.fixture
def lived_in(home: Home) -> Home:
    """A HOME that remembers three people."""
    remember(home, "p-1", "p-2", "p-3")
    return home


def bring_back(out: Path, to: Path, keys: Path | None = None) -> Restored:
    return restore(out, to, SECRET, keys, Clock())


# -- what a backup holds, and what it does not ----------------------------------------------------------------------


def test_a_backup_holds_no_person_key_and_nothing_that_can_be_read(
    lived_in: Home, tmp_path: Path, find_bytes: FindBytes
) -> None:
    (tmp_path / "out").mkdir()
    done = back_up(lived_in, tmp_path / "out" / "b", LOCK, tmp_path / "keys", NOW_US)
    assert done.keys == 3
    assert done.size_bytes == (tmp_path / "out" / "b").stat().st_size
    opened_up = tmp_path / "opened"
    opened_up.mkdir()
    with tarfile.open(tmp_path / "out" / "b") as envelope:
        assert envelope.getnames() == ["content.age"]
        member = envelope.extractfile("content.age")
        assert member
        inner = pyrage.decrypt(member.read(), [IDENTITY])
    (opened_up / "content.tar").write_bytes(inner)
    with tarfile.open(fileobj=io.BytesIO(inner)) as content:
        names = content.getnames()
    assert names == ["manifest.json", "firstvisit.toml", "node.pub", "keys/node.key", "keys/desk.key", "firstvisit.db"]
    for needle in (JPEG, *(vector(number).tobytes() for number in (1, 2, 3)), *keys_of(lived_in).values()):
        assert find_bytes(opened_up, needle) == [], "not even to whoever opens it"
        assert find_bytes(tmp_path / "out", needle) == []
        assert find_bytes(tmp_path / "keys", needle) == []
    for needle in (b"visit.first", b"firstvisit-key-v1", b"legal_basis", b"SQLite format 3"):
        assert find_bytes(opened_up, needle), "the search does find what is there"
        assert find_bytes(tmp_path / "out", needle) == []
    assert list(lived_in.path.glob(".backup-*")) == [], "no plain copy is left behind"


def test_who_is_signed_in_is_not_backed_up(lived_in: Home, tmp_path: Path) -> None:
    with closing(sqlite3.connect(lived_in.database)) as connection, connection:
        connection.execute("INSERT INTO web_sessions VALUES (x'00', 'a', '', 'csrf', 1.0, 1.0)")
    back_up(lived_in, tmp_path / "b", LOCK, None, NOW_US)
    bring_back(tmp_path / "b", tmp_path / "new")
    with closing(sqlite3.connect(tmp_path / "new" / "firstvisit.db")) as connection:
        assert connection.execute("SELECT count(*) FROM web_sessions").fetchone() == (0,)


def test_a_backup_taken_while_the_node_writes_is_whole(lived_in: Home, tmp_path: Path) -> None:
    stop = threading.Event()
    written = []

    def write() -> None:
        with closing(lived_in.open_ledger("node", Clock())) as ledger:
            while not stop.is_set():
                written.append(ledger.append("camera.up", {"camera": "door"}).seq)
                stop.wait(0.002)  # SQLite's lock is not fair

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            before = len(written)
            done = back_up(lived_in, tmp_path / f"b{number}", LOCK, None, NOW_US)
            assert done.manifest.seq >= before
    finally:
        stop.set()
        writer.join()
    for number in range(3):
        restored = bring_back(tmp_path / f"b{number}", tmp_path / f"new{number}")
        assert restored.began.seq == 1
    assert verify(lived_in.path).ok


def test_a_damaged_chain_is_not_backed_up(lived_in: Home, tmp_path: Path) -> None:
    with closing(sqlite3.connect(lived_in.database)) as connection, connection:
        connection.execute("UPDATE ledger SET body = x'00' WHERE seq = 2")
    with pytest.raises(SyncError, match="seq 2: hash does not match the body: a damaged chain is not backed up"):
        back_up(lived_in, tmp_path / "b", LOCK, None, NOW_US)
    assert list(tmp_path.glob("b*")) == []


def test_a_backup_never_overwrites(lived_in: Home, tmp_path: Path) -> None:
    (tmp_path / "b").write_text("mine")
    with pytest.raises(SealError, match="already there"):
        back_up(lived_in, tmp_path / "b", LOCK, None, NOW_US)
    assert (tmp_path / "b").read_text() == "mine"


# -- the way back ---------------------------------------------------------------------------------------------------


def test_passwords_come_back_and_pins_do_not_for_their_secret_stayed_behind(lived_in: Home, tmp_path: Path) -> None:
    accounts = Accounts(lived_in.database, pin_secret=desk_secret(lived_in.keys_database, "pin"))
    li = accounts.add("li", PASSPHRASE, "front_desk", "2580")
    back_up(lived_in, tmp_path / "home.backup", LOCK, None, NOW_US)
    bring_back(tmp_path / "home.backup", tmp_path / "new")
    restored = Home(tmp_path / "new")
    after = Accounts(restored.database, pin_secret=desk_secret(restored.keys_database, "pin"))
    assert desk_secret(restored.keys_database, "pin") != desk_secret(lived_in.keys_database, "pin")
    assert after.by_password("li", PASSPHRASE, None, "here") == li
    assert after.with_pin() == []


def test_with_its_keys_everybody_is_known_again_in_a_new_epoch(lived_in: Home, tmp_path: Path) -> None:
    head = lived_in.open_ledger().head()
    assert head
    back_up(lived_in, tmp_path / "b", LOCK, tmp_path / "keys", NOW_US)
    done = bring_back(tmp_path / "b", tmp_path / "new", tmp_path / "keys")
    new = Home(tmp_path / "new")
    assert (done.people, done.forgotten, done.rekeyed) == (3, 0, False)
    assert known(new) == ["p-1", "p-2", "p-3"]
    with opened(new.database, new.keys_database) as vault:
        assert vault.of_visits.crop("v-p-2") == JPEG
        since_us = vault.templates.since_us(PACK)
    assert since_us == done.began.stamp.wall_us, "who came between the backup and now is not known here"
    began = done.began
    assert (began.kind, began.epoch, began.seq, began.prev_hash) == ("epoch.started", 2, 1, head.hash)
    assert began.fields["reason"] == "restore"
    verdict = verify(new.path, lived_in.node_pub)
    assert verdict.ok, verdict.why
    assert (new.path / "keys" / "node.key").stat().st_mode & 0o777 == 0o600


def test_without_keys_the_gallery_restarts_and_says_so(lived_in: Home, tmp_path: Path, find_bytes: FindBytes) -> None:
    back_up(lived_in, tmp_path / "b", LOCK, None, NOW_US)
    done = bring_back(tmp_path / "b", tmp_path / "new")
    new = Home(tmp_path / "new")
    assert (done.people, done.forgotten) == (0, 3)
    assert known(new) == []
    with closing(new.open_ledger()) as ledger:
        record = ledger.last_of("retention.run")
        assert record is not None
        assert (sorted(record.fields["expired"]), record.fields["basis"]) == (["p-1", "p-2", "p-3"], "restore")
        policy = CapturePolicy.of(new.settings())
        soon = datetime.fromtimestamp(done.began.stamp.wall_us / 1e6 + 60, UTC)
        assert Horizon(policy, ledger, new.path).seconds(soon) == 60, "a first visit reaches back to the restore"
    with opened(new.database, new.keys_database) as vault:
        assert vault.templates.since_us(PACK) == done.began.stamp.wall_us
    assert find_bytes(new.path, b"crop:") == []
    assert verify(new.path).ok


def test_the_restored_machine_goes_on_writing_and_takes_its_time_from_itself(lived_in: Home, tmp_path: Path) -> None:
    back_up(lived_in, tmp_path / "b", LOCK, tmp_path / "keys", NOW_US)
    bring_back(tmp_path / "b", tmp_path / "new", tmp_path / "keys")
    new = Home(tmp_path / "new")
    remember(new, "p-4")
    assert forget(new, "p-1") == ()
    assert not (tmp_path / "keys" / "people" / "p-1.age").exists(), "it reaches the copy it was restored from"
    assert known(new) == ["p-2", "p-3", "p-4"]
    assert verify(new.path).ok


def test_a_purged_chain_and_its_new_epoch_come_back_too(lived_in: Home, tmp_path: Path) -> None:
    back_up(lived_in, tmp_path / "b", LOCK, None, NOW_US)
    bring_back(tmp_path / "b", tmp_path / "one")
    back_up(Home(tmp_path / "one"), tmp_path / "c", LOCK, None, NOW_US)
    done = bring_back(tmp_path / "c", tmp_path / "two")
    assert done.began.epoch == 3
    assert verify(tmp_path / "two", lived_in.node_pub).ok


def test_signing_keys_that_could_not_leave_are_made_anew(lived_in: Home, tmp_path: Path) -> None:
    (lived_in.path / "keys" / "desk.key").unlink()  # as where it lies in a TPM
    done = back_up(lived_in, tmp_path / "b", LOCK, None, NOW_US)
    assert done.without == ("keys/desk.key",)
    restored = bring_back(tmp_path / "b", tmp_path / "new")
    assert restored.rekeyed
    assert (tmp_path / "new" / "node-1.pub").read_text() == lived_in.node_pub.read_text()
    assert verify(tmp_path / "new").ok


@pytest.mark.parametrize("place", ["file", "full"])
def test_it_is_restored_into_an_empty_place_only(lived_in: Home, tmp_path: Path, place: str) -> None:
    back_up(lived_in, tmp_path / "b", LOCK, None, NOW_US)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    with pytest.raises(EdgeError, match="not empty; a backup is restored into an empty place"):
        bring_back(tmp_path / "b", tmp_path / place)
    assert (tmp_path / "full" / "x").read_text() == "mine"


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _flip(data: bytes) -> bytes:
    return data[:20_000] + bytes([data[20_000] ^ 1]) + data[20_001:]


def _swap(_data: bytes) -> bytes:
    return b"not a backup"


@pytest.mark.parametrize("damage", [_cut, _flip, _swap])
def test_a_damaged_backup_is_refused_and_leaves_nothing(
    lived_in: Home, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    back_up(lived_in, tmp_path / "b", LOCK, None, NOW_US)
    (tmp_path / "b").write_bytes(damage((tmp_path / "b").read_bytes()))
    with pytest.raises(EdgeError, match=r"^[^\n]*b: [^\n]+$"):
        bring_back(tmp_path / "b", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def sealed_tar(path: Path, members: dict[str, bytes]) -> None:
    """A backup as somebody else might make one: the recipient is no secret."""
    inner, outer = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    with tarfile.open(fileobj=outer, mode="w") as tar:
        data = LOCK.encrypt(inner.getvalue())
        info = tarfile.TarInfo("content.age")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    path.write_bytes(outer.getvalue())


def members_of(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as envelope:
        member = envelope.extractfile("content.age")
        assert member
        inner = pyrage.decrypt(member.read(), [IDENTITY])
    with tarfile.open(fileobj=io.BytesIO(inner)) as content:
        return {info.name: content.extractfile(info).read() for info in content}  # type: ignore[union-attr]


def test_what_was_restored_is_on_the_disk_before_it_is_said_to_be_there(
    lived_in: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite syncs what it writes, and of a database copied here it writes a few pages only."""
    back_up(lived_in, tmp_path / "b", LOCK, None, NOW_US)
    synced, fsync = dict[int, int](), os.fsync

    def noted(handle: int) -> None:
        state = os.fstat(handle)
        synced[state.st_ino] = state.st_mtime_ns
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    bring_back(tmp_path / "b", tmp_path / "new")
    for place in (tmp_path / "new", *(tmp_path / "new").rglob("*")):
        state = place.stat()
        assert synced.get(state.st_ino) == state.st_mtime_ns, f"{place} is not as it was synced"
    assert tmp_path.stat().st_ino in synced


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "run.lock", "keys/../../evil", "node-x.pub"])
def test_a_backup_writes_no_other_names(lived_in: Home, tmp_path: Path, name: str) -> None:
    back_up(lived_in, tmp_path / "b", LOCK, None, NOW_US)
    sealed_tar(tmp_path / "evil-b", {**members_of(tmp_path / "b"), name: b"x"})
    with pytest.raises(SealError, match="not a FirstVisit backup: it holds"):
        bring_back(tmp_path / "evil-b", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "evil").exists()


def test_a_chain_altered_in_its_backup_is_refused(lived_in: Home, tmp_path: Path) -> None:
    back_up(lived_in, tmp_path / "b", LOCK, None, NOW_US)
    members = members_of(tmp_path / "b")
    (tmp_path / "db").write_bytes(members["firstvisit.db"])
    with closing(sqlite3.connect(tmp_path / "db")) as connection, connection:
        connection.execute("DELETE FROM ledger WHERE seq = 5")
    altered = {**members, "firstvisit.db": (tmp_path / "db").read_bytes()}
    sealed_tar(tmp_path / "short", altered)
    with pytest.raises(SyncError, match="holds another chain than its manifest"):
        bring_back(tmp_path / "short", tmp_path / "new")
    with closing(sqlite3.connect(tmp_path / "db")) as connection, connection:
        connection.execute("UPDATE ledger SET body = x'00' WHERE seq = 3")
    sealed_tar(tmp_path / "bad", {**members, "firstvisit.db": (tmp_path / "db").read_bytes()})
    with pytest.raises(SyncError, match="its chain is damaged: seq 3: hash does not match"):
        bring_back(tmp_path / "bad", tmp_path / "new")
    assert not (tmp_path / "new").exists()


# -- copies of the keys, and erasures -------------------------------------------------------------------------------


def test_an_erasure_reaches_every_copy_of_the_keys(lived_in: Home, tmp_path: Path) -> None:
    for number in (1, 2):
        back_up(lived_in, tmp_path / f"b{number}", LOCK, tmp_path / f"keys{number}", NOW_US)
    assert forget(lived_in, "p-2") == ()
    for number in (1, 2):
        assert sorted(file.name for file in (tmp_path / f"keys{number}" / "people").iterdir()) == ["p-1.age", "p-3.age"]
    done = bring_back(tmp_path / "b1", tmp_path / "new", tmp_path / "keys1")
    assert (done.people, done.forgotten) == (2, 1)
    new = Home(tmp_path / "new")
    assert known(new) == ["p-1", "p-3"], "who was erased after the backup does not come back"
    with opened(new.database, new.keys_database) as vault:
        assert vault.of_visits.crop("v-p-2") is None


def test_a_copy_out_of_reach_keeps_the_erasure_pending_until_it_is_back(lived_in: Home, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    back_up(lived_in, tmp_path / "b", LOCK, keys, NOW_US)
    keys.rename(tmp_path / "drawer")
    assert forget(lived_in, "p-1") == (f"{keys}: out of reach",)
    (finding,) = _copies(lived_in)
    assert finding.text.startswith(f"{keys}: the keys of 1 person erased here")
    keys.mkdir()  # where it was mounted is empty now
    assert forget(lived_in, "p-1") == (f"{keys}: out of reach",)
    keys.rmdir()
    (tmp_path / "drawer").rename(keys)
    with opened(lived_in.database, lived_in.keys_database) as vault:
        assert vault.reach_copies() == [], "as the node does each minute"
    assert not (keys / "people" / "p-1.age").exists()
    assert forget(lived_in, "p-1") == ()


def test_another_copy_in_its_place_is_not_taken_for_it(
    lived_in: Home, make_home: Callable[..., Home], tmp_path: Path
) -> None:
    back_up(lived_in, tmp_path / "b", LOCK, tmp_path / "keys", NOW_US)
    other = make_home("other")
    remember(other, "p-1")
    shutil.move(tmp_path / "keys", tmp_path / "drawer")
    back_up(other, tmp_path / "c", LOCK, tmp_path / "keys", NOW_US)
    assert forget(lived_in, "p-1") != ()
    assert (tmp_path / "keys" / "people" / "p-1.age").exists()


def test_a_copy_follows_who_has_come_since(lived_in: Home, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    back_up(lived_in, tmp_path / "b", LOCK, keys, NOW_US)
    before = (keys / "people" / "p-1.age").read_bytes()
    remember(lived_in, "p-4")
    assert back_up(lived_in, tmp_path / "c", LOCK, keys, NOW_US).keys == 4
    assert (keys / "people" / "p-1.age").read_bytes() == before
    assert bring_back(tmp_path / "c", tmp_path / "new", keys).people == 4


def test_a_restored_or_lost_keys_db_empties_no_copy(lived_in: Home, tmp_path: Path) -> None:
    back_up(lived_in, tmp_path / "b", LOCK, tmp_path / "keys", NOW_US)
    bring_back(tmp_path / "b", tmp_path / "new")  # on the same machine, to try it, without the keys
    new = Home(tmp_path / "new")
    with opened(new.database, new.keys_database) as vault:
        vault.reach_copies()
    KeyCopies(new.database, new.keys_database).reach()
    assert len(list((tmp_path / "keys" / "people").iterdir())) == 3


def test_a_folder_that_is_no_copy_of_this_node_s_keys_is_refused(lived_in: Home, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "holiday.jpg").write_bytes(b"")
    with pytest.raises(SealError, match="neither empty nor a copy of person keys"):
        back_up(lived_in, tmp_path / "b", LOCK, keys, NOW_US)
    (keys / "holiday.jpg").unlink()
    back_up(lived_in, tmp_path / "c", LOCK, keys, NOW_US)
    other = Lock.of_recipient(str(pyrage.x25519.Identity.generate().to_public()))
    with pytest.raises(SealError, match="encrypted to age1"):
        back_up(lived_in, tmp_path / "d", other, keys, NOW_US)
    index = json.loads((keys / INDEX).read_text())
    (keys / INDEX).write_text(json.dumps({**index, "node": "another"}))
    with pytest.raises(SealError, match="holds the keys of node another, not of puxi-01-a"):
        back_up(lived_in, tmp_path / "e", LOCK, keys, NOW_US)
    with pytest.raises(SealError, match="holds the keys of node another"):
        bring_back(tmp_path / "c", tmp_path / "new", keys)
    assert not (tmp_path / "new").exists()


# -- as people do it ------------------------------------------------------------------------------------------------


def firstvisit(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_the_commands_take_a_passphrase_and_refuse_in_one_line(lived_in: Home, tmp_path: Path) -> None:
    right, wrong, short = (tmp_path / name for name in ("right", "wrong", "short"))
    right.write_text(PASSPHRASE + "\n")
    wrong.write_text("incorrect horse battery\n")
    short.write_text("horse\n")
    out, keys = tmp_path / "b", tmp_path / "keys"
    asked = ("backup", "--home", lived_in.path, "--out", out)
    for refused in (
        firstvisit(*asked),
        firstvisit(*asked, "--passphrase-file", short),
        firstvisit(*asked, "--recipient", "age1nobody"),
        firstvisit(*asked, "--passphrase-file", right, "--recipient", LOCK.recipient),
    ):
        assert refused.returncode == 2
        assert refused.stderr.count("\n") == 1, refused.stderr
    done = firstvisit(*asked, "--passphrase-file", right, "--keys", keys)
    assert done.returncode == 0, done.stderr
    assert f"3 person keys in {keys}" in done.stdout.replace("\n", "")
    new = tmp_path / "new"
    refused = firstvisit("restore", out, "--home", new, "--passphrase-file", wrong)
    assert refused.returncode == 2
    assert "the passphrase does not open it" in refused.stderr
    assert not new.exists()
    restored = firstvisit("restore", out, "--home", new, "--passphrase-file", right, "--keys", keys)
    assert restored.returncode == 0, restored.stderr
    assert "3 people are remembered, 0 forgotten" in restored.stdout
    assert firstvisit("verify", new, "--public-key", lived_in.node_pub).returncode == 0
    keys.rename(tmp_path / "drawer")
    pending = firstvisit("erase", "--home", new, "p-2", "--reason", "request")
    assert pending.returncode == 1
    assert "pending" in pending.stdout
    assert "out of reach; run it again" in pending.stdout.replace("\n", "")
    (tmp_path / "drawer").rename(keys)
    again = firstvisit("erase", "--home", new, "p-2", "--reason", "request")
    assert again.returncode == 0, again.stdout
    assert "complete" in again.stdout


def test_a_vault_without_copies_asks_for_none(lived_in: Home) -> None:
    with opened(lived_in.database, lived_in.keys_database) as vault:
        assert isinstance(vault, Vault)
        assert vault.reach_copies() == []
        assert vault.destroy_keys(["p-1"])
