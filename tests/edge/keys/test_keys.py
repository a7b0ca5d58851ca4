"""Rotating keys, whatever it is cut off at, and beginning new epochs; real files, real processes."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from edge import EdgeError
from edge.clock import Clock
from edge.doctor import examine
from edge.home import Home
from edge.keys.custody import KeyFolder, NoKey
from edge.keys.epochs import begin_epoch, rekey
from edge.keys.key_history import key_history
from edge.keys.key_rotation import RotationError, rotate
from sync import SyncError
from sync.format.records import Role
from sync.verify.verify import verify
from tests.edge.test_cli import Call, call

__all__ = ["call"]  # a fixture


def _good(home: Home, public_key: Path | None = None) -> tuple[str, ...]:
    verdict = verify(home.path, public_key)
    assert verdict.ok, verdict.lines
    return verdict.lines


@pytest.mark.parametrize("role", ["node", "desk"])
def test_a_rotated_key_signs_what_follows_and_the_original_enrolment_still_proves_the_chain(
    home: Home, role: Role, tmp_path: Path
) -> None:
    original = shutil.copy(home.node_pub, tmp_path / "original.pub")
    before = home.signer(role).public
    done = rotate(home, role, None, Clock())
    assert home.signer(role).public == done.key != before
    assert home.node_pub.read_bytes() == original.read_bytes()  # whoever enrolled it has nothing to do
    home.open_ledger("node", Clock()).append("node.alive", {})
    home.open_ledger("desk", Clock()).append("day.closed", {})
    assert any(line.startswith("origin proven") for line in _good(home, original))
    assert sorted(path.name for path in (home.path / "keys").iterdir()) == ["desk.key", "node.key"]


def test_a_process_that_holds_the_old_key_goes_on_with_the_new_one(home: Home) -> None:
    node, desk = home.open_ledger("node", Clock()), home.open_ledger("desk", Clock())
    first = node.append("node.alive", {}).key_id, desk.append("day.closed", {}).key_id
    rotate(home, "node", None, Clock())
    rotate(home, "desk", None, Clock())
    second = node.append("node.alive", {}).key_id, desk.append("day.closed", {}).key_id
    assert second == (home.signer("node").public.key_id, home.signer("desk").public.key_id)
    assert not set(first) & set(second)
    _good(home)


def test_a_process_that_cannot_read_the_new_key_says_so_and_writes_nothing(home: Home) -> None:
    node = home.open_ledger("node", Clock())
    shutil.copytree(home.path / "keys", home.path / "old")
    rotate(home, "node", None, Clock())
    shutil.copy(home.path / "old" / "node.key", home.path / "keys" / "node.key")
    with pytest.raises(SyncError, match="is retired"):
        node.append("node.alive", {})
    _good(home)


# Where the process is killed: in front of a step, or behind it.
_KILLED = """
import os, signal, sys
from pathlib import Path
from edge.clock import Clock
from edge.keys.custody import KeyFolder
from edge.home import Home
from edge.keys.key_rotation import RotationError, rotate
from sync.node.append import Transaction
step, where, role = sys.argv[2:]
owner = {"create": KeyFolder, "hand_over": KeyFolder, "append_placed": Transaction, "replace": KeyFolder,
         "rename": Path}[step]
real = getattr(owner, step)
def killed(*args, **kw):
    if where == "after":
        real(*args, **kw)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(owner, step, killed)
rotate(Home(Path(sys.argv[1])), role, None, Clock())
"""


@pytest.mark.parametrize("role", ["node", "desk"])
@pytest.mark.parametrize(
    ("step", "where", "recorded"),
    [
        ("create", "before", False),
        ("create", "after", False),
        ("hand_over", "after", False),
        ("append_placed", "after", False),  # within the transaction
        ("replace", "before", True),
        ("rename", "before", True),
        ("replace", "after", True),
    ],
)
def test_a_rotation_killed_at_any_step_leaves_a_node_that_records_and_is_finished_by_the_next(
    home: Home, role: Role, step: str, where: str, recorded: bool
) -> None:
    before = home.signer(role).public
    ended = subprocess.run(
        [sys.executable, "-c", _KILLED, str(home.path), step, where, role], check=False, env=os.environ
    )
    assert ended.returncode == -signal.SIGKILL
    in_force = home.signer(role).public
    assert (in_force != before) is recorded
    home.open_ledger("node", Clock()).append("node.alive", {})
    home.open_ledger("desk", Clock()).append("day.closed", {})
    done = rotate(home, role, None, Clock())
    assert done.resumed is (recorded and (step, where) != ("replace", "after"))
    assert home.signer(role).public == done.key
    assert (done.key == in_force) is done.resumed
    home.open_ledger("node", Clock()).append("node.alive", {})
    assert sorted(path.name for path in (home.path / "keys").iterdir()) == ["desk.key", "node.key"]
    _good(home)


def test_a_rotation_finished_behind_another_roles_says_which_record_was_its_own(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as cut:
        cut.setattr(KeyFolder, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            rotate(home, "node", None, Clock())
    rotate(home, "desk", None, Clock())
    done = rotate(home, "node", None, Clock())
    assert (done.resumed, done.record.fields["role"], done.record.seq) == (True, "node", 3)


def test_a_new_epoch_goes_on_under_the_same_keys_and_verifies(home: Home) -> None:
    head = home.open_ledger().head()
    rotate(home, "desk", None, Clock())
    record = begin_epoch(home, "restore", Clock())
    assert (record.epoch, record.seq) == (2, 1)
    assert record.fields["keys"] == {role: str(home.signer(role).public) for role in ("node", "desk")}
    assert record.fields["site"] == "puxi-01"
    home.open_ledger("desk", Clock()).append("day.closed", {})
    assert head is not None
    _good(home, home.node_pub)


def test_new_keys_begin_a_new_epoch_and_each_enrolment_proves_its_own(home: Home, tmp_path: Path) -> None:
    original = shutil.copy(home.node_pub, tmp_path / "original.pub")
    before = {role: home.signer(role).public for role in ("node", "desk")}
    (home.path / "keys" / "desk.key").unlink()  # lost
    record = rekey(home, Clock(), None, None)
    assert (record.epoch, record.fields["reason"]) == (2, "rekey")
    home.open_ledger("desk", Clock()).append("day.closed", {})
    assert not {home.signer(role).public for role in ("node", "desk")} & set(before.values())
    assert (home.path / "node-1.pub").read_bytes() == original.read_bytes()
    assert any("epoch 2 were found here" in line for line in _good(home, original))
    assert any("epoch 1 were found here" in line for line in _good(home, home.node_pub))
    (home.path / "node-1.pub").unlink()
    assert not verify(home.path).ok


def test_a_rekeying_that_was_cut_off_behind_its_record_is_finished_by_the_next(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.keys.epochs._take_over", lambda *_: (_ for _ in ()).throw(OSError("the power went")))
    with pytest.raises(OSError, match="the power went"):
        rekey(home, Clock(), None, None)
    monkeypatch.undo()
    home.open_ledger("node", Clock()).append("node.alive", {})
    record = rekey(home, Clock(), None, None)
    assert record.epoch == 2
    _good(home)


def test_a_key_that_lies_there_twice_is_named(home: Home) -> None:
    shutil.copy(home.path / "keys" / "node.key", home.path / "keys" / "node.tpm")
    with pytest.raises(NoKey, match=r"key node lies there twice, as file and tpm2"):
        home.signer("node")


def test_the_commands_rotate_list_and_begin_anew(call: Call, home: Home) -> None:
    told = call("keys", "rotate", "--home", home.path, "--role", "desk")
    assert (told.code, told.err) == (0, "")
    assert home.signer("desk").public.fingerprint in told.out
    assert call("keys", "new-epoch", "--home", home.path, "--reason", "fork", "--epoch", 4).code == 0
    told = call("keys", "new-epoch", "--home", home.path, "--reason", "rekey")
    assert f"central enroll --rekey {home.node_pub}" in " ".join(told.out.split())
    listed = json.loads(call("keys", "list", "--home", home.path, "--json").out)
    assert [(row["role"], row["since"], row["until"]) for row in listed] == [
        ("node", "seq 1", "before epoch 5 seq 1"),
        ("desk", "seq 1", "before seq 4"),
        ("desk", "seq 4", "before epoch 5 seq 1"),
        ("node", "epoch 5 seq 1", None),
        ("desk", "epoch 5 seq 1", None),
    ]
    assert [row["custody"] for row in listed] == [None, None, None, "file", "file"]
    assert len(key_history(home)) == 5
    told = call("keys", "new-epoch", "--home", home.path, "--reason", "fork", "--epoch", 3)
    assert (told.code, told.out) == (2, "")
    assert "epoch 3 cannot follow epoch 5" in told.err


def test_a_revoked_key_is_listed_as_such_and_hands_on_nothing(call: Call, home: Home) -> None:
    desk = home.signer("desk").public
    with closing(sqlite3.connect(home.database)) as connection, connection:
        connection.execute("INSERT INTO revoked_keys VALUES (?, 1, 2, 'compromised')", (desk.key_id,))
    with pytest.raises(RotationError, match=r"central has revoked the desk key \(compromised\)"):
        rotate(home, "desk", None, Clock())
    with pytest.raises(SyncError, match=r"central has revoked the desk key .* after seq 2"):
        home.open_ledger("desk", Clock()).append("day.closed", {})
    listed = json.loads(call("keys", "list", "--home", home.path, "--json").out)
    assert [row["revoked"] for row in listed] == [None, "after seq 2: compromised"]
    rekey(home, Clock(), None, None)
    home.open_ledger("desk", Clock()).append("day.closed", {})
    _good(home)


def test_a_node_whose_own_key_is_revoked_goes_on_recording_and_the_doctor_says_so(home: Home) -> None:
    node = home.signer("node").public
    with closing(sqlite3.connect(home.database)) as connection, connection:
        connection.execute("INSERT INTO revoked_keys VALUES (?, 1, 2, 'compromised')", (node.key_id,))
    assert home.open_ledger("node", Clock()).append("node.boot", {}).key_id == node.key_id
    assert begin_epoch(home, "clone", Clock()).key_id == node.key_id  # it was moved as well
    assert _keys_finding(home) == ("bad", "central has revoked the node key (compromised)")
    with pytest.raises(RotationError, match="central has revoked the node key"):
        rotate(home, "node", None, Clock())
    assert rekey(home, Clock(), None, None).epoch == 3
    home.open_ledger("node", Clock()).append("node.boot", {})
    _good(home)


def _keys_finding(home: Home) -> tuple[str, str]:
    (finding,) = [one for one in examine(home) if one.part == "keys"]
    return finding.state, finding.text


def test_the_doctor_looks_at_both_keys(home: Home) -> None:
    state, text = _keys_finding(home)
    assert state == "good"
    assert f"node {home.signer('node').public.fingerprint} (file)" in text
    shutil.copy(home.path / "keys" / "node.key", home.path / "node.old")
    rotate(home, "node", None, Clock())
    assert _keys_finding(home)[0] == "good"
    shutil.copy(home.path / "node.old", home.path / "keys" / "node.key")
    assert _keys_finding(home)[1].startswith("the node key is not the one in force")
    (home.path / "keys" / "node.key").unlink()
    assert _keys_finding(home) == ("bad", f"{home.path / 'keys' / 'node.key'}: no key there")


def test_a_key_in_waiting_that_nobody_else_may_read_yet_disturbs_nobody(home: Home) -> None:
    (home.path / "keys" / "desk.next.key").write_text("being written")
    assert home.open_ledger("desk", Clock()).append("day.closed", {}).key_id == home.signer("desk").public.key_id


def test_processes_that_append_all_the_while_survive_every_rotation(home: Home) -> None:
    """Rotations one after the other, under a node and a desk that never pause."""
    stop, failures = threading.Event(), list[Exception]()

    def append(role: Role, kind: str) -> None:
        try:
            while not stop.is_set():
                ledger = home.open_ledger(role, Clock())
                for _ in range(5):
                    ledger.append(kind, {})
                ledger.close()
        except (SyncError, EdgeError, OSError) as error:
            failures.append(error)

    threads = [
        threading.Thread(target=append, args=("node", "node.alive")),
        threading.Thread(target=append, args=("desk", "day.closed")),
    ]
    for thread in threads:
        thread.start()
    for number in range(12):
        rotate(home, "node" if number % 2 else "desk", None, Clock())
    stop.set()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert len(key_history(home)) == 14
    _good(home, home.node_pub)
