"""A frame read ahead says what reading it in its turn would have said."""

from dataclasses import replace

import pytest

from sync.central.reading import find, read_found, read_frame
from sync.format.keyring import KeyRing
from sync.format.records import BadRecord, Record
from sync.format.wire import SignedBody, encode_frame


@pytest.fixture
def chain(home) -> list[Record]:
    ledger = home.ledger()
    made = [ledger.append("camera.up", {"camera": "door", "number": number}) for number in range(40)]
    ledger.close()
    return made


@pytest.fixture
def ring(signer) -> KeyRing:
    return KeyRing({"node": signer("node").public, "desk": signer("desk").public})


def frame(records: list[Record]) -> bytes:
    return encode_frame([SignedBody(record.body, record.signature) for record in records])


def test_a_body_that_says_nothing_is_read_as_the_reason(chain: list[Record]) -> None:
    odd = replace(chain[1], body=b"{}")
    first, second, third = read_frame(frame([chain[0], odd, chain[2]]))
    assert (first.record, third.record) == (chain[0], chain[2])
    assert isinstance(second.record, BadRecord)
    assert second.body.body == b"{}"


def test_what_was_found_before_is_not_verified_again(
    chain: list[Record], ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    payload, keys = frame(chain), ring.by_id()
    reads = read_found(payload, keys, find(payload, keys))
    assert [read.record for read in reads] == chain
    verified: list[Record] = []
    monkeypatch.setattr("sync.central.reading.signature_verifies", lambda _key, record: verified.append(record) or True)
    for read, record in zip(reads, chain, strict=True):
        ring.check(record, read.verifies)
    assert verified == []
    ring.check(chain[0], read_frame(payload)[0].verifies)
    assert verified == [chain[0]]


def test_another_keys_verdict_is_another(chain: list[Record], ring: KeyRing, signer) -> None:
    payload, keys = frame(chain[:1]), ring.by_id()
    (read,) = read_found(payload, keys, find(payload, keys))
    assert read.verifies(signer("node").public, chain[0])
    assert not read.verifies(signer("desk").public, chain[0])
    (unknown,) = read_found(payload, {}, find(payload, {}))
    assert unknown.verifies(signer("node").public, chain[0]), "no key was known then, so it is tried now"
