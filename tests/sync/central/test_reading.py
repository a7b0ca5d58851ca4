"""Signatures verified ahead say what verifying them in turn would have said."""

from dataclasses import replace

import pytest

from sync.central.reading import Signatures, Verdicts, read_frame
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
    assert second.signed.body == b"{}"


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_verdict_is_the_signatures_own(chain: list[Record], ring: KeyRing, signer, threads: int) -> None:
    forged = [replace(record, signature=chain[0].signature) for record in chain[1:]]
    verdicts = Signatures(threads).begin([(ring, read_frame(frame(chain))), (ring, read_frame(frame(forged)))])
    node, desk = signer("node").public, signer("desk").public
    assert all(verdicts.verifies(node, record) for record in chain)
    assert not any(verdicts.verifies(node, record) for record in forged)
    assert not any(verdicts.verifies(desk, record) for record in chain), "another key's verdict is another"


def test_what_was_verified_ahead_is_not_verified_again(
    chain: list[Record], ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdicts = Signatures(2).begin([(ring, read_frame(frame(chain)))])
    assert all(verdicts.verifies(ring.named(record.key_id), record) for record in chain), "the threads are done"
    verified: list[Record] = []
    monkeypatch.setattr("sync.central.reading.signature_verifies", lambda _key, record: verified.append(record) or True)
    for record in chain:
        ring.check(record, verdicts.verifies)
    assert verified == []
    ring.check(chain[0], Verdicts().verifies)
    assert verified == [chain[0]]
