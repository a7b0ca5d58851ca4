"""What central orders is done: people forgotten, a stricter policy followed, and never a laxer one."""

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.clock import Clock
from edge.consent import CapturePolicy, policy_text
from edge.doctor import examine
from edge.home import Home
from edge.orders import Orders
from edge.people.vault import Vault, opened
from edge.settings import set_broker
from sync.central.keys import create_keys, key_path
from sync.format.messages import FIRST_PREV_HASH, Notice
from sync.format.notices import AccountSet, Erase, Order, Policy
from sync.format.signing import load_key_file
from sync.node.ledger import Ledger
from sync.node.trust import Trust, join
from sync.verify.verify import verify

NOW = datetime(2026, 7, 1, 2, tzinfo=UTC)
LI, WANG, NOBODY = "p-" + "1a" * 10, "p-" + "2b" * 10, "p-" + "3c" * 10
FindBytes = Callable[[Path, bytes], list[str]]


class Central:
    """A central that a HOME has joined, whose notices are handed over without a broker."""

    def __init__(self, directory: Path, home: Home) -> None:
        directory.mkdir()
        create_keys(directory, "hq")
        join(home.path, directory / "central.pub")
        set_broker(home.config, "mqtt://127.0.0.1:9")  # nobody listens there
        self._home, self._key = home, load_key_file(key_path(directory, "notice"))
        self._prev, self._nseq = FIRST_PREV_HASH, 0

    def say(self, order: Order) -> int:
        """Have the node apply the next notice; returns its nseq."""
        self._nseq += 1
        node_id = self._home.settings().node.id
        notice = Notice.seal(node_id, self._nseq, self._prev, order.KIND, order.fields(), self._key)
        with closing(self._home.open_ledger("node", Clock())) as ledger:
            assert Trust(self._home.path).apply(notice.data, ledger, node_id, 0)
        self._prev = notice.hash
        return self._nseq


@pytest.fixture
def central(home: Home, tmp_path: Path) -> Central:
    return Central(tmp_path / "central", home)


@pytest.fixture
def vault(home: Home) -> Iterator[Vault]:
    with opened(home.database, home.keys_database) as vault:
        yield vault


@pytest.fixture
def node(home: Home) -> Iterator[Ledger]:
    ledger = home.open_ledger("node", Clock())
    yield ledger
    ledger.close()


def remember(vault: Vault, ledger: Ledger, person_id: str, now: datetime = NOW) -> bytes:
    """Store a person; returns the key they are stored under."""
    vault.create_key(person_id)
    with ledger.transaction() as transaction:
        vector = np.eye(1, 128, dtype=np.float32)[0]
        vault.add_person(transaction.connection, person_id, "test@000000000000", vector, now, True)
        vault.of_visits.add_crop(transaction.connection, f"v-{person_id}", person_id, b"\xff\xd8\xff", now)
    key = vault._safe.key(person_id)
    assert key is not None
    return key


def retention_runs(ledger: Ledger) -> list[dict[str, object]]:
    runs = []
    for record in ledger.records(("retention.run",)):
        runs.append({name: record.fields[name] for name in ("expired", "basis", "reason", "notice")})
    return runs


policies = st.builds(
    CapturePolicy,
    st.sampled_from(["after_consent", "ephemeral"]),
    st.just("opinion"),
    st.integers(1, 720).map(lambda hours: timedelta(hours=hours)),
)
asked_policies = st.builds(
    Policy, st.sampled_from([None, "after_consent"]), st.none() | st.integers(1, 720), st.none() | st.just(400)
)


@given(policies, asked_policies)
def test_nothing_central_asks_lets_a_node_keep_more_than_its_site_configured(
    configured: CapturePolicy, asked: Policy
) -> None:
    policy = configured.narrowed(asked, 7)
    assert policy.kept <= configured.kept
    assert policy.unconsented <= configured.unconsented
    assert not (policy.embeds and not configured.embeds)
    assert policy.notice == (None if replace(policy, notice=None) == configured else 7)


def test_a_policy_of_central_is_shown_and_falls_away_when_central_takes_it_back(home: Home, central: Central) -> None:
    settings = home.settings()
    assert policy_text(home.policy(settings)) == "mode ephemeral, unconsented faces kept 24 h"
    central.say(Policy(unconsented_h=4))
    narrowed = "mode ephemeral, unconsented faces kept 4 h (made stricter by central, notice 1)"
    assert policy_text(home.policy(settings)) == narrowed
    shown = [finding.text for finding in examine(home) if finding.part == "policy"]
    assert shown == [f"{narrowed}; records kept 180 days"]
    central.say(Policy(mode="after_consent"))
    assert policy_text(home.policy(settings)) == "mode after_consent (made stricter by central, notice 2)"
    central.say(Policy(ledger_days=400))
    assert home.ledger_days(settings) == 400
    central.say(Policy())
    assert home.policy(settings) == CapturePolicy.of(settings)
    assert home.ledger_days(settings) == settings.retention.ledger_days


def test_whom_central_wants_forgotten_is_and_the_chain_says_so(
    home: Home, central: Central, vault: Vault, node: Ledger, find_bytes: FindBytes
) -> None:
    orders = Orders(home, home.settings())
    key, kept = remember(vault, node, LI), remember(vault, node, WANG)
    central.say(AccountSet("acc-" + "0b" * 8, False))
    nseq = central.say(Erase(LI, "request"))
    assert orders.erase(node, vault, NOW) == 1
    assert [person.person_id for person in vault.people()] == [WANG]
    assert vault.of_visits.crop(f"v-{LI}") is None
    assert find_bytes(home.path, key) == []
    assert find_bytes(home.path, kept) != []  # the search does find what is there
    assert retention_runs(node) == [{"expired": [LI], "basis": "central", "reason": "request", "notice": nseq}]
    assert orders.erase(node, vault, NOW) == 0
    assert len(retention_runs(node)) == 1
    verdict = verify(home.path)
    assert verdict.ok, verdict.why


def test_an_erasure_of_somebody_unknown_here_is_confirmed_for_central_waits_to_hear_it(
    home: Home, central: Central, vault: Vault, node: Ledger
) -> None:
    central.say(Erase(NOBODY, "legal"))
    assert len(Trust(home.path).erasures()) == 1
    assert Orders(home, home.settings()).erase(node, vault, NOW) == 0
    assert Trust(home.path).erasures() == []
    (run,) = node.records(("retention.run",))
    assert (run.fields["expired"], run.fields["reached"]) == ([], [NOBODY])


def test_an_erasure_cut_short_by_a_crash_is_finished_in_centrals_name(
    home: Home, central: Central, vault: Vault, node: Ledger
) -> None:
    remember(vault, node, LI)
    nseq = central.say(Erase(LI, "child"))
    vault.destroy_keys([LI])  # and then the power went
    assert Orders(home, home.settings()).erase(node, vault, NOW) == 1
    assert vault.people() == []
    assert [run["notice"] for run in retention_runs(node)] == [nseq]


def test_an_erasure_stays_open_while_a_reader_holds_the_key_in_the_log(
    home: Home, central: Central, vault: Vault, node: Ledger, find_bytes: FindBytes
) -> None:
    key = remember(vault, node, LI)
    with closing(sqlite3.connect(home.keys_database, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM person_keys").fetchone()
        central.say(Erase(LI, "request"))
        orders = Orders(home, home.settings())
        assert orders.erase(node, vault, NOW) == 1
        began_s = time.monotonic()
        assert orders.erase(node, vault, NOW) == 0
        assert time.monotonic() - began_s < 2  # it does not wait for the reader again so soon
        assert len(Trust(home.path).erasures()) == 1
        reader.execute("COMMIT")
    assert Orders(home, home.settings()).erase(node, vault, NOW) == 0
    assert Trust(home.path).erasures() == []
    assert find_bytes(home.path, key) == []
    forgotten, confirmed = node.records(("retention.run",))
    assert "reached" not in forgotten.fields
    assert (confirmed.fields["expired"], confirmed.fields["reached"]) == ([], [LI])


@pytest.mark.usefixtures("pack")
def test_a_running_node_follows_central_without_a_restart(
    home: Home, central: Central, vault: Vault, node: Ledger, walk_in: Path
) -> None:
    remember(vault, node, LI, datetime.now(UTC))
    remember(vault, node, WANG, datetime.now(UTC))
    command = [sys.executable, "-m", "edge", "run", "--home", str(home.path), "--source", str(walk_in), "--allow-file"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def wait_for(condition: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + 60
        while not condition():
            assert running.poll() is None, running.communicate()
            assert time.monotonic() < deadline_s
            time.sleep(0.05)

    try:
        wait_for(lambda: node.last_of("camera.up") is not None)
        central.say(Erase(LI, "request"))
        wait_for(lambda: not vault.remembers(LI))
        assert vault.remembers(WANG)
        nseq = central.say(Policy(mode="after_consent"))
        wait_for(lambda: not vault.remembers(WANG))  # nobody unconsented may be kept at all any more
        changed = node.last_of("policy.changed")
        assert changed is not None
        assert (changed.fields["mode"], changed.fields["notice"]) == ("after_consent", nseq)
        running.send_signal(signal.SIGTERM)
        _, errors = running.communicate(timeout=20)
    finally:
        running.kill()
        running.wait(20)
    assert running.returncode == 0, errors
