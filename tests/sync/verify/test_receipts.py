"""Receipts: signed by the desk, bound to a record, and judged alike by both verifiers."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sync import SyncError, verify_standalone
from sync.audit.export import write_export
from sync.certificate.bundle import zipped as packed
from sync.certificate.found import bundle_of
from sync.format import canonical
from sync.format.receipts import BadReceipt, Receipt
from sync.format.records import Record, seal
from sync.format.rotation import Rotation
from sync.format.signing import Signer
from sync.node.append import Writer
from sync.node.ledger import Ledger
from sync.verify.receipts import read_receipt, verify_receipt
from sync.verify_standalone import Given
from tests.sync.a_site import ASite, made_key
from tests.sync.conftest import key

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/receipts.json").read_text())


@pytest.fixture
def site(tmp_path: Path) -> Iterator[ASite]:
    site = ASite(tmp_path / "home")
    yield site
    site.close()


def checked_in(site: ASite, **more: Any) -> Record:
    visit = site.visit()
    fields = {"visit": visit, "state": "registered", "way": "code", "code_kind": "report", "account": "acc-1"}
    fields |= {"report": "rep-" + "0a" * 8, "agent": "agt-" + "0b" * 8, "facts": ["before_report"], "phone": "c" * 64}
    return site.desk.append("visit.checkin", fields | more)


def exported(site: ASite, out: Path) -> Path:
    node_pub = (site.path / "node.pub").read_text()
    write_export(site.desk, node_pub, (site.path / "central.pub").read_text(), out)
    return out


def rotate_desk(site: ASite, new: Signer) -> None:
    """The desk's key gives way to `new`."""
    head = site.node.head()
    assert head
    rotation = Rotation(site.node_id, head.epoch, head.seq + 1, "desk", site.desk_key.public.key_id, new.public)
    site.node.append("key.rotated", rotation.fields(new, site.desk_key, "file"))
    site.desk.close()
    site.desk_key = new
    site.desk = Ledger(site.path / "firstvisit.db", Writer(site.node_id, "desk", new, site.clock.stamp))


def ours(receipt: Receipt, path: Path | None, node_pub: Path | None) -> str:
    try:
        return "good" if verify_receipt(receipt, path, node_pub).ok else "bad"
    except SyncError:
        return "unreadable"


def theirs(text: str, path: Path | None, node_pub: Path | None) -> str:
    try:
        list(verify_standalone.judge_receipt(verify_standalone.read_receipt(text), path, Given(node_pub)))
    except verify_standalone.Bad:
        return "bad"
    except verify_standalone.Unreadable:
        return "unreadable"
    return "good"


def test_a_receipt_is_bound_to_the_desk_key_and_to_its_record_and_holds_no_phone(site: ASite, tmp_path: Path) -> None:
    record = checked_in(site)
    refused = site.desk.append("code.refused", {"visit": "v-1", "reason": "expired", "code": "d" * 64})
    site.ack()
    node_pub, export = site.path / "node.pub", exported(site, tmp_path / "ledger.jsonl")
    for one in (record, refused):
        receipt = Receipt.seal(one, site.desk_key)
        text = receipt.text()
        assert text.isalnum()
        assert Receipt.parse(text.lower() + "\n") == receipt
        assert "phone" not in receipt.fields
        for path in (None, site.path, export):
            for pub in (node_pub, None) if path else (node_pub,):
                assert ours(receipt, path, pub) == theirs(text, path if path != site.path else export, pub) == "good"
    said = verify_receipt(Receipt.seal(record, site.desk_key), site.path, node_pub).lines
    assert any("facts on record: before_report" in line for line in said)
    assert "a code was refused: expired" in verify_receipt(Receipt.seal(refused, site.desk_key), None, node_pub).lines
    for path in (export, site.path):
        shown = tmp_path / "receipt.txt"
        shown.write_text(f"{text}\n")
        assert verify_receipt(read_receipt(str(shown)), path, None).ok


def test_another_key_another_node_and_another_record_are_bad_to_both(site: ASite, tmp_path: Path) -> None:
    record = checked_in(site)
    export, node_pub = exported(site, tmp_path / "ledger.jsonl"), site.path / "node.pub"
    other = ASite(tmp_path / "other", node="puxi-01-b")
    other_pub = other.path / "node.pub"
    forged = seal({**record.fields, "state": "companion"}, site.desk_key)
    later = seal({**record.fields, "seq": record.seq + 50}, site.desk_key)
    for receipt in (
        Receipt.seal(record, made_key("stranger")),
        Receipt.seal(record, site.node_key),
        Receipt.seal(forged, site.desk_key),
        Receipt.seal(later, site.desk_key),
    ):
        assert ours(receipt, site.path, None) == ours(receipt, export, node_pub) == "bad"
        assert theirs(receipt.text(), export, node_pub) == "bad"
    assert "another record lies there" in str(verify_receipt(Receipt.seal(forged, site.desk_key), export, None).why)
    good = Receipt.seal(record, site.desk_key)
    assert ours(good, None, other_pub) == theirs(good.text(), None, other_pub) == "bad"
    assert ours(good, None, None) == theirs(good.text(), None, None) == "unreadable"
    other.close()


def test_a_desk_key_rotated_since_is_found_in_the_ledger(site: ASite, tmp_path: Path) -> None:
    before = Receipt.seal(record := checked_in(site), site.desk_key)
    rotate_desk(site, made_key("the next desk's"))
    after = Receipt.seal(record, site.desk_key)
    export, node_pub = exported(site, tmp_path / "ledger.jsonl"), site.path / "node.pub"
    for receipt in (before, after):
        assert ours(receipt, export, node_pub) == theirs(receipt.text(), export, node_pub) == "good"
    assert ours(after, None, node_pub) == theirs(after.text(), None, node_pub) == "bad"


def test_a_certificate_of_the_visit_holds_what_a_receipt_of_its_check_in_says(site: ASite, tmp_path: Path) -> None:
    record = checked_in(site)
    site.ack(checkpoint=True)
    zipped = tmp_path / "visit.zip"
    zipped.write_bytes(packed(bundle_of(site.path, record.fields["visit"]).encode(), {}))
    receipt = Receipt.seal(record, site.desk_key)
    assert ours(receipt, zipped, None) == theirs(receipt.text(), zipped, None) == "good"


def test_both_judge_mutants_of_a_receipt_alike(site: ASite) -> None:
    text = Receipt.seal(checked_in(site), site.desk_key).text()
    node_pub, chance = site.path / "node.pub", random.Random(7)
    for _ in range(300):
        at = chance.randrange(len(text))
        mutant = (
            text[:at] + chance.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ2345671") + text[at + chance.choice((0, 1, 1, 2)) :]
        )
        if mutant == text:
            continue
        try:
            verdict = ours(Receipt.parse(mutant), None, node_pub)
        except BadReceipt:
            verdict = "unreadable"
        assert verdict == theirs(mutant, None, node_pub) != "good", mutant


@pytest.mark.parametrize("vector", VECTORS["receipts"], ids=lambda vector: vector["name"])
def test_the_golden_vectors_hold(vector: dict[str, Any]) -> None:
    receipt = Receipt.parse(vector["text"])
    assert receipt.fields == vector["says"]
    assert receipt.signed_by(key("desk").public)
    assert Receipt(canonical.encode(vector["says"]), receipt.signature).text() == vector["text"]


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["name"])
def test_what_the_golden_vectors_call_no_receipt_is_none(vector: dict[str, Any]) -> None:
    with pytest.raises(BadReceipt):
        Receipt.parse(vector["text"])
    with pytest.raises(verify_standalone.Unreadable):
        verify_standalone.read_receipt(vector["text"])
