"""A node's certificate is renewed by the node itself, and never at the price of the one it has."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from sync import SyncError
from sync.format.signing import PublicKey, create_key_file
from sync.node.joining import SERVER_FILE
from sync.node.renewal import RenewalThread, renew_if_due
from sync.node.trust import Trust
from sync.transport.tls import RENEW_BEFORE, TlsFiles, load_key, utc_now
from tests.sync.api_site import ApiSite
from tests.sync.uplink_site import Node, wait_for

NEARLY = timedelta(days=180) - RENEW_BEFORE + timedelta(days=1)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[ApiSite]:
    made = ApiSite(tmp_path)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def node(tmp_path: Path, site: ApiSite) -> Node:
    return site.joined(Node(tmp_path / "home"))


def root(node: Node) -> PublicKey:
    return Trust(node.home).keys().root


def test_a_certificate_near_its_end_is_replaced_and_goes_on_with_the_same_key(site: ApiSite, node: Node) -> None:
    files = TlsFiles(node.home / "tls")
    before, key = files.certificate.read_text(), files.key.read_text()
    assert not renew_if_due(node.home, "n1", lambda: node.key, root(node), site.now())
    site.ahead = NEARLY
    assert renew_if_due(node.home, "n1", lambda: node.key, root(node), site.now())
    assert files.certificate.read_text() != before
    assert files.key.read_text() == key
    files.context()
    assert not renew_if_due(node.home, "n1", lambda: node.key, root(node), site.now())


def test_a_certificate_is_kept_where_central_is_away_or_refuses_or_answers_for_another(
    site: ApiSite, node: Node, tmp_path: Path
) -> None:
    files = TlsFiles(node.home / "tls")
    before = files.certificate.read_text()
    site.ahead = NEARLY
    with pytest.raises(SyncError, match="no proof"):
        renew_if_due(node.home, "n1", lambda: create_key_file(tmp_path / "x.key"), root(node), site.now())
    site.authority.revoke("n1", utc_now())
    with pytest.raises(SyncError, match="not admitted any more"):
        renew_if_due(node.home, "n1", lambda: node.key, root(node), site.now())
    site.stop()
    with pytest.raises(SyncError, match="Connection refused"):
        renew_if_due(node.home, "n1", lambda: node.key, root(node), site.now())
    assert files.certificate.read_text() == before
    other = site.authority.issue_client("n2", node_key(files), utc_now())
    files.certificate.write_text(other.text)
    with pytest.raises(SyncError):
        renew_if_due(node.home, "n1", lambda: node.key, root(node), site.now())


def node_key(files: TlsFiles) -> EllipticCurvePublicKey:
    return load_key(files.key).public_key()


def test_a_node_that_joined_by_file_has_nothing_to_renew(tmp_path: Path, node: Node) -> None:
    (node.home / "tls" / SERVER_FILE).unlink()
    assert not renew_if_due(node.home, "n1", lambda: node.key, root(node), utc_now() + timedelta(days=999))
    assert not renew_if_due(Node(tmp_path / "b", "n2").home, "n2", lambda: node.key, root(node), utc_now())


def test_a_running_node_renews_by_itself_and_says_an_outage_once(
    site: ApiSite, node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    files = TlsFiles(node.home / "tls")
    site.ahead = timedelta(days=-150)
    files.certificate.write_text(site.authority.issue_client("n1", node_key(files), site.now()).text)
    before = files.certificate.read_text()
    site.ahead = timedelta(0)
    site.stop()
    thread = RenewalThread(node.home, "n1", lambda: node.key, root(node), look_s=0.1)
    thread.start()
    wait_for(lambda: "certificate not renewed" in caplog.text, "the outage is said")
    site.start()
    caplog.set_level("INFO")
    wait_for(lambda: files.certificate.read_text() != before, "it is renewed")
    thread.stop()
    assert caplog.text.count("certificate not renewed") <= 2
