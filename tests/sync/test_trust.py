"""Whom a node believes: the pinned root, what it signs, and nothing else."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sync import SyncError
from sync.central.keys import create_keys, key_path, load_public
from sync.database import DatabaseError
from sync.ledger import Ledger
from sync.messages import BadMessage, CentralKeys, CentralRole, Notice, NoticeKind
from sync.signing import Signer, create_key_file, load_key_file
from sync.trust import CENTRAL_FILE, FIRST_PREV_HASH, NoticeRefused, Trust, join
from tests.sync.uplink_site import Central, Node

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


def test_a_gap_and_a_broken_chain_of_notices_are_refused(joined: Node, central: Central, ledger: Ledger) -> None:
    trust, keys = Trust(joined.home), rotated(central)
    first = keys_notice(central, keys)
    with pytest.raises(NoticeRefused, match="1 is missing"):
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


@pytest.mark.parametrize("kind", ["key.revoked", "policy", "report.known", "code.revoked", "erase", "account"])
def test_kinds_of_a_later_version_are_refused_and_not_answered(
    joined: Node, central: Central, ledger: Ledger, kind: NoticeKind
) -> None:
    notice = Notice.seal("n1", 1, FIRST_PREV_HASH, kind, {}, signer(central, "notice"))
    with pytest.raises(NoticeRefused, match="not understood"):
        Trust(joined.home).apply(notice.data, ledger, "n1", NOW_US)
    assert joined.head() == 0


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
