import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from sync import SyncError
from sync.format.signing import (
    Domain,
    Ed25519Signer,
    KeyFileError,
    PublicKey,
    Signer,
    commitment,
    create_key_file,
    digest,
    es256_signature,
    load_key_file,
    tagged,
)

GetSigner = Callable[[str], Signer]
_DOMAINS: tuple[Domain, ...] = get_args(Domain)
# The points of order 1, 2, 4 and 8 on edwards25519, in canonical and non-canonical form; for them a signature that
# verifies any message can be written down without a private key. (libsodium's own list, ge25519_has_small_order.)
_SMALL_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # SEC 2 2.4.2
_ORDER = 2**252 + 27742317777372353535851937790883648493  # RFC 8032 5.1


@pytest.mark.parametrize("other", _DOMAINS)
@pytest.mark.parametrize("domain", _DOMAINS)
def test_a_signature_holds_in_its_own_domain_only(signer: GetSigner, domain: Domain, other: Domain) -> None:
    key = signer("node")
    assert key.public.verify(other, b"message", key.sign(domain, b"message")) is (domain == other)


def test_no_tagged_message_is_the_beginning_of_another_domains() -> None:
    tags = [tagged(domain, b"") for domain in _DOMAINS]
    assert not any(a != b and b.startswith(a) for a in tags for b in tags)
    assert len({digest(domain, b"x") for domain in _DOMAINS}) == len(_DOMAINS)


@given(st.integers(0, 511))
def test_a_signature_with_any_bit_flipped_fails(bit: int) -> None:
    key = Ed25519Signer(SigningKey(b"n" * 32))
    signature = bytearray(key.sign("ack", b"message"))
    signature[bit // 8] ^= 1 << bit % 8
    assert not key.public.verify("ack", b"message", bytes(signature))


def test_a_signature_moved_by_the_group_order_fails(signer: GetSigner) -> None:
    key = signer("node")
    good = key.sign("ack", b"message")
    moved = good[:32] + (int.from_bytes(good[32:], "little") + _ORDER).to_bytes(32, "little")
    assert key.public.verify("ack", b"message", good)
    assert not key.public.verify("ack", b"message", moved)


@pytest.mark.parametrize("point", _SMALL_ORDER)
def test_a_key_of_small_order_verifies_nothing(point: str) -> None:
    key = PublicKey(bytes.fromhex(point))
    identity = bytes.fromhex("01" + "00" * 31)  # R = identity and s = 0 satisfy the equation for such a key
    for nonce in (identity, bytes(32), key.raw):
        assert not any(key.verify("ack", bytes([n]), nonce + bytes(32)) for n in range(16))


@pytest.mark.parametrize("length", [0, 63, 65, 128])
def test_a_signature_of_another_length_fails(signer: GetSigner, length: int) -> None:
    assert not signer("node").public.verify("ack", b"message", bytes(length))


def test_a_public_key_reads_back_from_its_text(signer: GetSigner) -> None:
    key = signer("node").public
    assert PublicKey.parse(str(key)) == key
    assert len(key.key_id) == 32
    assert key.fingerprint.replace(" ", "") == key.key_id


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ed25519:",
        "ed25519:00",
        "rsa:" + "00" * 32,
        "ed25519:" + "AB" * 32,
        "ed25519: " + "ab" * 32,
        "ed25519:" + "ab" * 32 + "\n",
        "ed25519:" + "zz" * 32,
        "ed25519:" + "é" * 64,
    ],
)
def test_a_public_key_in_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(SyncError):
        PublicKey.parse(text)


def test_a_key_file_is_private_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    made = create_key_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_key_file(path).public == made.public


def test_a_signer_never_shows_its_seed(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    made = create_key_file(path)
    assert bytes(made.key).hex() not in repr(made)
    assert made.public.key_id in repr(made)


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    create_key_file(path)
    before = path.read_bytes()
    with pytest.raises(KeyFileError, match="already there"):
        create_key_file(path)
    assert path.read_bytes() == before


def test_a_key_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"nowhere/node\.key: cannot be written"):
        create_key_file(tmp_path / "nowhere" / "node.key")


@pytest.mark.parametrize("damage", ["missing", "open", "empty", "short", "header", "text", "binary", "folder"])
def test_a_key_file_that_cannot_be_trusted_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "node.key"
    create_key_file(path)
    text = path.read_text()
    match damage:
        case "missing":
            path.unlink()
        case "open":
            path.chmod(0o604)
        case "empty":
            path.write_text("")
        case "short":
            path.write_text(text[:-3])
        case "header":
            path.write_text(text.replace("v1", "v2"))
        case "text":
            path.write_text(text.replace("ed25519 ", "ed25519 zz"))
        case "binary":
            path.write_bytes(b"\xff\xfe\x00")
        case "folder":
            path.unlink()
            path.mkdir()
    with pytest.raises(KeyFileError, match=r"node\.key: "):
        load_key_file(path)


def test_a_commitment_wants_its_salt_and_hides_its_value() -> None:
    assert commitment(b"s" * 32, b"13800000000") != commitment(b"t" * 32, b"13800000000")
    with pytest.raises(SyncError, match="32 bytes"):
        commitment(b"short", b"13800000000")


_VECTORS = json.loads((Path(__file__).parents[1] / "vectors/signing.json").read_text())


@pytest.mark.parametrize("vector", _VECTORS["signatures"], ids=lambda v: v["name"])
def test_the_golden_signatures_hold_and_no_other_form_of_them_does(vector: dict[str, Any]) -> None:
    key = PublicKey.parse(vector["key"])
    assert str(key) == vector["key"]
    assert key.key_id == vector["key_id"]
    holds = key.verify(vector["domain"], bytes.fromhex(vector["message"]), bytes.fromhex(vector["signature"]))
    assert holds is vector["holds"]


@pytest.mark.parametrize("text", _VECTORS["refused_keys"].values(), ids=_VECTORS["refused_keys"].keys())
def test_a_key_that_is_no_point_in_its_one_form_is_refused(text: str) -> None:
    with pytest.raises(SyncError):
        PublicKey.parse(text)


@given(st.binary(max_size=64), st.integers(1, 2**255))
def test_an_ecdsa_signature_made_anywhere_has_one_form_here(message: bytes, scalar: int) -> None:
    private = ec.derive_private_key(scalar, ec.SECP256R1())
    public = PublicKey(private.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint), "es256")
    der = private.sign(tagged("record-sig", message), ec.ECDSA(SHA256()))
    signature = es256_signature(der)
    assert public.verify("record-sig", message, signature)
    r, s = decode_dss_signature(der)
    assert es256_signature(encode_dss_signature(r, _P256_ORDER - s)) == signature


@pytest.mark.parametrize("der", [b"", b"\x30\x00", bytes(70), encode_dss_signature(0, 1), encode_dss_signature(1, 0)])
def test_what_is_no_ecdsa_signature_is_refused(der: bytes) -> None:
    with pytest.raises(SyncError):
        es256_signature(der)
