"""What central's people type about codes, what nodes are told, and what central alone can see of their use."""

import json
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cv2
import pytest
import zxingcpp
from typer.testing import CliRunner

from sync import SyncError
from sync.central.cli import app
from sync.central.enrol import enrol
from sync.central.ingest import Arrived, Ingest
from sync.central.keys import load_public, load_serving_keys
from sync.central.notices import rotate
from sync.format.codes import SignedCode, subject_of
from sync.format.wire import SignedBody, encode_frame
from sync.node.ledger import Ledger
from sync.node.trust import DATABASE_FILE, Trust, join
from sync.storage.key_files import read_subject_key
from sync.verify.verify import verify
from tests.sync.uplink_site import Central, Node

AGENT, HOUR_US = "agt-" + "0b" * 8, 3_600_000_000


@dataclass
class Two:
    """A central with two nodes of one site, and a third elsewhere."""

    central: Central
    nodes: dict[str, Node]

    def call(self, *words: str, stdin: str | None = None) -> str:
        """What `firstvisit central code …` prints; raises what it raises."""
        command, *more = words
        arguments = ["code", command, *more, "--dir", str(self.central.directory)]
        return CliRunner().invoke(app, arguments, input=stdin, catch_exceptions=False).output

    def issue(self, *more: str) -> SignedCode:
        told = self.call("issue", *more)
        return SignedCode.parse(next(line for line in told.splitlines() if line.startswith("FVC1")))

    def listed(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.call("list", "--json").splitlines()]

    def told(self, node_id: str) -> list[tuple[str, dict[str, object]]]:
        with self.central.store() as store:
            return [(row.kind, row.body) for row in store.notices(node_id)][1:]

    def check_in(self, node_id: str, code: SignedCode, arrived_us: int) -> None:
        """What a desk records of a code, taken by central."""
        node = self.nodes[node_id]
        ledger = Ledger(node.home / DATABASE_FILE, node.desk_writer)
        fields = {"visit": "v-1", "state": "registered", "way": "code", "code": code.code.hash}
        record = ledger.append("visit.checkin", {**fields, "arrived_us": arrived_us})
        ledger.close()
        with self.central.store() as store:
            ingest = Ingest(store, load_serving_keys(self.central.directory))
            frame = encode_frame([SignedBody(record.body, record.signature)])
            assert ingest.take(ingest.read([Arrived(node_id, frame)]), time.time_ns() // 1000)

    def flags(self) -> list[tuple[str, str]]:
        with self.central.store() as store:
            return [(one.node_id, one.detail) for one in store.refusals() if one.reason == "CODE_TWICE"]

    def hear(self, node_id: str) -> Trust:
        """The node applies everything it was told."""
        node = self.nodes[node_id]
        trust, ledger = Trust(node.home), node.ledger()
        with self.central.store() as store:
            for row in store.notices(node_id):
                trust.apply(row.data, ledger, node_id, time.time_ns() // 1000)
        ledger.close()
        return trust


@pytest.fixture
def two(tmp_path: Path) -> Two:
    central = Central(tmp_path / "central")
    nodes = {name: Node(tmp_path / name, name) for name in ("n1", "n2")}
    for node in nodes.values():
        enrol(central.directory, node.home / "node.pub")
        join(node.home, central.public)
    return Two(central, nodes)


def test_a_report_is_signed_by_the_code_key_and_its_nodes_are_told_of_it_without_digits(two: Two) -> None:
    code = two.issue("report", "--agent", AGENT, "--digits", "138-5678", "--days", "30", "--site", "site-1")
    assert code.signed_by(load_public(two.central.directory).keys["code"])
    assert code.code.fits("1385678")
    assert code.code.until_us - code.code.made_us == 30 * 24 * HOUR_US
    key = read_subject_key(two.central.directory / "keys" / "subject.key")
    for node_id in ("n1", "n2"):
        ((kind, body),) = two.told(node_id)
        assert (kind, body["report"], body["agent"]) == ("report.known", code.code.report_id, AGENT)
        assert body["subject"] == subject_of(key, "1385678")
        trust = two.hear(node_id)
        (known,) = trust.known_reports(subject_of(key, "1385678"), code.code.made_us)
        assert known == trust.known_report(code.code.report_id or "")
    with two.central.store() as store:
        held = b"".join(bytes(row.data) for row in store.notices("n1"))
    assert b"1385678" not in held
    assert b"1385678" not in (two.central.directory / "central.db").read_bytes()


def test_an_agent_s_and_a_site_s_code_are_drawn_as_pictures_that_read_back(two: Two, tmp_path: Path) -> None:
    png, svg, text = tmp_path / "agent.png", tmp_path / "site.svg", tmp_path / "site.txt"
    assert "wrote" in two.call("issue", "agent", "--days", "365", "-o", str(png))
    (read,) = zxingcpp.read_barcodes(cv2.imread(str(png)))
    agent = SignedCode.parse(read.text)
    assert agent.code.kind == "agent"
    assert two.told("n1") == [], "nobody need be told of an agent's code"
    two.call("issue", "site", "--site", "site-1", "--days", "365", "-o", str(svg))
    assert svg.read_bytes().startswith(b"<?xml")
    site = two.listed()[1]
    two.call("export", str(site["code"])[:12], "-o", str(text))
    assert SignedCode.parse(text.read_text()).code.hash == site["code"]
    with pytest.raises(SyncError, match="is there already"):
        two.call("export", str(agent.code.agent_id), "-o", str(text))


def test_a_revoked_code_is_refused_by_nodes_that_heard_and_its_report_protects_nobody(two: Two) -> None:
    code = two.issue("report", "--agent", AGENT, "--digits", "138****5678", "--days", "30").code
    said = two.call("revoke", str(code.report_id), "--reason", "abused")
    assert "told      n1, n2" in said
    assert [kind for kind, _ in two.told("n2")] == ["report.known", "report.known", "code.revoked"]
    trust = two.hear("n1")
    revoked = trust.code_revoked(code.hash)
    assert revoked is not None
    assert revoked.reason == "abused"
    assert trust.known_reports(str(two.told("n1")[0][1]["subject"]), code.made_us) == []
    (row,) = two.listed()
    assert (row["state"], row["reason"]) == ("revoked", "abused")
    with pytest.raises(SyncError, match="is revoked"):
        two.call("export", str(code.report_id))


def test_a_code_keeps_its_name_when_it_is_signed_again_under_a_later_key(two: Two) -> None:
    before = two.issue("agent", "--agent", AGENT, "--days", "30")
    rotate(two.central.directory, "code", two.central.directory / "keys" / "root.key")
    key = load_public(two.central.directory).keys["code"]
    assert not before.signed_by(key)
    told = two.call("export", AGENT)
    after = SignedCode.parse(told.split()[-1])
    assert after.signed_by(key)
    assert after.code == before.code


def test_a_node_that_comes_later_is_told_once_what_stands(two: Two, tmp_path: Path) -> None:
    live = two.issue("report", "--agent", AGENT, "--digits", "138-5678", "--days", "30").code
    dead = two.issue("agent", "--days", "30").code
    two.call("revoke", dead.hash, "--reason", "left")
    node = Node(tmp_path / "n3", "n3")
    enrol(two.central.directory, node.home / "node.pub")
    assert "to n3: 2" in two.call("tell", "n3")
    assert {(kind, body.get("report") or body.get("code_hash")) for kind, body in two.told("n3")} == {
        ("report.known", live.report_id),
        ("code.revoked", dead.hash),
    }
    assert "to n3: 0" in two.call("tell", "n3")
    assert "to n1: 0" in two.call("tell", "n1")


def test_a_report_taken_at_two_nodes_at_once_is_flagged_and_each_is_told_of_the_other(two: Two) -> None:
    code = two.issue("report", "--agent", AGENT, "--digits", "138-5678", "--days", "30")
    now_us = time.time_ns() // 1000
    two.check_in("n1", code, now_us)
    assert two.flags() == []
    used = two.told("n2")[-1][1]
    assert (used["used_at"], used["used_us"], used["report"]) == ("n1", now_us, code.code.report_id)
    assert two.told("n1")[-1][1].get("used_at") is None
    two.check_in("n1", code, now_us + 1)
    assert two.flags() == [], "the same node again is a repeat visit"
    assert len(two.told("n2")) == 2, "and nobody is told of it again"
    two.check_in("n2", code, now_us + HOUR_US)
    ((node_id, detail),) = two.flags()
    assert node_id == "n2"
    assert "at node n1 epoch 1 seq" in detail
    known = two.hear("n1").known_report(code.code.report_id or "")
    assert known is not None
    assert (known.used_at, known.used_us) == ("n2", now_us + HOUR_US)
    assert "AT TWO NODES AT ONCE" in two.call("list")
    (row,) = two.listed()
    assert [[one["node"] for one in pair] for pair in row["conflicts"]] == [["n1", "n2"]]  # type: ignore[index]
    assert verify(two.central.directory).ok
    assert "to n1: 0" in two.call("tell", "n1"), "where it was used is no reason to tell it again"


def test_an_agent_s_code_everywhere_and_a_report_days_apart_are_nothing_to_flag(two: Two) -> None:
    agent = two.issue("agent", "--agent", AGENT, "--days", "30")
    report = two.issue("report", "--agent", AGENT, "--digits", "138-5678", "--days", "30")
    now_us = time.time_ns() // 1000
    for code in (agent, report):
        two.check_in("n1", code, now_us)
        two.check_in("n2", code, now_us + (0 if code is agent else 24 * HOUR_US))
    assert two.flags() == []
    assert "AT TWO NODES" not in two.call("list")
    assert [len(row["shown"]) for row in two.listed()] == [2, 2]  # type: ignore[arg-type]


def test_a_use_that_is_taken_off_the_list_or_put_on_it_is_noticed(two: Two) -> None:
    code, now_us = two.issue("agent", "--agent", AGENT, "--days", "30"), time.time_ns() // 1000
    for node_id in ("n1", "n2"):
        two.check_in(node_id, code, now_us)
    assert verify(two.central.directory).ok
    for change, why in (
        ("INSERT INTO code_uses SELECT zeroblob(32), node_id, epoch, seq, 1 FROM code_uses", "4 rows, 2 of them"),
        ("DELETE FROM code_uses WHERE node_id = 'n1'", "table code_uses: lacks node n1"),
    ):
        with closing(sqlite3.connect(two.central.directory / "central.db")) as database, database:
            database.execute(change)
        assert why in str(verify(two.central.directory).why)


def test_a_site_where_nobody_has_joined_names_the_next_command(tmp_path: Path) -> None:
    alone = Two(Central(tmp_path / "central"), {})
    with pytest.raises(SyncError, match=r"no node has joined yet: firstvisit central invite --dir .*, then"):
        alone.call("issue", "site", "--days", "1", "--site", "puxi-01")


def test_a_report_for_an_agent_without_a_code_of_this_central_is_signed_with_a_word_on_it(two: Two) -> None:
    asked = ("issue", "report", "--agent", AGENT, "--digits", "138-5678", "--days", "30")
    assert "no code of this agent was made here: is the id right?" in two.call(*asked)
    two.issue("agent", "--agent", AGENT, "--days", "30")
    assert "is the id right?" not in two.call(*asked)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("issue", "voucher", "--days", "1"), "of kind report, agent or site"),
        (("issue", "report", "--days", "1", "--agent", AGENT), "has digits of a customer"),
        (("issue", "report", "--days", "1", "--agent", AGENT, "--digits", "13800005678"), "first three and the last"),
        (("issue", "report", "--days", "1", "--digits", "138-5678"), "names its agent"),
        (
            ("issue", "agent", "--days", "1", "--agent", "13800005678"),
            "--agent '13800005678': agt- and 16 hex digits, as ",
        ),
        (("issue", "site", "--days", "1"), "names a site"),
        (
            ("issue", "agent", "--days", "1", "--site", "nowhere"),
            "there are site-1 .firstvisit central invite",
        ),
        (("issue", "agent", "--days", "1", "-o", "code.gif"), "ends in none of"),
        (("revoke", "rep-" + "0a" * 8, "--reason", "lost"), "0 codes of this central are meant"),
        (("tell", "n9"), "not enrolled here"),
    ],
)
def test_what_cannot_be_is_said_in_one_line_and_nothing_is_kept(two: Two, words: tuple[str, ...], says: str) -> None:
    with pytest.raises(SyncError, match=says) as told:
        two.call(*words)
    assert "\n" not in str(told.value)
    assert two.told("n1") == []
    assert two.listed() == []
