"""A ledger lets go of what central holds, and everything said before still verifies."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from sync import SyncError
from sync.audit.export import read_export, write_export
from sync.format.messages import Ack
from sync.format.records import Record
from sync.format.signing import digest
from sync.node.ledger import Ledger
from sync.node.purge import DAY_US, Base, kept_sha256, purge
from sync.node.trust import Trust
from sync.node.witness import witness
from sync.verify.verdict import Verdict
from sync.verify.verify import verify
from tests.sync.a_log import ALog
from tests.sync.conftest import BuiltHome, key, make_home

START_US = 1_760_000_000_000_000


@dataclass
class Office:
    """A node whose records go to central by the hundred, a day between two hundreds."""

    home: BuiltHome
    node: Ledger
    desk: Ledger
    log: ALog
    days: int = 0

    def record(self, kind: str, fields: dict[str, object], role: str = "node") -> Record:
        record = (self.desk if role == "desk" else self.node).append(kind, fields)
        self.log.add(record.hash, digest("record-hash", b"somebody else's"))
        return record

    def day(self, checkpoint: bool = True) -> Ack:
        """Twenty records, two of them the desk's, and central's ack."""
        for number in range(20):
            if number % 10 == 9:
                self.record("visit.corrected", {"visit": f"v{number}", "decision": "first"}, "desk")
            else:
                self.record("visit.first", {"visit": f"v{self.days}-{number}", "camera": "door"})
        self.record("node.alive", {"people": 0})
        self.days += 1
        head = self.node.head()
        assert head
        proof = self.log.proof(head.hash) if checkpoint else None
        ack = Ack.seal("gate-1", head.epoch, head.seq, head.hash, START_US + self.days * DAY_US, 8, key("ack"), proof)
        assert self.node.accept_ack(ack)
        witness(ack, self.node.connection, Trust(self.home.path).keys())
        return ack

    def purge(self, days: int, most: int = 1000) -> Record | None:
        return purge(self.node, days, most)

    def seqs(self) -> list[int]:
        return [row.seq for row in self.node.rows()]

    def sql(self, statement: str, *values: object) -> None:
        """Change the database as somebody with root would."""
        with closing(sqlite3.connect(self.home.database)) as connection, connection:
            connection.execute(statement, values)

    def verify(self) -> Verdict:
        return verify(self.home.path, self.home.node_pub)


@pytest.fixture(scope="module")
def _old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten days of records, made once: a ledger, and an export of the whole of it."""
    home = make_home(tmp_path_factory.mktemp("old") / "home")
    office = Office(home, home.ledger(), home.ledger("desk"), ALog(key("checkpoint")))
    office.record("epoch.started", {"reason": "init", "site": "s1"})
    office.record("policy.changed", {"mode": "ephemeral", "unconsented_horizon_s": 86400})
    office.record("node.boot", {"site": "s1"})
    for _ in range(10):
        office.day()
    write_export(office.node, home.node_pub.read_text(), home.central_pub.read_text(), home.path / "before.jsonl")
    office.node.close()
    office.desk.close()
    return home.path


@pytest.fixture
def office(_old: Path, tmp_path: Path) -> Office:
    home = BuiltHome(shutil.copytree(_old, tmp_path / "home"))
    office = Office(home, home.ledger(), home.ledger("desk"), ALog(key("checkpoint")), days=10)
    for row in office.node.rows():
        office.log.add(row.hash, digest("record-hash", b"somebody else's"))
    return office


def test_what_is_old_and_held_by_central_goes_and_the_rest_verifies(office: Office) -> None:
    before = office.seqs()
    assert before[-1] == 3 + 10 * 21
    record = office.purge(days=4)
    assert record is not None
    upto = 3 + 6 * 21  # six of ten days are four days older than the newest ack
    assert office.seqs() == [*range(upto + 1, before[-1] + 1), record.seq]
    assert record.fields["purged"]["upto"] == upto
    assert record.fields["records"] == upto
    verdict = office.verify()
    assert verdict.ok, verdict.why
    assert verdict.checked == 4 * 21 + 1
    (line,) = [line for line in verdict.lines if "purged" in line]
    assert line.startswith(f"seq 1..{upto} purged, central holds them: head {record.fields['purged']['head']}")
    assert "acknowledged at 2025-10-15T" in line
    assert f"seq {upto + 1}..{record.seq}" in verdict.lines[1]
    assert office.purge(days=4) is None, "nothing more is due"


def test_proofs_made_before_still_verify(office: Office) -> None:
    before = verify(office.home.path / "before.jsonl", office.home.node_pub)
    assert before.ok
    assert office.purge(days=1) is not None
    assert verify(office.home.path / "before.jsonl", office.home.node_pub) == before


def test_a_purge_goes_in_batches_that_end_at_acks_and_each_leaves_a_good_chain(office: Office) -> None:
    while (record := office.purge(days=2, most=30)) is not None:
        assert (record.fields["purged"]["upto"] - 3) % 21 == 0
        assert record.fields["records"] <= 30
        assert office.verify().ok
    assert office.seqs()[0] == 3 + 8 * 21 + 1


def test_a_batch_smaller_than_what_one_ack_covers_takes_all_of_that(office: Office) -> None:
    record = office.purge(days=4, most=5)
    assert record is not None
    assert record.fields["records"] == 3 + 21


def test_a_purged_chain_goes_on_and_is_purged_again(office: Office) -> None:
    assert office.purge(days=4)
    for _ in range(5):
        office.day()
    assert office.purge(days=4)
    for _ in range(5):
        office.day()
    assert office.purge(days=2)
    verdict = office.verify()
    assert verdict.ok, verdict.why
    assert "epoch.started" not in [row.kind for row in office.node.rows()]


def test_who_is_of_the_roster_and_who_no_longer_is_stays_readable(office: Office) -> None:
    said = [
        office.record("person.enrolled", {"person": "p-1", "role": "agent"}, "desk"),
        office.record("person.erased", {"person": "p-1", "reason": "staff"}, "desk"),
    ]
    for _ in range(3):
        office.day()
    assert office.purge(days=1)
    assert "person.enrolled" not in [row.kind for row in office.node.rows()]
    assert list(office.node.records(("person.enrolled", "person.erased"))) == said
    verdict = office.verify()
    assert verdict.ok, verdict.why


def test_what_the_rest_cannot_be_read_without_stays_readable(office: Office) -> None:
    policy = office.node.last_of("policy.changed")
    assert office.purge(days=1)
    assert [row.kind for row in office.node.rows()].count("policy.changed") == 0
    assert office.node.last_of("policy.changed") == policy
    kinds = [record.kind for record in office.node.records(("epoch.started", "policy.changed", "node.boot"))]
    assert kinds == ["epoch.started", "policy.changed", "node.boot"]
    newer = office.record("policy.changed", {"mode": "after_consent", "unconsented_horizon_s": 0})
    assert list(office.node.records(("policy.changed",))) == [policy, newer]
    assert list(office.node.records(("policy.changed",), (1, 100))) == [newer]


def test_what_central_has_not_signed_into_its_log_stays(office: Office) -> None:
    office.node.connection.execute("DELETE FROM log_head")
    assert office.purge(days=1) is None, "no checkpoint of central's was verified here"


def test_an_ack_without_a_checkpoint_is_no_base(office: Office) -> None:
    for _ in range(3):
        office.day(checkpoint=False)
    office.day()
    record = office.purge(days=1)
    assert record is not None
    assert record.fields["purged"]["upto"] == 3 + 10 * 21


def test_what_a_central_lost_and_has_not_got_again_stays(office: Office) -> None:
    def acknowledged(seq: int) -> None:
        record = office.node.record(1, seq)
        assert record
        ack = Ack.seal("gate-1", 1, seq, record.hash, START_US + 11 * DAY_US, 8, key("ack"))
        assert office.node.accept_ack(ack)

    acknowledged(3 + 2 * 21)  # restored from a copy
    assert office.node.backlog() == 8 * 21
    record = office.purge(days=4)
    assert record is not None
    assert record.fields["purged"]["upto"] == 3 + 2 * 21
    assert office.purge(days=4) is None
    assert office.verify().ok
    acknowledged(3 + 5 * 21 + 7)  # what it is sent again
    record = office.purge(days=4)
    assert record is not None
    assert record.fields["purged"]["upto"] == 3 + 5 * 21
    assert office.verify().ok


def test_nothing_goes_before_central_has_been_heard_of(home: BuiltHome) -> None:
    ledger = home.ledger()
    ledger.append("epoch.started", {"reason": "init", "site": "s1"})
    assert purge(ledger, 1) is None


def test_acks_that_nothing_left_needs_go_too(office: Office) -> None:
    for _ in range(2):
        office.day(checkpoint=False)
    office.day()
    office.day()
    held = len(list(office.node.acks()))
    assert office.purge(days=1)
    assert len(list(office.node.acks())) == held - 2
    assert office.verify().ok


def test_an_export_of_a_purged_ledger_stands_alone(office: Office, tmp_path: Path) -> None:
    assert office.purge(days=4)
    out = tmp_path / "after.jsonl"
    write_export(office.node, office.home.node_pub.read_text(), office.home.central_pub.read_text(), out)
    verdict = verify(out, office.home.node_pub)
    assert verdict.ok, verdict.why
    assert any("purged, central holds them" in line for line in verdict.lines)
    header, _ = read_export(out)
    assert [json.loads(one.body)["kind"] for one in header.kept] == ["epoch.started", "policy.changed", "node.boot"]
    lines = out.read_bytes().splitlines(keepends=True)
    for what, damage in (
        ("a record missing behind the base", lines[:1] + lines[2:]),
        ("the base moved", [lines[0].replace(b'"upto":129', b'"upto":108'), *lines[1:]]),
    ):
        out.write_bytes(b"".join(damage))
        assert not verify(out, office.home.node_pub).ok, what


def _drop_rows(office: Office) -> None:
    office.sql("DELETE FROM ledger WHERE seq <= 150")


def _drop_the_word(office: Office) -> None:
    office.sql("DELETE FROM ledger WHERE seq = (SELECT max(seq) FROM ledger)")


def _drop_the_ack(office: Office) -> None:
    office.sql("DELETE FROM acks WHERE upto_seq = 129")


def _drop_a_kept_one(office: Office) -> None:
    office.sql("DELETE FROM kept_records WHERE kind = 'policy.changed'")


def _alter_a_kept_one(office: Office) -> None:
    altered = "CAST(replace(CAST(body AS TEXT), 'ephemeral', 'ephemerax') AS BLOB)"
    office.sql(f"UPDATE kept_records SET body = {altered} WHERE kind = 'policy.changed'")


def _flip_a_kept_column(office: Office) -> None:
    office.sql("UPDATE kept_records SET kind = 'visit.first' WHERE kind = 'node.boot'")


def _keep_another(office: Office) -> None:
    office.sql(
        "INSERT INTO kept_records SELECT epoch, seq, kind, body, hash, prev_hash, signature FROM ledger WHERE seq = 140"
    )


def _put_one_back(office: Office) -> None:
    office.sql("INSERT INTO ledger SELECT *, 1 FROM kept_records WHERE seq = 3")


@pytest.mark.parametrize(
    ("tampering", "why"),
    [
        (_drop_rows, "missing"),
        (_drop_the_word, "no record says that it was purged"),
        (_drop_the_ack, "no ack of it is stored|anchor names an ack that is not stored"),
        (_drop_a_kept_one, "the kept records are not those"),
        (_alter_a_kept_one, "kept: "),
        (_flip_a_kept_column, "kept: "),
        (_keep_another, "kept where it does not belong"),
        (_put_one_back, "out of place"),
    ],
)
def test_a_purge_hides_nothing_else(office: Office, tampering: Callable[[Office], None], why: str) -> None:
    assert office.purge(days=4)
    assert office.verify().ok
    tampering(office)
    verdict = office.verify()
    assert not verdict.ok
    assert verdict.why is not None
    assert any(part in verdict.why for part in why.split("|")), verdict.why


def test_rows_deleted_without_a_word_are_missing(office: Office) -> None:
    office.sql("DELETE FROM ledger WHERE seq <= 129")  # up to an ack, so that only the record of it is missing
    verdict = office.verify()
    assert (verdict.ok, verdict.first_bad) == (False, 1)
    assert verdict.why == "missing, and no record says that it was purged"


def test_a_damaged_base_is_not_purged_up_to(office: Office) -> None:
    office.sql("UPDATE ledger SET body = x'7b7d' WHERE seq = 129")
    before = office.seqs()
    with pytest.raises(SyncError, match="epoch 1 seq 129 is not the record that central acknowledged"):
        office.purge(days=4)
    assert office.seqs() == before


def test_what_a_purge_says_reads_back() -> None:
    base = Base(2, 17, bytes(range(32)), 3, kept_sha256([b"a" * 32]))
    assert Base.of({"kind": "retention.run", "purged": base.fields()}) == base
    assert Base.of({"kind": "retention.run", "expired": []}) is None
    for name, value in (("upto", -1), ("head", "00"), ("head", "AB" * 32), ("kept", "3"), ("epoch", None)):
        with pytest.raises(SyncError, match="not what a purge says"):
            Base.of({"kind": "retention.run", "purged": {**base.fields(), name: value}})


@pytest.mark.parametrize("forked", [False, True])
def test_one_checkpoint_a_day_stays_of_what_is_purged_and_all_where_the_log_forked(
    office: Office, forked: bool
) -> None:
    """A checkpoint a minute is 2 MB a day; what holds central to its log is one now and then, and any contradiction."""
    (first,) = (ack for ack in office.node.acks() if Ack.parse(ack, key("ack").public).upto_seq == 3 + 21)
    read = Ack.parse(first, key("ack").public)
    for later_us in range(1, 6):
        office.sql(
            "INSERT INTO acks SELECT ?, epoch, upto_seq, central_time_us + ?, data FROM acks WHERE ack_hash = ?",
            bytes([later_us]) * 32, later_us, read.ack_hash,
        )  # fmt: skip
    office.sql("UPDATE acks SET rowid = rowid - 1000 WHERE upto_seq = ?", read.upto_seq)
    if forked:
        office.sql("INSERT INTO alarms VALUES ('LOG_FORK', '', 1, 1, 1)")
    assert office.purge(days=4) is not None
    left = [one.upto_seq for one in (Ack.parse(data, key("ack").public) for data in office.node.acks())]
    assert left.count(read.upto_seq) == (6 if forked else 1)
    assert sorted(set(left)) == [3 + 21 * day for day in range(1, 11)]


def test_what_tells_of_accounts_and_of_central_s_word_on_them_stays_when_its_time_is_up(
    office: Office, tmp_path: Path
) -> None:
    account = "acc-" + "a" * 16
    change = {"account": account, "act": "made", "role": "auditor", "office": "hq"}
    plain = office.record("access.digest", {"entries": 1, "link": "0" * 64}, "desk")
    told = office.record("access.digest", {"entries": 1, "link": "0" * 64, "accounts": [change]}, "desk")
    answered = office.record("notice.applied", {"nseq": 9, "hash": "5" * 64, "account": account})
    other = office.record("notice.applied", {"nseq": 10, "hash": "6" * 64})
    for _ in range(3):
        office.day()
    assert office.purge(days=2) is not None
    kinds = ("access.digest", "notice.applied")
    assert [one.hash for one in office.node.records(kinds)] == [told.hash, answered.hash]
    assert [one.hash for one in office.node.naming(account, kinds)] == [told.hash, answered.hash]
    assert min(office.seqs()) > other.seq > plain.seq
    verdict = office.verify()
    assert verdict.ok, verdict.why
    out = tmp_path / "after.jsonl"
    home = office.home
    write_export(office.node, home.node_pub.read_text(), home.central_pub.read_text(), out)
    exported = verify(out, home.node_pub)
    assert exported.ok, exported.why
