"""What central's people type to tell a node something."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sync import SyncError
from sync.central.cli import app
from sync.central.enrol import enrol
from sync.central.keys import load_public
from sync.central.store.batch import Batch
from sync.central.store.location import open_store
from tests.sync.uplink_site import Central, Node

PERSON, ACCOUNT, KEY = "p-" + "0a" * 10, "acc-" + "0b" * 8, "0c" * 16
NOW_US = 1_760_000_000_000_000


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    central, node = Central(tmp_path / "central"), Node(tmp_path / "home")
    enrol(central.directory, node.home / "node.pub")
    return central.directory


def call(command: str, directory: Path, *more: str) -> str:
    """What `firstvisit central COMMAND` prints; raises what it raises."""
    return CliRunner().invoke(app, [command, "--dir", str(directory), *more], catch_exceptions=False).output


def told(directory: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in call("notices", directory, "n1", "--json").splitlines()]


def test_each_command_writes_the_next_notice_and_the_list_says_what_is_open(directory: Path) -> None:
    call("revoke-key", directory, "n1", "--key", KEY, "--at", "1:1200", "--reason", "lost", "--unseen")
    call("policy", directory, "n1", "--after-consent", "--unconsented-h", "4", "--ledger-days", "365")
    call("policy", directory, "n1", "--withdraw")
    call("erase", directory, "n1", PERSON, "--reason", "consent_withdrawn")
    call("disable-account", directory, "n1", ACCOUNT)
    said = call("disable-account", directory, "n1", ACCOUNT, "--enable")
    assert said.startswith("notice 7 to n1: account ")
    with open_store(directory) as store:
        first = store.notices("n1")[0]
        store.write(Batch(applied=[(NOW_US, "n1", 1, first.hash)], seen={"n1": NOW_US}))
    rows = told(directory)
    assert [(row["nseq"], row["kind"], row["body"]) for row in rows[1:]] == [
        (2, "key.revoked", {"key": KEY, "epoch": 1, "seq": 1200, "reason": "lost"}),
        (3, "policy", {"mode": "after_consent", "unconsented_h": 4, "ledger_days": 365}),
        (4, "policy", {}),
        (5, "erase", {"person": PERSON, "reason": "consent_withdrawn"}),
        (6, "account", {"account": ACCOUNT, "enabled": 0}),
        (7, "account", {"account": ACCOUNT, "enabled": 1}),
    ]
    assert rows[0]["kind"] == "keys"
    assert rows[0]["applied_at"] == "2025-10-09T08:53:20.000Z"
    assert {row["applied_at"] for row in rows[1:]} == {None}
    listed = call("notices", directory, "n1").splitlines()
    assert listed[0].endswith("2025-10-09T08:53:20.000Z")
    assert listed[4].split()[:2] == ["5", "erase"]
    assert listed[4].endswith("open")


@pytest.mark.parametrize("more", [("withdraw",), ("allow", "--role", "auditor", "--office", "head_office")])
def test_a_disabled_account_is_let_in_again_by_no_word_on_what_it_speaks_for(
    directory: Path, more: tuple[str, ...]
) -> None:
    made = {"account": ACCOUNT, "act": "made", "role": "auditor", "office": "head_office"}
    with open_store(directory) as store:
        row = ("n1", ACCOUNT, 1, 7, *(made[name] for name in ("act", "role", "office")), NOW_US)
        store.write(Batch(account_changes=[row], seen={"n1": NOW_US}))
    call("disable-account", directory, "n1", ACCOUNT)
    command, *said = more
    typed = ["account", command, "--dir", str(directory), "n1", ACCOUNT, *said]
    with pytest.raises(SyncError, match="is disabled at node n1"):
        CliRunner().invoke(app, typed, catch_exceptions=False)
    assert told(directory)[-1]["body"] == {"account": ACCOUNT, "enabled": 0}
    call("disable-account", directory, "n1", ACCOUNT, "--enable")
    assert CliRunner().invoke(app, typed, catch_exceptions=False).output.startswith("notice 4 to n1: ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ("revoke-key", "n1", "--key", KEY, "--at", "1:1200", "--reason", "lost"),
            "no key of node n1 that is known",
        ),
        (("revoke-key", "n1", "--key", KEY, "--at", "1200", "--reason", "lost"), "a place is written EPOCH:SEQ"),
        (("revoke-key", "n1", "--key", "me", "--at", "1:1", "--reason", "lost"), "key is not of the form"),
        (("revoke-key", "n1", "--key", KEY, "--at", "1:1", "--reason", "so"), "reason is none of compromised, lost"),
        (("policy", "n1"), "say what to ask, or --withdraw"),
        (("policy", "n1", "--withdraw", "--after-consent"), "say what to ask, or --withdraw"),
        (("policy", "n1", "--unconsented-h", "800"), "unconsented_h is not a whole number from 1 to 720"),
        (("policy", "n1", "--ledger-days", "7"), "ledger_days is not a whole number from 180"),
        (("erase", "n1", "13812345678", "--reason", "request"), "person is not of the form"),
        (("erase", "n2", PERSON, "--reason", "request"), "node n2: not enrolled here"),
        (("disable-account", "n1", "li"), "account is not of the form"),
        (("notices", "n2"), "node n2: not enrolled here"),
        (("rotate-keys", "root"), "role 'root': one of ack, notice, checkpoint, code"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line_and_nothing_is_said(
    directory: Path, arguments: tuple[str, ...], says: str
) -> None:
    with pytest.raises(SyncError) as refused:
        call(arguments[0], directory, *arguments[1:])
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(told(directory)) == 1


def test_rotating_a_key_tells_every_node_and_only_telling_tells_nobody_twice(directory: Path) -> None:
    before = load_public(directory)
    said = call("rotate-keys", directory, "ack")
    after = load_public(directory)
    assert after.keys["ack"] != before.keys["ack"]
    assert after.root == before.root
    assert said == f"the ack key is {after.keys['ack'].fingerprint} now; nodes to be told: 1\n"
    assert told(directory)[-1]["body"] == after.fields()
    assert call("rotate-keys", directory) == "nodes to be told: 0\n"
