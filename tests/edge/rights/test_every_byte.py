"""After an erasure no byte of template, picture or phone that can be read is left: files, logs, backups, key copies."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from edge.backup import back_up
from edge.clock import Clock
from edge.home import Home
from edge.keys.sealed import Lock, Secret, unsealing
from edge.people.vault import opened
from edge.restore import restore
from edge.rights.retention import confirm_reached, erase
from tests.edge.kiosk.door import PACK, blank_face
from tests.edge.rights.office import ACCOUNT, NUMBER, Office, request

PASSPHRASE = "correct horse battery staple"


def everything(*folders: Path) -> bytes:
    """All bytes there are: databases with their free pages, logs, shared memory, copies."""
    return b"\0".join(file.read_bytes() for folder in folders for file in sorted(folder.rglob("*")) if file.is_file())


def inside(backup: Path) -> bytes:
    """What a backup holds, decrypted."""
    with unsealing(backup, Secret(PASSPHRASE)) as tar:
        return b"\0".join(read.read() for member in tar if (read := tar.extractfile(member)) is not None)


@pytest.mark.parametrize("read_meanwhile", [False, True], ids=["quiet", "while a reader holds a transaction"])
def test_nothing_that_opens_is_left_of_face_or_phone_anywhere(
    office: Office, tmp_path: Path, read_meanwhile: bool
) -> None:
    home, vault, jpeg = office.home, office.vault, blank_face()
    visit, person, contact = office.check_in(crop=jpeg)
    _, other, _ = office.check_in("13911112222", crop=jpeg)
    (template,) = vault.templates.of(person, PACK)
    keys = [vault._safe.key(one) for one in (person, contact)]
    kept = vault._safe.key(other)
    connection = office.desk.connection
    sealed = [
        connection.execute("SELECT sealed FROM templates WHERE person_id = ?", (person,)).fetchone()[0],
        connection.execute("SELECT sealed FROM crops WHERE visit_id = ?", (visit,)).fetchone()[0],
        connection.execute("SELECT sealed FROM contacts WHERE person_id = ?", (contact,)).fetchone()[0],
    ]
    plain = [template.vector.tobytes(), jpeg, NUMBER.encode()]
    backup, copy = tmp_path / "home.backup", tmp_path / "keys"
    back_up(home, backup, Lock.of_passphrase(PASSPHRASE), copy, time.time_ns() // 1000)
    before, backed_up = everything(home.path, copy), inside(backup)
    assert all(one in before for one in (*keys, *sealed)), "the search finds what is there"
    assert all(one in backed_up for one in sealed)
    assert not any(one in before + backed_up for one in plain), "nothing lies open, erased or not"

    readers = [sqlite3.connect(file, isolation_level=None) for file in (home.database, home.keys_database)]
    try:
        if read_meanwhile:
            vault._safe.keys.connection.execute("PRAGMA busy_timeout = 50")
            vault._safe._database.execute("PRAGMA busy_timeout = 50")
            for reader, table in zip(readers, ("people", "person_keys"), strict=True):
                reader.execute("BEGIN")
                reader.execute(f"SELECT count(*) FROM {table}").fetchone()
        officer = office.officer()
        officer.ask(contact, "request", request(), ACCOUNT)
        code = officer.send(contact, request(), ACCOUNT).code
        assert code is not None
        done = erase(office.desk, vault, person, "request", None)
        assert done.complete is not read_meanwhile
        if read_meanwhile:
            assert keys[0] in everything(home.path), "which is why the receipt says pending"
    finally:
        for reader in readers:
            reader.close()
    officer.prove(contact, code, request(), ACCOUNT)
    confirm_reached(office.node, vault)
    vault.scrub()

    after, backed_up = everything(home.path, copy), inside(backup)
    assert not any(one in after for one in (*keys, *sealed, *plain))
    assert not any(one in backed_up for one in (*keys, *plain)), "a backup holds ciphertext that nothing opens"
    assert kept is not None
    assert kept in after, "nobody else was harmed"

    back = tmp_path / "back"
    restored = restore(backup, back, Secret(PASSPHRASE), copy, Clock())
    assert restored.forgotten == 2
    again = Home(back)
    with opened(again.database, again.keys_database) as found:
        assert not found.remembers(person)
        assert not found.remembers(contact)
        assert found.remembers(other)
    with closing(again.open_ledger()) as ledger:
        assert ledger.last_of("retention.run") is not None
