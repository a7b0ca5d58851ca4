import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from sync import SyncError
from sync.format import canonical
from sync.format.keyring import KeyRing
from sync.format.records import (
    GENESIS_PREV,
    MAX_BODY_BYTES,
    ROLE_OF_KIND,
    BadRecord,
    Record,
    parse,
    seal,
    valid_name,
)
from sync.format.signing import Ed25519Signer, Signer

GetSigner = Callable[[str], Signer]
_AT = {
    "wall_us": 1_760_000_000_000_000,
    "boot_us": 5_000_000,
    "boot_id": "0123456789abcdef0123456789abcdef",
    "maxerror_us": 500,
    "source": "synced",
    "steps": 0,
}


def _body(by: Signer, **changes: Any) -> dict[str, Any]:
    body = {
        "v": 1,
        "node": "gate-1",
        "epoch": 1,
        "seq": 1,
        "prev": GENESIS_PREV,
        "kind": "visit.first",
        "key": by.public.key_id,
        "at": _AT,
        "visit": "v1",
    }
    return {name: value for name, value in (body | changes).items() if value is not None}


def _ring(signer: GetSigner) -> KeyRing:
    return KeyRing({"node": signer("node").public, "desk": signer("desk").public})


def test_a_sealed_record_reads_back_and_verifies(signer: GetSigner) -> None:
    record = seal(_body(signer("node")), signer("node"))
    assert parse(record.body, record.signature) == record
    assert (record.node_id, record.epoch, record.seq, record.kind) == ("gate-1", 1, 1, "visit.first")
    assert record.stamp.maxerror_us == 500
    _ring(signer).check(record)


@pytest.mark.parametrize("kind", sorted(ROLE_OF_KIND))
def test_a_kind_is_accepted_from_its_own_key_only(signer: GetSigner, kind: str) -> None:
    role = ROLE_OF_KIND[kind]
    other = "desk" if role == "node" else "node"
    _ring(signer).check(seal(_body(signer(role), kind=kind), signer(role)))
    with pytest.raises(BadRecord, match=f"{kind} is signed by the {other} key, only the {role} key may sign it"):
        _ring(signer).check(seal(_body(signer(other), kind=kind), signer(other)))


def test_a_kind_of_a_later_version_is_accepted_from_either_key(signer: GetSigner) -> None:
    for role in ("node", "desk"):
        _ring(signer).check(seal(_body(signer(role), kind="visit.something_new"), signer(role)))


def test_a_key_that_is_not_enrolled_is_refused(signer: GetSigner) -> None:
    with pytest.raises(BadRecord, match="not enrolled"):
        _ring(signer).check(seal(_body(signer("stranger")), signer("stranger")))


def test_a_body_that_names_another_key_than_signed_it_is_refused(signer: GetSigner) -> None:
    with pytest.raises(BadRecord, match="does not verify"):
        _ring(signer).check(seal(_body(signer("node")), signer("stranger")))


def test_a_signature_of_another_domain_is_refused(signer: GetSigner) -> None:
    body = canonical.encode(_body(signer("node")))
    with pytest.raises(BadRecord, match="does not verify"):
        _ring(signer).check(parse(body, signer("node").sign("notice", body)))


_RECORD = seal(
    _body(Ed25519Signer(SigningKey(b"n" * 32)), seq=17, prev="ab" * 32), Ed25519Signer(SigningKey(b"n" * 32))
)
_KEYS = KeyRing(
    {"node": Ed25519Signer(SigningKey(b"n" * 32)).public, "desk": Ed25519Signer(SigningKey(b"d" * 32)).public}
)


def _accepted(body: bytes, signature: bytes) -> Record | None:
    try:
        record = parse(body, signature)
        _KEYS.check(record)
    except BadRecord:
        return None
    return record


@settings(max_examples=300)
@given(st.integers(0, len(_RECORD.body) + 63), st.integers(1, 255))
def test_no_changed_byte_of_a_record_is_accepted(at: int, change: int) -> None:
    data = bytearray(_RECORD.body + _RECORD.signature)
    data[at] ^= change
    assert _accepted(_RECORD.body, _RECORD.signature) == _RECORD
    assert _accepted(bytes(data[:-64]), bytes(data[-64:])) is None


@given(st.binary(max_size=80))
def test_arbitrary_bytes_are_refused_and_never_crash(data: bytes) -> None:
    with pytest.raises(BadRecord):
        parse(data, bytes(64))


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"v": None},
        {"v": "1"},
        {"node": None},
        {"node": ""},
        {"node": "a/b"},
        {"node": "a+"},
        {"node": "-a"},
        {"node": "x" * 65},
        {"node": "gate\n"},
        {"node": 7},
        {"epoch": 0},
        {"epoch": "1"},
        {"seq": 0},
        {"seq": -1},
        {"seq": None},
        {"prev": "ab"},
        {"prev": "AB" * 32},
        {"prev": "ab" * 32 + "\n"},
        {"prev": None},
        {"kind": None},
        {"kind": ""},
        {"kind": "visit.first\x1b[31m"},
        {"kind": "free text"},
        {"kind": "x" * 65},
        {"key": "ab"},
        {"key": None},
        {"at": None},
        {"at": []},
        {"at": {**_AT, "source": "gps"}},
        {"anchor": 5},
        {"anchor": {}},
        {"anchor": {"central_time_us": 1}},
        {"anchor": {"central_time_us": "1", "ack_hash": "ab" * 32}},
        {"anchor": {"central_time_us": 1, "ack_hash": "ab"}},
        {"padding": "x" * MAX_BODY_BYTES},
    ],
    ids=lambda changes: repr(changes)[:40],
)
def test_a_bad_envelope_is_refused_even_when_it_is_signed(signer: GetSigner, changes: dict[str, Any]) -> None:
    with pytest.raises(BadRecord):
        seal(_body(signer("node"), **changes), signer("node"))


@pytest.mark.parametrize("length", [0, 63, 65])
def test_a_signature_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(BadRecord, match=f"signature of {length} bytes"):
        parse(_RECORD.body, bytes(length))


def test_a_float_never_gets_into_a_body(signer: GetSigner) -> None:
    with pytest.raises(SyncError, match="float is not allowed"):
        seal(_body(signer("node"), similarity=0.34), signer("node"))


@pytest.mark.parametrize("text", ["gate-1", "A", "x" * 64, "a.b_c-d", "0"])
def test_a_name_may_stand_in_a_topic_and_a_file_name(text: str) -> None:
    assert valid_name(text)


@pytest.mark.parametrize("text", ["", ".", "..", ".a", "-a", "a/b", "a b", "#", "+", "名", "a\n", "x" * 65, "a\0"])
def test_anything_else_is_no_name(text: str) -> None:
    assert not valid_name(text)


@pytest.mark.parametrize(
    "vector", json.loads((Path(__file__).parents[1] / "vectors/records.json").read_text()), ids=lambda v: v["name"]
)
def test_the_golden_vectors_of_the_first_release_still_hold(signer: GetSigner, vector: dict[str, Any]) -> None:
    key = Ed25519Signer(SigningKey(bytes.fromhex(vector["seed"])))
    record = seal(json.loads(vector["body"]), key)
    assert str(key.public) == vector["public_key"]
    assert key.public.key_id == vector["key_id"]
    assert record.body == vector["body"].encode()
    assert record.hash.hex() == vector["hash"]
    assert record.signature.hex() == vector["signature"]
    _ring(signer).check(record)
