import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from sync.format.checkpoint import BadCheckpoint, Checkpoint, origin_of, verifier_key
from sync.format.log_proof import LogHead
from sync.format.merkle import leaf_hash
from sync.format.messages import Ack, Statement
from sync.format.signing import Ed25519Signer, PublicKey, tagged

GetSigner = Callable[[str], Ed25519Signer]
ORIGIN = origin_of("hq")
VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "checkpoints.json").read_text())


def _note(signer: GetSigner, size: int = 17, name: str = "checkpoint") -> str:
    return Checkpoint(ORIGIN, size, b"r" * 32).seal(signer(name))


@given(st.integers(0, 2**53 - 1), st.binary(min_size=32, max_size=32))
def test_a_checkpoint_reads_back(size: int, root: bytes) -> None:
    key = Ed25519Signer(SigningKey(b"c" * 32))
    made = Checkpoint(ORIGIN, size, root)
    assert Checkpoint.parse(made.seal(key), ORIGIN, key.public) == made


@pytest.mark.parametrize("vector", VECTORS["checkpoints"], ids=lambda vector: vector["name"])
def test_the_golden_vectors_hold(vector: dict[str, str | int]) -> None:
    key = Ed25519Signer(SigningKey(bytes.fromhex(VECTORS["seed"])))
    assert verifier_key(str(vector["origin"]), key.public) == vector["verifier_key"]
    made = Checkpoint(str(vector["origin"]), int(vector["size"]), bytes.fromhex(str(vector["root"])))
    assert made.seal(key) == vector["note"]
    assert Checkpoint.parse(str(vector["note"]), made.origin, key.public) == made


def test_the_text_and_the_signature_are_those_of_a_c2sp_signed_note(signer: GetSigner) -> None:
    text, _, line = _note(signer).rpartition("\n\n")
    assert text == f"{ORIGIN}\n17\n{base64.b64encode(b'r' * 32).decode()}"
    dash, name, signed = line.removesuffix("\n").split(" ")
    assert (dash, name) == ("—", ORIGIN)
    signer("checkpoint").key.verify_key.verify(f"{text}\n".encode(), base64.b64decode(signed)[4:])


def test_no_tagged_message_can_be_taken_for_a_checkpoint(signer: GetSigner) -> None:
    del signer
    assert not ORIGIN.encode().startswith(tagged("checkpoint", b""))
    assert not tagged("checkpoint", b"x").startswith(origin_of("").encode())


@pytest.mark.parametrize("name", ["ack", "root", "stranger"])
def test_only_the_checkpoint_key_signs_one(signer: GetSigner, name: str) -> None:
    with pytest.raises(BadCheckpoint, match="not signed by key"):
        Checkpoint.parse(_note(signer, name=name), ORIGIN, signer("checkpoint").public)


def test_a_signature_of_another_note_is_refused(signer: GetSigner) -> None:
    mine, other = _note(signer), _note(signer, 18)
    with pytest.raises(BadCheckpoint, match="not signed by key"):
        Checkpoint.parse(
            mine.rpartition("\n\n")[0] + "\n\n" + other.rpartition("\n\n")[2], ORIGIN, signer("checkpoint").public
        )


def test_a_checkpoint_of_another_log_is_refused(signer: GetSigner) -> None:
    with pytest.raises(BadCheckpoint, match="of the log"):
        Checkpoint.parse(_note(signer), origin_of("elsewhere"), signer("checkpoint").public)


def _changes() -> dict[str, Callable[[str], str]]:
    return {
        "a leading zero": lambda note: note.replace("\n17\n", "\n017\n"),
        "a sign": lambda note: note.replace("\n17\n", "\n+17\n"),
        "another script's digits": lambda note: note.replace("\n17\n", "\n１７\n"),
        "too large a size": lambda note: note.replace("\n17\n", f"\n{2**53}\n"),
        "no last newline": lambda note: note[:-1],
        "a second last newline": lambda note: note + "\n",
        "a carriage return": lambda note: note.replace("\n17\n", "\n17\r\n"),
        "an extension line": lambda note: note.replace("\n\n", "\nmore\n\n"),
        "a second signature": lambda note: note + note.splitlines()[-1] + "\n",
        "a hyphen for the dash": lambda note: note.replace("—", "-"),
        "two spaces": lambda note: note.replace("— ", "—  "),
        "base64 without padding": lambda note: note.replace("=\n\n", "\n\n"),
        "base64 with spare bits": lambda note: note.replace("cnI=\n\n", "cnJ=\n\n"),
        "a shorter root": lambda note: note.replace(base64.b64encode(b"r" * 32).decode(), "cnI="),
        "no base64": lambda note: note.replace("cnI=", "cn!="),
        "another key hash": lambda note: _with_signed(note, lambda signed: bytes(4) + signed[4:]),
        "a signature cut short": lambda note: _with_signed(note, lambda signed: signed[:-1]),
        "a lone surrogate": lambda note: note.replace("firstvisit", "\ud800", 1),
        "too long": lambda note: note + "x" * 600,
        "nothing": lambda _note: "",
    }


def _with_signed(note: str, change: Callable[[bytes], bytes]) -> str:
    head, _, signed = note.removesuffix("\n").rpartition(" ")
    return f"{head} {base64.b64encode(change(base64.b64decode(signed))).decode()}\n"


@pytest.mark.parametrize("change", _changes())
def test_any_other_way_to_write_it_is_refused(signer: GetSigner, change: str) -> None:
    note = _note(signer)
    changed = _changes()[change](note)
    assert changed != note
    with pytest.raises(BadCheckpoint):
        Checkpoint.parse(changed, ORIGIN, signer("checkpoint").public)


@given(st.text(max_size=400))
def test_no_text_breaks_the_reader(text: str) -> None:
    with pytest.raises(BadCheckpoint):
        Checkpoint.parse(text, ORIGIN, Ed25519Signer(SigningKey(b"c" * 32)).public)


def test_the_golden_ack_and_statement_hold() -> None:
    vector, stated = VECTORS["ack"], VECTORS["statement"]
    ack = Ack.parse(bytes.fromhex(vector["ack"]), PublicKey.parse(vector["ack_key"]))
    key, signed_back = PublicKey.parse(vector["checkpoint_key"]), LogHead.of(vector["signed_back"])
    assert ack.checkpoint
    head = ack.checkpoint.check((700).to_bytes(32, "big"), origin_of(vector["central"]), key, signed_back)
    assert (head.size, ack.head_hash) == (1000, (700).to_bytes(32, "big"))
    statement = Statement.parse(bytes.fromhex(stated["statement"]), PublicKey.parse(stated["notice_key"]))
    assert (statement.hash.hex(), statement.kind) == (stated["hash"], "node.enrolled")
    assert leaf_hash(statement.hash).hex() == stated["leaf_hash"]
