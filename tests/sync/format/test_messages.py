import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from sync import SyncError
from sync.format import canonical
from sync.format.checkpoint import MAX_NOTE_BYTES
from sync.format.log_proof import LogProof
from sync.format.messages import MAX_MESSAGE_BYTES, Ack, BadMessage, Nack, Notice, Statement, Status
from sync.format.public_keys import CentralKeys, Enrolment
from sync.format.signing import Domain, Ed25519Signer, Signer, commitment, digest

GetSigner = Callable[[str], Signer]


def _ack(signer: GetSigner) -> Ack:
    return Ack.seal("gate-1", 1, 17, b"h" * 32, 1_760_000_000_000_000, 8, signer("ack"))


def _central(signer: GetSigner) -> CentralKeys:
    keys = {
        "ack": signer("ack").public,
        "notice": signer("notice").public,
        "checkpoint": signer("checkpoint").public,
        "code": signer("code").public,
    }
    return CentralKeys("hq", signer("root").public, keys)  # type: ignore[arg-type]  # str keys are the roles


def _signed(signer: Signer, domain: Domain, fields: dict[str, Any]) -> bytes:
    body = canonical.encode(fields)
    return signer.sign(domain, body) + body


def test_an_ack_reads_back_under_the_ack_key_alone(signer: GetSigner) -> None:
    ack = _ack(signer)
    assert Ack.parse(ack.data, signer("ack").public) == ack
    for other in ("notice", "root", "node", "stranger"):
        with pytest.raises(BadMessage, match="not signed by key"):
            Ack.parse(ack.data, signer(other).public)


def test_a_nack_reads_back_under_the_ack_key_alone(signer: GetSigner) -> None:
    nack = Nack("gate-1", "FORK", 1, 17, b"h" * 32, 1_760_000_000_000_000)
    assert Nack.parse(nack.seal(signer("ack")), signer("ack").public) == nack
    with pytest.raises(BadMessage, match="not signed"):
        Nack.parse(nack.seal(signer("stranger")), signer("ack").public)


def test_an_ack_is_no_nack_though_one_key_signs_both(signer: GetSigner) -> None:
    with pytest.raises(BadMessage, match="not signed"):
        Nack.parse(_ack(signer).data, signer("ack").public)
    with pytest.raises(BadMessage, match="not signed"):
        Ack.parse(Nack("gate-1", "GAP", 1, 1, bytes(32), 5).seal(signer("ack")), signer("ack").public)


def test_a_notice_reads_back_under_the_notice_key_and_a_keys_notice_under_the_root(signer: GetSigner) -> None:
    root, notice = signer("root"), signer("notice")
    plain = Notice.seal("gate-1", 2, b"p" * 32, "policy", {"mode": "ephemeral"}, notice)
    keys = Notice.seal("gate-1", 1, bytes(32), "keys", _central(signer).fields(), root)
    for sealed in (plain, keys):
        assert Notice.parse(sealed.data, root.public, notice.public) == sealed
    assert CentralKeys.of(keys.body) == _central(signer)


def test_the_notice_key_cannot_hand_out_keys_nor_the_root_anything_else(signer: GetSigner) -> None:
    root, notice = signer("root"), signer("notice")
    for wrong in (
        Notice.seal("gate-1", 1, bytes(32), "keys", _central(signer).fields(), notice),
        Notice.seal("gate-1", 1, bytes(32), "policy", {}, root),
    ):
        with pytest.raises(BadMessage, match="not signed"):
            Notice.parse(wrong.data, root.public, notice.public)


def _messages() -> list[tuple[str, bytes, Callable[[bytes], object]]]:
    def signer(letter: bytes) -> Signer:
        return Ed25519Signer(SigningKey(letter * 32))

    ack, notice, root = signer(b"a"), signer(b"o"), signer(b"r")
    return [
        ("ack", Ack.seal("g", 1, 1, bytes(32), 5, 8, ack).data, lambda d: Ack.parse(d, ack.public)),
        ("nack", Nack("g", "GAP", 1, 1, bytes(32), 5).seal(ack), lambda d: Nack.parse(d, ack.public)),
        (
            "notice",
            Notice.seal("g", 1, bytes(32), "policy", {"a": 1}, notice).data,
            lambda d: Notice.parse(d, root.public, notice.public),
        ),
    ]


@pytest.mark.parametrize(("name", "data", "read"), _messages(), ids=[name for name, _, _ in _messages()])
@settings(max_examples=150)
@given(choice=st.data())
def test_a_message_changed_cut_or_grown_is_refused(
    name: str, data: bytes, read: Callable[[bytes], object], choice: st.DataObject
) -> None:
    assert read(data), name
    changed = bytearray(data)
    changed[choice.draw(st.integers(0, len(data) - 1))] ^= choice.draw(st.integers(1, 255))
    cut = data[: choice.draw(st.integers(0, len(data) - 1))]
    grown = data + choice.draw(st.binary(min_size=1, max_size=20))
    for wrong in (bytes(changed), cut, grown):
        with pytest.raises(BadMessage):
            read(wrong)


_ACK = {
    "v": 1,
    "node": "gate-1",
    "epoch": 1,
    "upto": 17,
    "head_hash": "ab" * 32,
    "central_time_us": 5,
    "window": 8,
}


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"node": ""},
        {"epoch": -1},
        {"upto": "17"},
        {"head_hash": "ab"},
        {"head_hash": "AB" * 32},
        {"head_hash": "ab " * 32},
        {"window": 0},
        {"window": 9},
        {"central_time_us": -5},
    ],
    ids=repr,
)
def test_an_ack_with_a_bad_value_is_refused_though_central_signed_it(
    signer: GetSigner, changes: dict[str, Any]
) -> None:
    Ack.parse(_signed(signer("ack"), "ack", _ACK), signer("ack").public)
    with pytest.raises(BadMessage):
        Ack.parse(_signed(signer("ack"), "ack", _ACK | changes), signer("ack").public)


_NACK = {"v": 1, "node": "g", "code": "GAP", "epoch": 1, "seq": 1, "hash": "ab" * 32, "central_time_us": 5}


def test_a_nack_of_an_unknown_code_is_refused(signer: GetSigner) -> None:
    with pytest.raises(BadMessage, match="unknown code"):
        Nack.parse(_signed(signer("ack"), "nack", _NACK | {"code": "OTHER"}), signer("ack").public)


def test_a_nack_that_does_not_say_when_is_refused(signer: GetSigner) -> None:
    Nack.parse(_signed(signer("ack"), "nack", _NACK), signer("ack").public)
    timeless = {name: value for name, value in _NACK.items() if name != "central_time_us"}
    with pytest.raises(BadMessage, match="central_time_us"):
        Nack.parse(_signed(signer("ack"), "nack", timeless), signer("ack").public)


def test_a_message_beyond_its_limit_is_not_even_parsed(signer: GetSigner) -> None:
    ack, notice, root = signer("ack"), signer("notice"), signer("root").public

    def refused(read: Callable[[bytes], object], data: bytes) -> bool:
        with pytest.raises(BadMessage) as error:
            read(data)
        return f"at most {MAX_MESSAGE_BYTES} are read" in str(error.value)

    def padded(domain: Domain, key: Signer, fields: dict[str, Any], size: int) -> bytes:
        return _signed(key, domain, fields | {"zz": "x" * (size - len(_signed(key, domain, fields | {"zz": ""})))})

    Ack.parse(padded("ack", ack, _ACK, MAX_MESSAGE_BYTES), ack.public)
    assert refused(lambda data: Ack.parse(data, ack.public), padded("ack", ack, _ACK, MAX_MESSAGE_BYTES + 1))
    assert refused(lambda data: Nack.parse(data, ack.public), padded("nack", ack, _NACK, MAX_MESSAGE_BYTES + 1))
    assert refused(Status.parse, b"[" * (MAX_MESSAGE_BYTES + 1))
    large = Notice.seal("g", 1, bytes(32), "policy", {"text": "x" * MAX_MESSAGE_BYTES}, notice)
    assert refused(lambda data: Notice.parse(data, root, notice.public), large.data)


@pytest.mark.parametrize("online", [True, False])
def test_a_status_reads_back(online: bool) -> None:
    status = Status("gate-1", online, 1, 40, 30)
    assert Status.parse(status.encode()) == status


@given(st.binary(max_size=60))
def test_an_arbitrary_status_is_refused_and_never_crashes(data: bytes) -> None:
    with pytest.raises(BadMessage):
        Status.parse(data)


def test_the_key_files_read_back(signer: GetSigner) -> None:
    enrolment = Enrolment("gate-1", "s1", signer("node").public, signer("desk").public)
    assert Enrolment.parse_text(enrolment.text(signer("node"))) == enrolment
    central = _central(signer)
    assert CentralKeys.parse_text(central.text(signer("root"))) == central


def test_a_key_file_signed_by_another_key_is_refused(signer: GetSigner) -> None:
    enrolment = Enrolment("gate-1", "s1", signer("node").public, signer("desk").public)
    with pytest.raises(BadMessage, match="not signed by the node key"):
        Enrolment.parse_text(enrolment.text(signer("desk")))
    with pytest.raises(BadMessage, match="not signed by the root key"):
        CentralKeys.parse_text(_central(signer).text(signer("ack")))


def test_a_node_whose_roles_share_one_key_is_refused(signer: GetSigner) -> None:
    node = signer("node")
    with pytest.raises(BadMessage, match="share one key"):
        Enrolment.parse_text(Enrolment("gate-1", "s1", node.public, node.public).text(node))


@pytest.mark.parametrize(("node_id", "site_id"), [("a/b", "s1"), ("#", "s1"), ("gate-1", "../s"), ("g\n", "s1")])
def test_an_enrolment_with_a_name_that_is_none_is_refused(signer: GetSigner, node_id: str, site_id: str) -> None:
    text = Enrolment(node_id, site_id, signer("node").public, signer("desk").public).text(signer("node"))
    with pytest.raises(BadMessage, match="is not a name"):
        Enrolment.parse_text(text)


@settings(max_examples=200)
@given(choice=st.data())
def test_a_changed_character_of_a_key_file_is_refused(choice: st.DataObject) -> None:
    node, desk = Ed25519Signer(SigningKey(b"n" * 32)), Ed25519Signer(SigningKey(b"d" * 32))
    text = Enrolment("gate-1", "s1", node.public, desk.public).text(node)
    at = choice.draw(st.integers(0, len(text) - 2))  # the last character is the newline, which may be missing
    other = choice.draw(st.characters(exclude_characters=text[at]))
    with pytest.raises(BadMessage):
        Enrolment.parse_text(text[:at] + other + text[at + 1 :])


@pytest.mark.parametrize("text", ["", "\n", "{}", "{}\n", "{}\nab\n", "a\nb\nc\n", "\ud800\nab\n", '{"v":1}\nzz\n'])
def test_what_is_no_key_file_is_refused(text: str) -> None:
    for read in (Enrolment.parse_text, CentralKeys.parse_text):
        with pytest.raises(SyncError):
            read(text)


@pytest.mark.parametrize("missing", ["ack", "notice", "checkpoint", "code"])
def test_a_list_of_central_keys_names_every_role_and_no_other(signer: GetSigner, missing: str) -> None:
    fields = _central(signer).fields()
    with pytest.raises(BadMessage, match="exactly the roles"):
        CentralKeys.of({**fields, "keys": {role: key for role, key in fields["keys"].items() if role != missing}})
    with pytest.raises(BadMessage, match="exactly the roles"):
        CentralKeys.of({**fields, "keys": {**fields["keys"], "other": fields["keys"]["ack"]}})


def test_the_golden_messages_of_the_first_release_still_hold(signer: GetSigner) -> None:
    vector = json.loads((Path(__file__).parents[1] / "vectors/messages.json").read_text())
    root, ack_key, notice_key = (signer(name).public for name in ("root", "ack", "notice"))
    ack = Ack.parse(bytes.fromhex(vector["ack"]), ack_key)
    assert ack.ack_hash.hex() == vector["ack_hash"]
    sealed = Ack.seal(
        ack.node_id, ack.epoch, ack.upto_seq, ack.head_hash, ack.central_time_us, ack.window, signer("ack")
    )
    assert sealed == ack
    nack = Nack.parse(bytes.fromhex(vector["nack"]), ack_key)
    assert nack.seal(signer("ack")).hex() == vector["nack"]
    notice = Notice.parse(bytes.fromhex(vector["notice"]), root, notice_key)
    assert notice.hash.hex() == vector["notice_hash"]
    assert CentralKeys.of(notice.body) == CentralKeys.parse_text(vector["central_pub"])
    assert CentralKeys.parse_text(vector["central_pub"]).text(signer("root")) == vector["central_pub"]
    assert Enrolment.parse_text(vector["node_pub"]).text(signer("node")) == vector["node_pub"]
    held = vector["commitment"]
    assert commitment(bytes.fromhex(held["salt"]), held["value"].encode()).hex() == held["hash"]


@pytest.mark.parametrize("central_id", ["../hq", "a b", "fv1/+", "\x1b[2J", "x" * 65, ""])
def test_a_central_is_called_by_a_name(central_id: str, signer: GetSigner) -> None:
    """It stands in terminals, logs and the id of central's session at the broker."""
    keys = CentralKeys(central_id, signer("root").public, _central(signer).keys)
    with pytest.raises(BadMessage, match="central"):
        CentralKeys.parse_text(keys.text(signer("root")))


_PROOF = LogProof("note\n", 3, (b"a" * 32, b"b" * 32))


@pytest.mark.parametrize("proof", [_PROOF, replace(_PROOF, from_size=2, consistency=(b"c" * 32,) * 128)])
def test_an_ack_with_a_checkpoint_reads_back_and_stays_small(signer: GetSigner, proof: LogProof) -> None:
    proof = replace(proof, note="x" * MAX_NOTE_BYTES, proof=(b"p" * 32,) * 64)
    ack = Ack.seal("n" * 64, 1, 17, b"h" * 32, 1_760_000_000_000_000, 8, signer("ack"), proof)
    assert Ack.parse(ack.data, signer("ack").public) == ack
    assert len(ack.data) <= MAX_MESSAGE_BYTES


@pytest.mark.parametrize(
    "change",
    [
        {"note": 1},
        {"index": -1},
        {"index": "3"},
        {"proof": "ab"},
        {"proof": ["AB" * 32]},
        {"proof": ["ab" * 31]},
        {"proof": ["ab" * 32] * 65},
        {"from": 2},
        {"consistency": []},
        {"from": 2, "consistency": ["ab" * 32] * 129},
        {"from": -1, "consistency": []},
    ],
)
def test_an_ack_with_a_malformed_checkpoint_is_refused(signer: GetSigner, change: dict[str, Any]) -> None:
    fields = canonical.decode(_ack(signer).data[64:])
    for checkpoint in ({**_PROOF.fields(), **change}, "text"):
        with pytest.raises(BadMessage, match="ack: checkpoint"):
            Ack.parse(_signed(signer("ack"), "ack", {**fields, "checkpoint": checkpoint}), signer("ack").public)


def test_a_statement_reads_back_under_the_notice_key_alone(signer: GetSigner) -> None:
    made = Statement.seal("hq", "node.enrolled", 5, {"node": "gate-1", "site": "s1"}, signer("notice"))
    assert Statement.parse(made.data, signer("notice").public) == made
    assert made.hash == digest("statement", made.data[64:])
    for other in ("root", "checkpoint", "ack"):
        with pytest.raises(BadMessage, match="not signed"):
            Statement.parse(made.data, signer(other).public)


def test_a_statement_keeps_its_envelope(signer: GetSigner) -> None:
    with pytest.raises(SyncError, match="at_us belongs to the envelope"):
        Statement.seal("hq", "node.enrolled", 5, {"at_us": 1}, signer("notice"))
