"""Joining by invitation against a central that is really served: the way in, and everybody who must not find it."""

import dataclasses
import json
import shutil
import socket
import sqlite3
import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from sync import SyncError
from sync.central.access import Access
from sync.central.admission import reject
from sync.central.ca import open_authority
from sync.format import canonical
from sync.format.messages import Statement
from sync.format.records import seal
from sync.format.rotation import Rotation
from sync.format.signing import Signer, create_key_file
from sync.node.joining import Joining, JoinRefused
from sync.node.trust import Trust
from sync.storage.key_files import read_statements
from sync.transport.invitation import Invitation
from sync.transport.possession import Ask, BadAsk, Renewal
from sync.transport.tls import (
    RENEW_BEFORE,
    TlsFiles,
    common_name,
    load_certificate,
    load_key,
    new_key,
    request,
    utc_now,
)
from tests.sync.api_site import ApiSite, in_thread
from tests.sync.uplink_site import Node, stamp, wait_for


@pytest.fixture
def site(tmp_path: Path) -> Iterator[ApiSite]:
    made = ApiSite(tmp_path)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path / "home")


def enrolled_at(site: ApiSite, node_id: str) -> bool:
    with site.central.store() as store:
        return store.enrolment(node_id) is not None


# -- the way in ------------------------------------------------------------------------------------------------------


def test_a_node_is_let_in_once_its_fingerprint_is_confirmed_and_not_before(site: ApiSite, node: Node) -> None:
    joining = site.joining(node, site.invite())
    assert joining.ask() == "waiting"
    assert joining.state() == "waiting"
    assert not enrolled_at(site, "n1"), "a node that asks is not one that is let in"
    waiting = in_thread(joining)
    site.confirm(node)
    waiting.join(20)
    assert not waiting.is_alive()
    joining.finish()
    joining.forget()
    assert enrolled_at(site, "n1")
    files = TlsFiles(node.home / "tls")
    files.context()
    assert common_name(load_certificate(files.certificate)) == "n1"
    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600
    assert sorted(path.name for path in files.folder.iterdir()) == ["ca.crt", "client.crt", "client.key", "server"]
    assert Trust(node.home).root == Trust(node.home).keys().root.fingerprint


def test_a_node_let_in_keeps_what_central_s_log_says_of_it(site: ApiSite, node: Node) -> None:
    site.joined(node)
    with site.central.store() as store:
        ((_, stated),) = store.statements("n1")
    assert read_statements(node.home) == (stated,)
    said = Statement.parse(stated, Trust(node.home).keys().keys["notice"])
    assert (said.kind, said.fields["node"]) == ("node.enrolled", "n1")
    assert said.fields["keys"] == {role: str(key) for role, key in node.enrolment.keys.items()}


def test_a_join_that_is_cut_off_anywhere_goes_on_with_the_same_invitation(site: ApiSite, node: Node) -> None:
    invitation = site.invite()
    site.joining(node, invitation).ask()
    site.ahead = timedelta(hours=1)  # the token's time is over, but it was spent in time, by this very node
    assert site.joining(node, invitation).ask() == "waiting"
    site.confirm(node)
    again = site.joining(node, invitation)
    assert again.ask() == "confirmed"
    again.finish()  # and cut off here, before what was kept is forgotten
    last = site.joining(node, invitation)
    assert last.ask() == "confirmed"
    last.finish()
    TlsFiles(node.home / "tls").context()


def test_confirming_twice_and_joining_once_more_end_the_same(site: ApiSite, node: Node) -> None:
    site.joined(node)
    with pytest.raises(SyncError, match="nobody of that name asks"):
        site.confirm(node)
    site.joined(node)
    with site.central.store() as store:
        assert [row.node_id for row in store.nodes()] == ["n1"]


# -- who must not find it --------------------------------------------------------------------------------------------


def test_a_wrong_fingerprint_lets_nobody_in(site: ApiSite, node: Node) -> None:
    site.joining(node, site.invite()).ask()
    for wrong in ("", "0" * 32, node.desk.public.fingerprint, node.key.public.fingerprint[:-1]):
        with pytest.raises(SyncError, match="fingerprint is not that of the key"):
            site.confirm(node, wrong)
    assert not enrolled_at(site, "n1")
    site.confirm(node, node.key.public.fingerprint.upper().replace(" ", ""))
    assert enrolled_at(site, "n1")


def test_who_is_turned_away_is_told_so_and_begins_anew(site: ApiSite, node: Node) -> None:
    joining = site.joining(node, site.invite())
    joining.ask()
    reject(site.central.directory, "n1", utc_now())
    with pytest.raises(JoinRefused, match="turned this node away"):
        joining.wait(print)
    assert list((node.home / "tls").iterdir()) == []
    assert not enrolled_at(site, "n1")
    site.joined(node)


def test_an_invitation_is_good_for_fifteen_minutes(site: ApiSite, node: Node) -> None:
    invitation = site.invite()
    site.ahead = timedelta(minutes=15, seconds=1)
    with pytest.raises(JoinRefused, match="has expired"):
        site.joining(node, invitation).ask()


def test_an_invitation_is_good_once(site: ApiSite, node: Node, tmp_path: Path) -> None:
    invitation = site.invite()
    site.joining(node, invitation).ask()
    with pytest.raises(JoinRefused, match="has been used"):
        site.joining(Node(tmp_path / "second", "n2"), invitation).ask()
    shutil.rmtree(node.home / "tls")
    with pytest.raises(JoinRefused, match="has been used"):  # the same node with another certificate's key is another
        site.joining(node, invitation).ask()


def test_an_invitation_for_one_node_lets_no_other_ask(site: ApiSite, node: Node) -> None:
    with pytest.raises(JoinRefused, match="for another node"):
        site.joining(node, site.invite("n2")).ask()
    assert site.joining(node, site.invite("n1")).ask() == "waiting"


def test_a_token_nobody_was_given_opens_nothing(site: ApiSite, node: Node) -> None:
    invented = dataclasses.replace(site.invite(), token=bytes(32))
    with pytest.raises(JoinRefused, match="no such invitation"):
        site.joining(node, invented).ask()


def test_who_has_stolen_a_node_pub_but_not_its_keys_is_refused(site: ApiSite, node: Node, tmp_path: Path) -> None:
    thief = Node(tmp_path / "thief", "n1")
    shutil.copy(node.home / "node.pub", thief.home / "node.pub")
    with pytest.raises(JoinRefused, match="no proof that the sender holds the node key"):
        site.joining(thief, site.invite()).ask()
    thief.key = node.key
    with pytest.raises(JoinRefused, match="no proof that the sender holds the desk key"):
        site.joining(thief, site.invite()).ask()


def test_a_rotation_that_the_enrolled_key_did_not_sign_lets_nobody_in(
    site: ApiSite, node: Node, tmp_path: Path
) -> None:
    thief = Node(tmp_path / "thief", "n1")
    shutil.copy(node.home / "node.pub", thief.home / "node.pub")
    rotation = Rotation("n1", 1, 1, "node", node.key.public.key_id, thief.key.public)
    body = {"v": 1, "node": "n1", "epoch": 1, "seq": 1, "prev": "0" * 64, "kind": "key.rotated"}
    body |= {"key": node.key.public.key_id, "at": stamp(None).fields()}
    forged = seal(body | rotation.fields(thief.key, thief.key, "file"), thief.key)
    with pytest.raises(JoinRefused, match="rotations: signature does not verify"):
        Joining(thief.home, site.invite(), thief.key, node.desk, [forged]).ask()


def test_a_refused_proof_spends_no_token(site: ApiSite, node: Node, tmp_path: Path) -> None:
    invitation = site.invite()
    thief = Node(tmp_path / "thief", "n1")
    shutil.copy(node.home / "node.pub", thief.home / "node.pub")
    with pytest.raises(JoinRefused):
        site.joining(thief, invitation).ask()
    assert site.joining(node, invitation).ask() == "waiting"


def test_what_was_said_to_one_central_is_worth_nothing_at_another(site: ApiSite, node: Node, tmp_path: Path) -> None:
    other = create_key_file(tmp_path / "root.key").public
    key = new_key()
    csr = request("n1", key)
    token = site.invite().token
    made = Ask.make(token, (node.home / "node.pub").read_text(), csr, other, node.key, node.desk, key)
    with site.client() as client:
        answer = client.post("/v1/enrol", content=made.encode())
    assert (answer.status_code, answer.json()["error"]) == (400, "malformed")
    assert "no proof" in answer.json()["text"]


def test_a_certificate_is_asked_for_in_one_s_own_name_and_with_its_own_key(site: ApiSite, node: Node) -> None:
    root = Trust(site.joined(node).home).keys().root
    key, other = new_key(), new_key()
    pub = (node.home / "node.pub").read_text()
    foreign = Ask.make(bytes(32), pub, request("n2", key), root, node.key, node.desk, key)
    with pytest.raises(BadAsk, match="asked for 'n2'"):
        foreign.proven(root, node.enrolment.keys)
    without = Ask.make(bytes(32), pub, request("n1", key), root, node.key, node.desk, other)
    with pytest.raises(BadAsk, match="certificate key"):
        without.proven(root, node.enrolment.keys)


def test_somebody_else_who_answers_at_central_s_address_is_seen_through(
    site: ApiSite, node: Node, tmp_path: Path
) -> None:
    invitation = site.invite()
    other = ApiSite(tmp_path / "elsewhere")
    other.start()
    try:
        strange = dataclasses.replace(invitation, server=other.url)
        with pytest.raises(SyncError, match="authority is not the invitation's"):
            site.joining(node, strange).ask()
        between = dataclasses.replace(invitation, ca_sha256=bytes(32))  # central.pub handed on, under another authority
        with pytest.raises(SyncError, match="authority is not the invitation's"):
            site.joining(node, between).ask()
        half = dataclasses.replace(strange, ca_sha256=bytes.fromhex(other.authority.fingerprint))
        with pytest.raises(SyncError, match="root key is not the invitation's"):
            site.joining(node, half).ask()
    finally:
        other.stop()


def test_a_node_of_another_central_does_not_go_over_by_an_invitation(site: ApiSite, node: Node, tmp_path: Path) -> None:
    site.joined(node)
    other = ApiSite(tmp_path / "elsewhere")
    with pytest.raises(SyncError, match="has joined another central"):
        other.joining(node, other.invite())


def test_an_address_where_nobody_listens_is_said_in_one_line(site: ApiSite, node: Node) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    gone = dataclasses.replace(site.invite(), server=f"https://127.0.0.1:{port}")
    with pytest.raises(SyncError, match="Connection refused") as refused:
        site.joining(node, gone).ask()
    assert "\n" not in str(refused.value)


# -- what is kept ----------------------------------------------------------------------------------------------------


def test_central_keeps_no_token_and_the_text_shows_none(site: ApiSite) -> None:
    invitation = site.invite()
    kept = b"".join(path.read_bytes() for path in site.central.directory.rglob("*") if path.is_file())
    assert invitation.token not in kept
    assert invitation.token.hex().encode() not in kept
    assert invitation.token.hex() not in repr(invitation)
    assert str(invitation.token) not in repr(invitation)


def test_invitations_of_the_past_are_forgotten_and_requests_are_not(site: ApiSite, node: Node) -> None:
    site.joining(node, site.invite()).ask()
    site.invite()
    site.ahead = timedelta(days=1)
    site.invite()
    with Access(site.central.directory) as access:
        assert [one.node_id for one in access.waiting()] == ["n1"]
    with sqlite3.connect(site.central.directory / "ca.db") as book:
        assert book.execute("SELECT count(*) FROM invitations").fetchone() == (2,)


@given(
    st.builds(
        Invitation,
        st.sampled_from(["https://central.example:8700", "https://[::1]:1", "https://10.0.0.1"]),
        st.binary(min_size=32, max_size=32),
        st.binary(min_size=32, max_size=32),
        st.binary(min_size=16, max_size=16).map(bytes.hex),
        st.sampled_from(["mqtts://b.example:8883", "https://central.example:8700"]),
    )
)
def test_an_invitation_is_read_as_it_was_written(invitation: Invitation) -> None:
    text = invitation.text()
    assert Invitation.parse(text) == invitation
    assert Invitation.parse(f"  {text[:40]}\n{text[40:]} ") == invitation
    for damaged in (text[:-1], text[:30] + text[31:], text.replace("fv1", "fv2"), text + "AA"):
        with pytest.raises(SyncError) as refused:
            Invitation.parse(damaged)
        assert invitation.token.hex() not in str(refused.value)


@given(st.one_of(st.text(max_size=100), st.text("ABCabc019-_=", max_size=300).map(lambda t: "fv1-invite:" + t)))
def test_no_text_breaks_the_reader_of_invitations(text: str) -> None:
    with pytest.raises(SyncError):
        Invitation.parse(text)


JSON = st.recursive(
    st.integers(-(2**60), 2**60) | st.text(max_size=20) | st.booleans() | st.none() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


QUESTION_KEYS = ("v", "token", "proofs", "csr", "node_pub", "node", "signature")
QUESTIONS = st.dictionaries(st.sampled_from(QUESTION_KEYS), JSON).map(lambda fields: json.dumps(fields).encode())


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=300), QUESTIONS))
def test_no_bytes_break_the_readers_of_questions(data: bytes) -> None:
    for reader in (Ask, Renewal):
        with pytest.raises(BadAsk):
            reader.parse(data)


def test_a_question_is_read_as_it_was_written(node: Node, tmp_path: Path) -> None:
    key, root = new_key(), create_key_file(tmp_path / "root.key").public
    csr = request("n1", key)
    made = Ask.make(b"t" * 32, (node.home / "node.pub").read_text(), csr, root, node.key, node.desk, key)
    assert Ask.parse(made.encode()) == made
    assert made.enrolment() == node.enrolment
    assert made.proven(root, node.enrolment.keys) == key.public_key()
    again = Renewal.make("n1", csr, root, node.key)
    assert Renewal.parse(again.encode()) == again
    assert again.proven(root, node.key.public) == key.public_key()
    with pytest.raises(BadAsk, match="no proof"):
        again.proven(root, node.desk.public)


# -- renewal ---------------------------------------------------------------------------------------------------------


def renew(
    site: ApiSite, node: Node, key: EllipticCurvePrivateKey | None = None, signer: Signer | None = None
) -> dict[str, object]:
    held = key or load_key(node.home / "tls/client.key")
    root = Trust(node.home).keys().root
    made = Renewal.make(node.node_id, request(node.node_id, held), root, signer or node.key)
    with site.client() as client:
        answer = client.post("/v1/renew", content=made.encode())
    return {"code": answer.status_code, **canonical.decode(answer.content)}


def test_a_certificate_is_renewed_by_the_node_key_when_it_nears_its_end_even_after_it(
    site: ApiSite, node: Node
) -> None:
    site.joined(node)
    held = (node.home / "tls/client.crt").read_text()
    assert renew(site, node)["certificate"] == held, "one with time left is given again, not made anew"
    site.ahead = timedelta(days=180) - RENEW_BEFORE + timedelta(hours=1)
    fresh = renew(site, node)["certificate"]
    assert fresh != held
    assert renew(site, node)["certificate"] == fresh, "an answer that was lost is given again"
    site.ahead = timedelta(days=600)
    assert renew(site, node)["code"] == 200


def test_nobody_renews_without_the_node_key_nor_a_node_that_is_not_admitted(
    site: ApiSite, node: Node, tmp_path: Path
) -> None:
    site.joined(node)
    stranger = create_key_file(tmp_path / "x.key")
    assert renew(site, node, signer=stranger)["error"] == "malformed"
    assert renew(site, node, key=new_key())["error"] == "early"
    site.authority.revoke("n1", utc_now())
    assert renew(site, node)["error"] == "revoked"
    node.node_id = "n2"
    assert renew(site, node)["error"] == "unknown-node"
    open_authority(site.central.directory, "c1", utc_now())


def test_a_node_that_has_rotated_its_key_joins_anew_and_renews_with_the_new_one(
    site: ApiSite, node: Node, tmp_path: Path
) -> None:
    site.joined(node)
    node.start(site.url)
    wait_for(lambda: node.head() == 1, "notice 1 is answered")
    assert node.uplink is not None
    new = create_key_file(tmp_path / "new.key")
    rotation = Rotation("n1", 1, 2, "node", node.key.public.key_id, new.public)
    ledger = node.ledger()
    ledger.append("key.rotated", rotation.fields(new, node.key, "file"))
    ledger.close()
    assert node.uplink.drained(40)
    node.stop()
    assert renew(site, node)["error"] == "malformed", "the old key asks for nothing more"
    assert renew(site, node, signer=new)["code"] == 200
    with pytest.raises(JoinRefused, match="no proof that the sender holds the node key"):
        site.joining(node, site.invite()).ask()
    node.key = new
    joining = site.joining(node, site.invite())
    joining.ask()
    site.confirm(node)
    assert joining.state() == "confirmed"
