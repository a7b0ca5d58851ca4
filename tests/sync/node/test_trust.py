"""Whom a node believes: the pinned root, what it signs, and nothing else."""

import re
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync import SyncError
from sync.central.keys import create_keys, key_path, load_public
from sync.format import canonical, notices
from sync.format.canonical import Fields
from sync.format.messages import FIRST_PREV_HASH, BadMessage, Notice
from sync.format.notices import AccountSet, BadBody, CodeRevoked, Erase, KeyRevoked, Order, Policy, ReportKnown
from sync.format.public_keys import CentralKeys, CentralRole
from sync.format.signing import Signer, create_key_file, load_key_file
from sync.node.ledger import Ledger
from sync.node.trust import DATABASE_FILE, NoticeGap, NoticeRefused, Trust, join
from sync.storage.database import DatabaseError
from sync.storage.key_files import CENTRAL_FILE
from sync.web.accounts import Accounts, Refused
from sync.web.sessions import Sessions
from sync.web.tables import opened
from tests.sync.uplink_site import Central, Node

PASSWORD = "correct horse battery"
NOW_US = 1_760_000_000_000_000


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path / "home")


@pytest.fixture
def central(tmp_path: Path) -> Central:
    return Central(tmp_path / "central")


@pytest.fixture
def joined(node: Node, central: Central) -> Node:
    join(node.home, central.public)
    return node


@pytest.fixture
def ledger(joined: Node) -> Iterator[Ledger]:
    opened = joined.ledger()
    yield opened
    opened.close()


def signer(central: Central, name: str) -> Signer:
    return load_key_file(key_path(central.directory, name))  # type: ignore[arg-type]


def rotated(central: Central, **changes: Signer) -> CentralKeys:
    """Central's keys with some roles given to other keys."""
    public = load_public(central.directory)
    keys: dict[CentralRole, object] = {**public.keys, **{role: key.public for role, key in changes.items()}}  # type: ignore[dict-item]
    return CentralKeys(public.central_id, public.root, keys)  # type: ignore[arg-type]


def keys_notice(central: Central, keys: CentralKeys, nseq: int = 1, prev: bytes = FIRST_PREV_HASH) -> Notice:
    return Notice.seal("n1", nseq, prev, "keys", keys.fields(), signer(central, "root"))


def test_joining_pins_the_file_as_it_is_and_leaves_no_scraps(node: Node, central: Central) -> None:
    keys = join(node.home, central.public)
    assert (node.home / CENTRAL_FILE).read_text() == central.public.read_text()
    assert keys == load_public(central.directory) == Trust(node.home).keys()
    assert not list(node.home.glob("*.tmp"))


def test_joining_the_same_central_again_changes_nothing(joined: Node, central: Central) -> None:
    before = (joined.home / CENTRAL_FILE).stat().st_mtime_ns
    join(joined.home, central.public)
    assert (joined.home / CENTRAL_FILE).stat().st_mtime_ns == before


def test_joining_another_central_is_refused_in_one_line(joined: Node, tmp_path: Path) -> None:
    other = Central(tmp_path / "other")
    before = (joined.home / CENTRAL_FILE).read_text()
    with pytest.raises(SyncError, match="has joined the central of root key") as refused:
        join(joined.home, other.public)
    assert "\n" not in str(refused.value)
    assert (joined.home / CENTRAL_FILE).read_text() == before


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "no central key file"),
        (b"hello\n", "not two lines"),
        (b"\xff\xfe", "cannot be read"),
        (b"{}\n00\n", "version"),
    ],
)
def test_a_file_that_is_no_centrals_is_refused_by_name(
    node: Node, tmp_path: Path, text: bytes | None, says: str
) -> None:
    path = tmp_path / "odd.pub"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(SyncError, match=says) as refused:
        join(node.home, path)
    assert str(path) in str(refused.value)
    assert not (node.home / CENTRAL_FILE).exists()


def test_a_central_file_changed_by_a_byte_is_refused(node: Node, central: Central, tmp_path: Path) -> None:
    changed = tmp_path / "changed.pub"
    changed.write_text(central.public.read_text().replace('"c1"', '"c2"'))
    with pytest.raises(SyncError, match="not signed by the root key"):
        join(node.home, changed)


def test_joining_a_folder_that_is_no_home_is_refused(central: Central, tmp_path: Path) -> None:
    with pytest.raises(SyncError, match="not a FirstVisit HOME"):
        join(tmp_path, central.public)


def test_there_is_no_trust_before_a_join(node: Node) -> None:
    with pytest.raises(SyncError, match=r"central\.pub: no central key file"):
        Trust(node.home)


def test_a_keys_notice_takes_effect_together_with_its_answer(
    joined: Node, central: Central, ledger: Ledger, tmp_path: Path
) -> None:
    trust = Trust(joined.home)
    fresh = create_key_file(tmp_path / "fresh.key")
    notice = keys_notice(central, rotated(central, ack=fresh))
    record = trust.apply(notice.data, ledger, "n1", NOW_US)
    assert record is not None
    assert (record.kind, record.fields["nseq"], record.fields["hash"]) == ("notice.applied", 1, notice.hash.hex())
    assert trust.keys().keys["ack"] == fresh.public
    assert Trust(joined.home).keys().keys["ack"] == fresh.public  # and survives a restart


def test_where_the_answer_cannot_be_written_the_keys_stay(joined: Node, central: Central, tmp_path: Path) -> None:
    fresh = create_key_file(tmp_path / "fresh.key")
    desk_ledger = Ledger(joined.home / "firstvisit.db", joined.desk_writer)  # may not sign notice.applied
    with pytest.raises(SyncError, match=r"notice\.applied is not for"):
        Trust(joined.home).apply(keys_notice(central, rotated(central, ack=fresh)).data, desk_ledger, "n1", NOW_US)
    desk_ledger.close()
    assert Trust(joined.home).keys() == load_public(central.directory)
    assert joined.head() == 0


def test_a_replay_is_answered_by_nothing(joined: Node, central: Central, ledger: Ledger) -> None:
    notice = keys_notice(central, rotated(central))
    trust = Trust(joined.home)
    assert trust.apply(notice.data, ledger, "n1", NOW_US)
    assert trust.apply(notice.data, ledger, "n1", NOW_US) is None
    assert joined.head() == 1


def test_another_notice_in_a_place_that_is_taken_is_refused_and_not_taken_for_a_replay(
    joined: Node, central: Central, ledger: Ledger
) -> None:
    trust = Trust(joined.home)
    assert trust.apply(ordered(central, 1, FIRST_PREV_HASH, Erase(PERSON, "request")).data, ledger, "n1", NOW_US)
    with pytest.raises(NoticeRefused, match="notice 1 is another than the one that came before"):
        trust.apply(ordered(central, 1, FIRST_PREV_HASH, Policy()).data, ledger, "n1", NOW_US)
    assert trust.policy() == (0, Policy())


def test_a_gap_and_a_broken_chain_of_notices_are_refused(joined: Node, central: Central, ledger: Ledger) -> None:
    trust, keys = Trust(joined.home), rotated(central)
    first = keys_notice(central, keys)
    with pytest.raises(NoticeGap, match="1 is missing"):
        trust.apply(keys_notice(central, keys, 2, first.hash).data, ledger, "n1", NOW_US)
    trust.apply(first.data, ledger, "n1", NOW_US)
    with pytest.raises(NoticeRefused, match="does not follow"):
        trust.apply(keys_notice(central, keys, 2, b"\1" * 32).data, ledger, "n1", NOW_US)
    assert trust.apply(keys_notice(central, keys, 2, first.hash).data, ledger, "n1", NOW_US)


def test_a_notice_for_another_node_is_refused(joined: Node, central: Central, ledger: Ledger) -> None:
    other = Notice.seal("n2", 1, FIRST_PREV_HASH, "keys", rotated(central).fields(), signer(central, "root"))
    with pytest.raises(BadMessage, match="for node n2"):
        Trust(joined.home).apply(other.data, ledger, "n1", NOW_US)


@pytest.mark.parametrize("role", ["ack", "notice", "checkpoint", "code"])
def test_keys_under_any_key_but_the_root_are_refused(joined: Node, central: Central, ledger: Ledger, role: str) -> None:
    forged = Notice.seal("n1", 1, FIRST_PREV_HASH, "keys", rotated(central).fields(), signer(central, role))
    with pytest.raises(BadMessage, match="not signed"):
        Trust(joined.home).apply(forged.data, ledger, "n1", NOW_US)


def test_keys_cannot_replace_the_root(joined: Node, central: Central, ledger: Ledger, tmp_path: Path) -> None:
    usurper = create_keys(tmp_path, "c1")
    notice = Notice.seal("n1", 1, FIRST_PREV_HASH, "keys", usurper.fields(), signer(central, "root"))
    with pytest.raises(NoticeRefused, match="another central"):
        Trust(joined.home).apply(notice.data, ledger, "n1", NOW_US)


def ordered(central: Central, nseq: int, prev: bytes, order: Order | tuple[str, Fields]) -> Notice:
    """A notice under the notice key; a pair: of a kind or with a body that may not exist yet."""
    kind, body = order if isinstance(order, tuple) else (order.KIND, order.fields())
    return Notice.seal("n1", nseq, prev, kind, body, signer(central, "notice"))  # type: ignore[arg-type]


def apply_all(joined: Node, central: Central, ledger: Ledger, *said: Order) -> Trust:
    """Apply these as notices 1 and following."""
    trust, prev = Trust(joined.home), FIRST_PREV_HASH
    for nseq, order in enumerate(said, 1):
        notice = ordered(central, nseq, prev, order)
        assert trust.apply(notice.data, ledger, "n1", NOW_US)
        prev = notice.hash
    return trust


PERSON, ACCOUNT, REPORT = "p-" + "0a" * 10, "acc-" + "0b" * 8, "r-" + "0c" * 8


def test_a_notice_of_a_later_version_is_held_alarmed_and_blocks_none_behind_it(
    joined: Node, central: Central, ledger: Ledger
) -> None:
    trust = Trust(joined.home)
    later = ordered(central, 1, FIRST_PREV_HASH, ("price.changed", {"price": 1}))
    with pytest.raises(NoticeRefused, match=r"notice 1: kind 'price\.changed' is not understood"):
        trust.apply(later.data, ledger, "n1", NOW_US)
    assert trust.apply(later.data, ledger, "n1", NOW_US) is None  # repeated by central: nothing new
    assert joined.head() == 0
    behind = ordered(central, 2, later.hash, Erase(PERSON, "request"))
    record = trust.apply(behind.data, ledger, "n1", NOW_US)
    assert record is not None
    assert record.fields["nseq"] == 2
    assert [erasure.person_id for erasure in trust.erasures()] == [PERSON]
    assert trust.apply_held(ledger, NOW_US) == ["notice 1: kind 'price.changed' is not understood by this version"]
    assert trust.last_nseq() == 2
    assert joined.head() == 1


def test_what_was_held_is_applied_by_the_version_that_understands_it_and_then_answered_once(
    joined: Node, central: Central, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = {kind: order for kind, order in notices._ORDERS.items() if kind != "policy"}
    trust = Trust(joined.home)
    with monkeypatch.context() as an_older_version:
        an_older_version.setattr(notices, "_ORDERS", older)
        first = ordered(central, 1, FIRST_PREV_HASH, Policy(unconsented_h=4))
        with pytest.raises(NoticeRefused, match="not understood"):
            trust.apply(first.data, ledger, "n1", NOW_US)
        keys = keys_notice(central, rotated(central, notice=signer(central, "code")), 2, first.hash)
        assert trust.apply(keys.data, ledger, "n1", NOW_US)  # the notice key is another by then
    assert Trust(joined.home).policy() == (0, Policy())
    assert trust.apply_held(ledger, NOW_US) == []
    assert trust.apply_held(ledger, NOW_US) == []
    assert trust.policy() == (1, Policy(unconsented_h=4))
    applied = [record.fields["nseq"] for record in ledger.records(("notice.applied",))]
    assert applied == [2, 1]


def test_of_two_words_on_one_thing_the_later_notice_stands_even_if_applied_first(
    joined: Node, central: Central, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = {kind: order for kind, order in notices._ORDERS.items() if kind != "account"}
    said = [AccountSet(ACCOUNT, True), CodeRevoked("ab" * 32, 5, "lost"), AccountSet(ACCOUNT, False)]
    trust, prev = Trust(joined.home), FIRST_PREV_HASH
    with opened(joined.home / "firstvisit.db") as db:
        db.execute(
            "INSERT INTO accounts (account_id, name, role, password_hash, pin_hash, created_s, enabled)"
            " VALUES (?, 'li', 'front_desk', '', '', 0.0, 1)",
            (ACCOUNT,),
        )
    monkeypatch.setattr(notices, "_ORDERS", older)
    for nseq, order in enumerate(said, 1):
        if nseq == 3:
            monkeypatch.undo()
        notice = ordered(central, nseq, prev, order)
        with nullcontext() if nseq > 1 else pytest.raises(NoticeRefused):
            trust.apply(notice.data, ledger, "n1", NOW_US)
        prev = notice.hash
    assert trust.apply_held(ledger, NOW_US) == []
    with opened(joined.home / "firstvisit.db") as db:
        assert db.execute("SELECT enabled FROM accounts").fetchone() == (0,)


def test_what_central_repeats_is_no_forgery_though_its_notice_key_is_another_since(
    joined: Node, central: Central, ledger: Ledger
) -> None:
    joined.record(3)
    trust = Trust(joined.home)
    held = ordered(central, 1, FIRST_PREV_HASH, ("price.changed", {"price": 1}))
    with pytest.raises(NoticeRefused, match="not understood"):
        trust.apply(held.data, ledger, "n1", NOW_US)
    desk_key = KeyRevoked(joined.desk.public.key_id, 1, 2, "lost")
    revoked = ordered(central, 2, held.hash, desk_key)
    assert trust.apply(revoked.data, ledger, "n1", NOW_US)
    keys = keys_notice(central, rotated(central, notice=signer(central, "code")), 3, revoked.hash)
    assert trust.apply(keys.data, ledger, "n1", NOW_US)
    for repeated in (held, revoked):
        assert trust.apply(repeated.data, ledger, "n1", NOW_US) is None
    with pytest.raises(NoticeRefused, match="another than the one that came before"):
        trust.apply(ordered(central, 2, held.hash, Policy()).data, ledger, "n1", NOW_US)
    with pytest.raises(BadMessage, match="not signed"):  # what is new must be under the new one
        trust.apply(ordered(central, 4, keys.hash, Policy()).data, ledger, "n1", NOW_US)


@pytest.mark.parametrize(
    ("kind", "body", "says"),
    [
        ("policy", {"mode": "ephemeral"}, "mode 'ephemeral': central may ask for after_consent only"),
        ("policy", {"unconsented_h": 0}, "unconsented_h is not a whole number from 1 to 720"),
        ("policy", {"ledger_days": 30}, "ledger_days is not a whole number from 180"),
        ("policy", {"capture": 1}, "'capture' is not understood"),
        ("erase", {"person": PERSON}, "reason is missing"),
        ("erase", {"person": "13812345678", "reason": "request"}, "person is not of the form"),
        ("erase", {"person": PERSON, "reason": "she rang up"}, "reason is none of"),
        ("key.revoked", {"key": "ab" * 16, "epoch": 0, "seq": 0, "reason": "lost"}, "epoch is not a whole number"),
        ("code.revoked", {"code_hash": "AB" * 32, "from_us": 0, "reason": "lost"}, "code_hash is not of the form"),
        ("account", {"account": ACCOUNT, "enabled": 2}, "enabled is not a whole number from 0 to 1"),
        (
            "report.known",
            {"report": REPORT, "subject": "ab" * 32, "agent": "a-" + "0d" * 8, "made_us": 9, "until_us": 8},
            "until_us is not a whole number from 9",
        ),
    ],
)
def test_a_body_that_does_not_say_what_its_kind_may_is_refused_by_name_and_changes_nothing(
    joined: Node, central: Central, ledger: Ledger, kind: str, body: Fields, says: str
) -> None:
    trust = Trust(joined.home)
    with pytest.raises(NoticeRefused, match=f"notice 1: {re.escape(kind)}: {re.escape(says)}"):
        trust.apply(ordered(central, 1, FIRST_PREV_HASH, (kind, body)).data, ledger, "n1", NOW_US)
    assert joined.head() == 0
    assert (trust.policy(), trust.erasures(), trust.revoked_keys()) == ((0, Policy()), [], [])


def test_a_revoked_key_stays_revoked_from_the_earliest_place_ever_named(
    joined: Node, central: Central, ledger: Ledger
) -> None:
    key = "ab" * 16
    said = [KeyRevoked(key, 2, 7, "lost"), KeyRevoked(key, 1, 40, "compromised"), KeyRevoked(key, 3, 1, "error")]
    assert apply_all(joined, central, ledger, *said).revoked_keys() == [KeyRevoked(key, 1, 40, "compromised")]


def test_a_node_whose_own_key_is_revoked_goes_on_recording_and_answers_under_new_keys(
    joined: Node, central: Central, ledger: Ledger
) -> None:
    joined.record(3)
    said = ordered(central, 1, FIRST_PREV_HASH, KeyRevoked(joined.key.public.key_id, 1, 2, "compromised"))
    trust = Trust(joined.home)
    assert trust.apply(said.data, ledger, "n1", NOW_US) is None  # it could only be signed by the key that it revokes
    joined.record()
    assert trust.apply(said.data, ledger, "n1", NOW_US) is None
    (alarm,) = trust.alarms()
    assert (alarm.code, alarm.count) == ("KEY_NOT_IN_FORCE", 2)
    assert "central has revoked the node key after seq 2 (compromised)" in alarm.detail
    behind = ordered(central, 2, said.hash, Erase(PERSON, "request"))
    assert trust.apply(behind.data, ledger, "n1", NOW_US) is None
    assert [one.person_id for one in trust.erasures()] == [PERSON]  # carried out all the same
    assert joined.head() == 4
    fresh = create_key_file(joined.home / "fresh.key")
    renewed = Ledger(joined.home / DATABASE_FILE, replace(joined.writer, signer=fresh))
    with renewed.transaction(new_keys=True) as transaction:
        transaction.begin_epoch("rekey", {"keys": {"node": str(fresh.public)}})
    keys = keys_notice(central, rotated(central, notice=signer(central, "code")), 3, behind.hash)
    assert trust.apply(keys.data, renewed, "n1", NOW_US)  # central repeats the first as it sealed it
    answer = trust.apply(said.data, renewed, "n1", NOW_US)
    assert answer is not None
    assert (answer.epoch, answer.fields["nseq"], answer.key_id) == (2, 1, fresh.public.key_id)
    assert trust.apply(said.data, renewed, "n1", NOW_US) is None
    late = trust.apply(behind.data, renewed, "n1", NOW_US)
    assert late is not None
    assert late.fields["nseq"] == 2
    renewed.close()


def test_the_newest_policy_replaces_the_earlier_one_as_a_whole(joined: Node, central: Central, ledger: Ledger) -> None:
    said = [Policy(mode="after_consent", ledger_days=400), Policy(unconsented_h=2), Policy()]
    assert apply_all(joined, central, ledger, *said[:2]).policy() == (2, Policy(unconsented_h=2))
    notice_2 = ordered(central, 2, ordered(central, 1, FIRST_PREV_HASH, said[0]).hash, said[1])
    trust = Trust(joined.home)
    assert trust.apply(ordered(central, 3, notice_2.hash, said[2]).data, ledger, "n1", NOW_US)
    assert trust.policy() == (3, Policy())


def test_a_desk_reads_revoked_codes_and_the_reports_that_protect_an_agent_now(
    joined: Node, central: Central, ledger: Ledger
) -> None:
    agent, subject = "a-" + "0d" * 8, "cd" * 32
    known = ReportKnown(REPORT, subject, agent, NOW_US, NOW_US + 10)
    withdrawn = ReportKnown("r-" + "0e" * 8, subject, agent, NOW_US, NOW_US + 10)
    taken_back = ReportKnown(withdrawn.report_id, subject, agent, NOW_US, NOW_US)
    code = CodeRevoked("ab" * 32, NOW_US, "left")
    trust = apply_all(joined, central, ledger, known, withdrawn, taken_back, code)
    assert trust.known_reports(subject, NOW_US) == [known]
    assert trust.known_reports(subject, NOW_US + 10) == []
    assert trust.known_reports("ef" * 32, NOW_US) == []
    assert trust.code_revoked(code.code_hash) == code
    assert trust.code_revoked("00" * 32) is None


def test_a_disabled_account_is_signed_out_at_once_and_may_not_sign_in_until_enabled(
    joined: Node, central: Central, ledger: Ledger
) -> None:
    database = joined.home / "firstvisit.db"
    accounts, sessions = Accounts(database, pin_secret=bytes(32)), Sessions(database)
    li = accounts.add("li", PASSWORD, "front_desk", "2580")
    wang = accounts.add("wang", PASSWORD, "manager")
    hers, his = sessions.start(li, None), sessions.start(wang, None)
    disabled = AccountSet(li.account_id, False)
    trust = apply_all(joined, central, ledger, disabled)
    assert sessions.find(hers, touch=False) is None
    assert sessions.find(his, touch=False) is not None
    assert accounts.by_password("li", PASSWORD, None, "198.51.100.7") == Refused()
    assert accounts.with_pin() == []
    after = ordered(central, 1, FIRST_PREV_HASH, disabled).hash
    enabled = ordered(central, 2, after, AccountSet(li.account_id, True))
    assert trust.apply(enabled.data, ledger, "n1", NOW_US)
    assert accounts.by_password("li", PASSWORD, None, "198.51.100.8") == li
    assert sessions.find(hers, touch=False) is None


def test_orders_concerning_nobody_here_are_applied_all_the_same(joined: Node, central: Central, ledger: Ledger) -> None:
    trust = apply_all(joined, central, ledger, AccountSet(ACCOUNT, False), Erase(PERSON, "legal"))
    assert trust.last_nseq() == joined.head() == 2


def hexes(least: int, most: int) -> st.SearchStrategy[str]:
    return st.binary(min_size=least, max_size=most).map(bytes.hex)


ids = st.tuples(st.sampled_from(["p-", "acc-", "r-"]), hexes(8, 32)).map("".join)
numbers = st.integers(0, 2**53 - 1)
orders = st.one_of(
    st.builds(
        KeyRevoked, hexes(16, 16), st.integers(1, 2**53 - 1), numbers, st.sampled_from(notices.REVOCATION_REASONS)
    ),
    st.builds(
        Policy,
        st.sampled_from([None, "after_consent"]),
        st.none() | st.integers(1, 720),
        st.none() | st.integers(180, 3650),
    ),
    st.builds(Erase, ids, st.sampled_from(notices.ERASURE_REASONS)),
    st.builds(CodeRevoked, hexes(32, 32), numbers, st.sampled_from(notices.CODE_REASONS)),
    st.builds(ReportKnown, ids, hexes(32, 32), ids, st.just(7), st.integers(7, 2**53 - 1)),
    st.builds(AccountSet, ids, st.booleans()),
)


@given(orders)
def test_an_order_reads_back_as_it_was_written_and_with_one_more_key_not_at_all(order: Order) -> None:
    assert notices.read_order(order.KIND, canonical.decode(canonical.encode(order.fields()))) == order
    with pytest.raises(BadBody, match="'zz' is not understood"):
        notices.read_order(order.KIND, {**order.fields(), "zz": 1})
    for key in order.fields():
        if not isinstance(order, Policy):
            with pytest.raises(BadBody, match=f"{key} is missing"):
                notices.read_order(order.KIND, {k: v for k, v in order.fields().items() if k != key})


def test_alarms_are_counted_by_code_with_the_newest_detail(joined: Node) -> None:
    trust = Trust(joined.home)
    trust.raise_alarm("FORGED_ACK", "key a", NOW_US)
    trust.raise_alarm("FORK", "seq 3", NOW_US + 1)
    trust.raise_alarm("FORGED_ACK", "key b", NOW_US + 2, count=4)
    forged, fork = trust.alarms()
    assert (forged.code, forged.detail, forged.count) == ("FORGED_ACK", "key b", 5)
    assert (forged.first_us, forged.last_us) == (NOW_US, NOW_US + 2)
    assert fork.count == 1


def test_a_home_without_its_database_is_named(joined: Node) -> None:
    trust = Trust(joined.home)
    (joined.home / "firstvisit.db").unlink()
    with pytest.raises(DatabaseError, match="no ledger there"):
        trust.alarms()
