"""What a revoked key went on signing is void: it is counted apart, proves nothing, and spoils nothing behind it."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest

from sync import verify_standalone
from sync.audit.chain_audit import Bad
from sync.audit.export import write_export
from sync.audit.origin import enrolments_of
from sync.certificate.examine import examine
from sync.certificate.found import bundle_of
from sync.certificate.paper_code import code
from sync.format.messages import Ack
from sync.format.records import Record, seal
from sync.node.purge import purge
from sync.node.trust import Trust
from sync.node.witness import witness
from sync.verify.ledgers import verify_after
from sync.verify.nightly import check
from sync.verify.verify import verify
from tests.sync.a_revocation import rekey, revoke, rotate
from tests.sync.a_site import DAY_US, HOUR_US, ASite, made_key


class Site(ASite):
    """Node records 1 to 9, central's ack of them; from 10 on what it signs is void."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.watch(HOUR_US)
        self.last = self.head_seq()
        self.acknowledge()

    def head_seq(self) -> int:
        head = self.node.head()
        assert head
        return head.seq

    def acknowledge(self) -> None:
        """Of everything, with a checkpoint, which the node witnesses."""
        self.ack(checkpoint=True)
        acks = list(self.node.acks())
        witness(Ack.parse(acks[-1], self.central.key("ack").public), self.node.connection, Trust(self.path).keys())

    def replace(self, seq: int, **changes: object) -> None:
        """Put another record, signed by the same key, in the place of one, as root with the stolen key would."""
        record = self.node.record(1, seq)
        assert record
        self.put(seal({**record.fields, **changes}, self.node_key))

    def put(self, record: Record) -> None:
        with closing(sqlite3.connect(self.path / "firstvisit.db")) as connection, connection:
            connection.execute(
                "UPDATE ledger SET body = ?, hash = ?, prev_hash = ?, signature = ?, kind = ?"
                " WHERE epoch = 1 AND seq = ?",
                (record.body, record.hash, record.prev_hash, record.signature, record.kind, record.seq),
            )


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path / "site")
    yield site
    site.close()


@pytest.fixture
def went_on(site: Site) -> Site:
    """Four records by the node's key after its revocation, one of the desk's among them, then an epoch of new keys."""
    assert site.last == 9
    visit = site.visit()
    site.append_alive()
    site.correct(visit)
    site.append_alive()
    rotate(site, made_key("stolen"))
    revoke(site, site.node_key, site.last)
    rekey(site)
    site.watch(HOUR_US)
    return site


VOID = [{"epoch": 1, "first": 10, "last": 11}, {"epoch": 1, "first": 13, "last": 14}]


def test_what_a_revoked_key_signed_behind_its_place_is_void_and_the_chain_goes_on(went_on: Site) -> None:
    verdict = verify(went_on.path)
    assert verdict.ok, verdict.lines
    assert verdict.checked == 10 + 7, "nine before, the desk's one, and the new epoch"
    key = went_on.node_key.public.key_id
    assert f"void: seq 10..11, 13..14, signed after key {key} was revoked (compromised)" in verdict.lines
    assert json.loads(json.dumps(verdict.fields()))["void"] == [
        one | {"key": key, "reason": "compromised"} for one in VOID
    ]
    assert verdict.end == (2, 7, verify(went_on.path).lines[1].split("head ")[1])
    assert verify(went_on.path, went_on.path / "central.pub").ok


def test_where_central_says_nothing_of_a_revocation_nothing_is_void(site: Site) -> None:
    site.visit()
    verdict = verify(site.path)
    assert (verdict.ok, verdict.void, verdict.checked) == (True, (), 10)


def test_a_home_that_hears_of_a_revocation_of_everything_is_void_and_not_bad(site: Site) -> None:
    revoke(site, site.node_key, 0, "lost")
    verdict = verify(site.path)
    assert verdict.ok, verdict.lines
    assert (verdict.checked, [(run.first, run.last) for run in verdict.void]) == (0, [(1, 9)])


@pytest.mark.parametrize(
    ("seq", "changes", "why"),
    [
        (11, {"kind": "visit.corrected"}, "only the desk key may sign it"),
        (11, {"prev": "ab" * 32}, "prev is not the hash"),
        (11, {"node": "another"}, "of node another"),
        (11, {"key": "ab" * 16}, "is not enrolled"),
        (10, {"camera": "side"}, "prev is not the hash"),  # of the record behind it
        (11, {"anchor": {"central_time_us": 1, "ack_hash": "ab" * 32}}, "names an ack that is not stored"),
    ],
)
def test_a_void_record_in_which_anything_else_is_wrong_is_bad(
    went_on: Site, seq: int, changes: dict[str, object], why: str
) -> None:
    went_on.replace(seq, **changes)
    verdict = verify(went_on.path)
    assert not verdict.ok
    assert verdict.first_bad == 11
    assert why in (verdict.why or "")


@pytest.mark.parametrize(
    ("statement", "seq"),
    [
        ("UPDATE ledger SET signature = zeroblob(64) WHERE epoch = 1 AND seq = 11", 11),
        ("UPDATE ledger SET kind = 'visit.first' WHERE epoch = 1 AND seq = 11", 11),
        ("UPDATE ledger SET hash = zeroblob(32) WHERE epoch = 1 AND seq = 13", 13),
        ("UPDATE ledger SET acked = 1 WHERE epoch = 1 AND seq = 11", 11),
        ("DELETE FROM ledger WHERE epoch = 1 AND seq = 13", 13),
    ],
)
def test_a_void_row_that_was_altered_or_removed_is_bad(went_on: Site, statement: str, seq: int) -> None:
    with closing(sqlite3.connect(went_on.path / "firstvisit.db")) as connection, connection:
        connection.execute(statement)
    verdict = verify(went_on.path)
    assert (verdict.ok, verdict.first_bad) == (False, seq)


def test_a_rotation_that_is_void_hands_on_nothing(site: Site) -> None:
    rotate(site, made_key("stolen"))
    revoke(site, site.node_key, site.last)
    assert verify(site.path).ok
    site.append_alive()
    verdict = verify(site.path)
    assert (verdict.ok, verdict.first_bad) == (False, 11)
    assert f"key {made_key('stolen').public.key_id} is not enrolled" in (verdict.why or "")


def test_what_the_key_signed_up_to_its_place_counts_as_before(went_on: Site) -> None:
    went_on.replace(9, people=13)
    verdict = verify(went_on.path)
    assert (verdict.ok, verdict.first_bad) == (False, 9)


def test_the_night_finds_a_chain_with_void_records_good_and_looks_on_behind_them(went_on: Site) -> None:
    night = check(went_on.path)
    assert night.ok, night.damage
    assert (night.checked, night.epoch, night.seq) == (17, 2, 7)
    went_on.append_alive()
    verdict = verify_after(went_on.path, night.epoch, night.seq, night.head)
    assert (verdict.ok, verdict.checked) == (True, 1), verdict.lines
    head = went_on.node.record(1, 9)
    assert head
    verdict = verify_after(went_on.path, 1, 9, head.hash.hex())
    assert (verdict.ok, verdict.checked, len(verdict.void)) == (True, 9, 2), verdict.lines


def test_void_records_are_purged_with_the_rest_and_what_was_kept_of_them_stays_void(went_on: Site) -> None:
    went_on.acknowledge()
    went_on.go(2 * DAY_US)
    went_on.append_alive()
    went_on.acknowledge()
    told = purge(went_on.node, 1)
    assert told is not None
    assert told.fields["purged"]["epoch"] == 2
    kept = [row[0] for row in went_on.node.connection.execute("SELECT kind FROM kept_records ORDER BY epoch, seq")]
    assert "key.rotated" in kept, "the one that is void"
    verdict = verify(went_on.path)
    assert verdict.ok, verdict.lines
    night = check(went_on.path)
    assert night.ok
    went_on.append_alive()
    assert verify_after(went_on.path, night.epoch, night.seq, night.head).ok
    with closing(sqlite3.connect(went_on.path / "firstvisit.db")) as connection, connection:
        connection.execute("UPDATE kept_records SET signature = zeroblob(64) WHERE kind = 'key.rotated'")
    verdict = verify(went_on.path)
    assert "kept: signature does not verify" in (verdict.why or "")


def test_a_purge_told_of_by_a_record_that_became_void_is_still_held_to_centrals_ack(site: Site) -> None:
    site.go(2 * DAY_US)
    site.append_alive()
    site.acknowledge()
    assert purge(site.node, 1) is not None
    revoke(site, site.node_key, 10)
    verdict = verify(site.path)
    assert verdict.ok, verdict.lines
    assert [(run.first, run.last) for run in verdict.void] == [(11, 11)]
    with closing(sqlite3.connect(site.path / "firstvisit.db")) as connection, connection:
        connection.execute("DELETE FROM acks WHERE upto_seq = 9")
    assert not verify(site.path).ok


def test_heads_of_the_log_signed_back_before_a_revocation_of_the_past_still_hold_what_central_built_on_them(
    site: Site, tmp_path: Path
) -> None:
    def sign_back_and_acknowledge() -> None:
        back = site.central.log.head()
        record = site.node.append("node.alive", {**site.alive(), "log": {"size": back.size, "root": back.root.hex()}})
        site.central.log.add(record.hash)
        site.go(HOUR_US)
        proof = site.central.log.proof(record.hash, back)
        key = site.central.key("ack")
        assert site.node.accept_ack(Ack.seal(site.node_id, 1, record.seq, record.hash, site.true_us, 8, key, proof))

    sign_back_and_acknowledge()
    sign_back_and_acknowledge()
    other = {"size": 1, "root": "ab" * 32}  # behind what central took, a stolen key may say anything
    site.node.append("node.alive", {**site.alive(), "log": other})
    revoke(site, site.node_key, 10)
    verdict = verify(site.path)
    assert verdict.ok, verdict.lines
    assert [(run.first, run.last) for run in verdict.void] == [(11, 12)]
    assert any(line.endswith("; size 10 signed back") for line in verdict.lines), "of the acknowledged, not the other"
    out = tmp_path / "ledger.jsonl"
    write_export(site.node, (site.path / "node.pub").read_text(), (site.path / "central.pub").read_text(), out)
    assert verify_standalone.verify(out, verify_standalone.Given(None))


def test_an_export_holds_the_void_records_and_says_so(went_on: Site, tmp_path: Path) -> None:
    out = tmp_path / "ledger.jsonl"
    node_pub, *others = enrolments_of(went_on.path)
    write_export(went_on.node, node_pub, (went_on.path / "central.pub").read_text(), out, others)
    verdict = verify(out)
    assert verdict.ok, verdict.lines
    assert verdict.checked == 17
    assert [{k: v for k, v in asdict(run).items() if k in VOID[0]} for run in verdict.void] == VOID


def test_a_void_visit_gets_no_certificate_and_one_before_it_is_proven_through_void_records(
    site: Site,
) -> None:
    before = site.visit()
    last = site.head_seq()
    after = site.visit()
    void_correction = site.visit("unsure")
    site.node.append("visit.left", {"visit": before, "reason": "gap"})
    revoke(site, site.node_key, last)
    rekey(site)
    site.acknowledge()
    found = examine(bundle_of(site.path, before))
    assert found.confirmed
    assert (found.confirmed.epoch, found.confirmed.upto_seq) == (2, 1)
    assert [(run.first, run.last) for run in found.void] == [(11, 13)]
    assert found.later == (), "what is void is not told"
    assert code(found) is not None
    for visit in (after, void_correction):
        with pytest.raises(Bad, match="signed after its key was revoked, so it proves nothing"):
            examine(bundle_of(site.path, visit))


def test_a_void_record_takes_no_visit_away(site: Site) -> None:
    before = site.visit()
    last = site.head_seq()
    record = site.node.record(1, last)
    assert record
    envelope = ("v", "node", "epoch", "seq", "prev", "kind", "key", "at", "anchor")
    own = {name: value for name, value in record.fields.items() if name not in envelope}
    site.node.append("visit.return", own)
    revoke(site, site.node_key, last)
    rekey(site)
    site.acknowledge()
    assert examine(bundle_of(site.path, before)).settled.decision == "first"
