"""Which key may sign at which place of a chain: rotations, revocations and later enrolments."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import SigningKey

from sync.format.keyring import KeyRing, ring
from sync.format.notices import KeyRevoked
from sync.format.records import BadRecord, Record, parse, seal
from sync.format.rotation import Rotation
from sync.format.signing import Ed25519Signer, PublicKey, Signer

GetSigner = Callable[[str], Signer]
_AT = {
    "wall_us": 1_760_000_000_000_000,
    "boot_us": 5_000_000,
    "boot_id": "0123456789abcdef0123456789abcdef",
    "maxerror_us": 500,
    "source": "synced",
    "steps": 0,
}


def record(by: Signer, seq: int, epoch: int = 1, kind: str = "node.alive", **fields: Any) -> Record:
    envelope = {"v": 1, "node": "gate-1", "epoch": epoch, "seq": seq, "prev": "ab" * 32, "kind": kind}
    return seal({**envelope, "key": by.public.key_id, "at": _AT, **fields}, by)


def rotated(
    by: Signer, old: Signer, new: Signer, seq: int, role: str = "node", changes: dict[str, Any] | None = None
) -> Record:
    """A `key.rotated` at (1, seq), signed by `by`, well made but for the changes."""
    rotation = Rotation("gate-1", 1, seq, role, old.public.key_id, new.public)  # type: ignore[arg-type]
    return record(by, seq, kind="key.rotated", **{**rotation.fields(new, old, "file"), **(changes or {})})


@pytest.fixture
def keys(signer: GetSigner) -> KeyRing:
    return KeyRing({"node": signer("node").public, "desk": signer("desk").public})


@pytest.fixture
def fresh() -> Signer:
    return Ed25519Signer(SigningKey(b"f" * 32))


def test_after_a_rotation_the_new_key_signs_and_the_old_one_no_longer(
    keys: KeyRing, signer: GetSigner, fresh: Signer
) -> None:
    rotation = rotated(signer("node"), signer("node"), fresh, 7)
    keys.check(rotation)
    keys.follow(rotation)
    keys.check(record(fresh, 8))
    keys.check(record(signer("node"), 6))  # a place that has been passed is judged by the key of its time
    with pytest.raises(BadRecord, match="not in force: retired by the rotation at seq 7"):
        keys.check(record(signer("node"), 8))
    with pytest.raises(BadRecord, match="not in force: in force from seq 8 on"):
        keys.check(record(fresh, 7))
    assert keys.in_force("node", (1, 8)) == fresh.public
    assert keys.in_force("node", (1, 7)) == signer("node").public


def test_the_desk_key_is_rotated_by_a_record_of_the_node_that_the_old_desk_key_consents_to(
    keys: KeyRing, signer: GetSigner, fresh: Signer
) -> None:
    rotation = rotated(signer("node"), signer("desk"), fresh, 7, "desk")
    keys.check(rotation)
    keys.follow(rotation)
    keys.check(record(fresh, 8, kind="visit.corrected"))
    keys.check(record(signer("node"), 8))
    with pytest.raises(BadRecord, match="not in force"):
        keys.check(record(signer("desk"), 8, kind="visit.corrected"))


def test_the_nodes_process_cannot_put_a_key_of_its_own_in_the_desks_place(
    keys: KeyRing, signer: GetSigner, fresh: Signer
) -> None:
    forged = Rotation("gate-1", 1, 7, "desk", signer("desk").public.key_id, fresh.public)
    fields = forged.fields(fresh, signer("node"), "file")  # consent by the node key
    with pytest.raises(BadRecord, match="did not consent"):
        keys.follow(record(signer("node"), 7, kind="key.rotated", **fields))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"proof": "00" * 64}, "the new key did not sign it"),
        ({"proof": "zz"}, "the new key did not sign it"),
        ({"proof": "AB" * 64}, "the new key did not sign it"),
        ({"new": "ed25519:00"}, "32 bytes"),
        ({"role": "root"}, "role or old is missing"),
        ({"old": 5}, "role or old is missing"),
        ({"old": "0" * 32}, "not signed by the key it retires"),
    ],
)
def test_a_rotation_that_is_not_proven_changes_nothing(
    keys: KeyRing, signer: GetSigner, fresh: Signer, changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(BadRecord, match=why):
        keys.follow(rotated(signer("node"), signer("node"), fresh, 7, changes=changes))
    keys.check(record(signer("node"), 8))


def test_a_proof_made_for_one_place_holds_at_no_other(keys: KeyRing, signer: GetSigner, fresh: Signer) -> None:
    elsewhere = rotated(signer("node"), signer("node"), fresh, 7).fields
    moved = {name: elsewhere[name] for name in ("role", "old", "new", "proof", "custody")}
    with pytest.raises(BadRecord, match="the new key did not sign it"):
        keys.follow(record(signer("node"), 9, kind="key.rotated", **moved))


def test_a_retired_key_and_the_other_roles_key_never_come_back(keys: KeyRing, signer: GetSigner, fresh: Signer) -> None:
    keys.follow(rotated(signer("node"), signer("node"), fresh, 7))
    for back in (signer("node"), signer("desk")):
        with pytest.raises(BadRecord, match="has been a key of this node before"):
            keys.follow(rotated(fresh, fresh, back, 8))


def test_a_revoked_key_is_refused_behind_its_place_and_good_up_to_it(
    keys: KeyRing, signer: GetSigner, fresh: Signer
) -> None:
    keys.revoke(KeyRevoked(signer("node").public.key_id, 1, 20, "compromised"))
    keys.revoke(KeyRevoked(signer("node").public.key_id, 1, 30, "error"))  # the earlier place counts
    keys.check(record(signer("node"), 20))
    for later in (record(signer("node"), 21), rotated(signer("node"), signer("node"), fresh, 21)):
        with pytest.raises(BadRecord, match="revoked after seq 20: compromised"):
            keys.check(later)
    keys.check(record(signer("desk"), 21, kind="visit.corrected"))
    assert keys.in_force("node", (1, 21)) is None
    assert keys.signed(b"any", signer("node").sign("record-sig", b"any"))  # it is still known whose words they are


def test_a_revoked_desk_key_consents_to_no_successor(keys: KeyRing, signer: GetSigner, fresh: Signer) -> None:
    keys.revoke(KeyRevoked(signer("desk").public.key_id, 1, 20, "compromised"))
    with pytest.raises(BadRecord, match="is revoked after seq 20"):
        keys.follow(rotated(signer("node"), signer("desk"), fresh, 21, "desk"))
    keys.follow(rotated(signer("node"), signer("desk"), fresh, 20, "desk"))


def test_a_later_enrolment_counts_from_its_epoch_on_and_a_key_kept_goes_on(signer: GetSigner, fresh: Signer) -> None:
    first = {"node": signer("node").public, "desk": signer("desk").public}
    keys = ring([(3, {"node": fresh.public, "desk": signer("desk").public}), (1, first)])  # type: ignore[arg-type,list-item]
    keys.check(record(signer("node"), 900, 2))
    keys.check(record(fresh, 1, 3))
    keys.check(record(signer("desk"), 5, 3, kind="visit.corrected"))
    with pytest.raises(BadRecord, match="replaced by the enrolment of epoch 3"):
        keys.check(record(signer("node"), 1, 3))
    with pytest.raises(BadRecord, match="in force from epoch 3 seq 1 on"):
        keys.check(record(fresh, 1, 2))


def test_a_rotation_does_not_outlive_the_enrolment_that_replaces_all_keys(signer: GetSigner, fresh: Signer) -> None:
    second = Ed25519Signer(SigningKey(b"g" * 32))
    keys = ring(
        [
            (1, {"node": signer("node").public, "desk": signer("desk").public}),
            (2, {"node": second.public, "desk": signer("desk").public}),
        ]
    )
    keys.follow(rotated(signer("node"), signer("node"), fresh, 7))
    keys.check(record(fresh, 8))
    keys.check(record(second, 1, 2))
    with pytest.raises(BadRecord, match="replaced by the enrolment of epoch 2"):
        keys.check(record(fresh, 1, 2))


_VECTORS = json.loads((Path(__file__).parents[1] / "vectors/rotation.json").read_text())


@pytest.mark.parametrize("vector", _VECTORS["chains"], ids=lambda v: v["name"])
def test_the_golden_rotations_are_judged_as_written(vector: dict[str, Any]) -> None:
    keys = ring(
        (one["epoch"], {role: PublicKey.parse(text) for role, text in one["keys"].items()})
        for one in vector["enrolments"]
    )
    for body in vector["revocations"]:
        keys.revoke(KeyRevoked.of(body))
    read = [parse(one["body"].encode(), bytes.fromhex(one["signature"])) for one in vector["records"]]
    good = vector.get("first_bad", len(read) + 1) - 1
    for one in read[:good]:
        _take(keys, one)
    for one in read[good : good + 1]:
        with pytest.raises(BadRecord):
            _take(keys, one)


def _take(keys: KeyRing, one: Record) -> None:
    keys.check(one)
    keys.follow(one)
