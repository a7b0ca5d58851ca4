"""Central's own authority: what it issues, what it never issues, and what survives a crash between two files."""

import stat
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from sync import SyncError
from sync.central.access import Access
from sync.central.ca import BROKER_NAME, Authority, open_authority, renew, renew_if_due, server_names
from sync.central.certificates import CertificateKeeper
from sync.transport.tls import (
    CENTRAL_NAME,
    TlsFiles,
    common_name,
    load_certificate,
    new_key,
    own_fault,
    pem,
    read_request,
    request,
    tls_files,
    utc_now,
)

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def test_a_new_authority_keeps_its_keys_to_itself_and_is_the_same_when_opened_again(tmp_path: Path) -> None:
    first = open_authority(tmp_path, "hq", NOW, ["central.example"])
    again = open_authority(tmp_path, "hq", NOW + timedelta(days=1))
    assert again.certificate == first.certificate
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*") if path.is_file()}
    private = {name for name, mode in modes.items() if mode & 0o077 == 0}
    assert private >= {"ca.key", "server.key", "client.key", "ca.db"}
    assert {"ca.crt", "server.crt", "client.crt", "crl.pem"} & private == set()
    assert set(server_names(TlsFiles(tmp_path / "tls", "server"))) == {"127.0.0.1", "localhost", "central.example"}
    assert common_name(load_certificate(tmp_path / "tls" / "client.crt")) == CENTRAL_NAME


@pytest.mark.parametrize("lost", ["client.crt", "server.key", "crl.pem"])
def test_what_a_crash_left_out_is_made_at_the_next_start(tmp_path: Path, lost: str) -> None:
    open_authority(tmp_path, "hq", NOW, ["central.example"])
    (tmp_path / "tls" / lost).unlink()
    authority = open_authority(tmp_path, "hq", NOW)
    for name in ("client", "server"):
        TlsFiles(tmp_path / "tls", name).context()  # loads only a pair that fits
    if lost != "crl.pem":
        assert (tmp_path / "tls" / "crl.pem").is_file()
    assert x509.load_pem_x509_crl(authority.revocation_list(NOW).encode()).is_signature_valid(
        authority.certificate.public_key()
    )


def test_an_authority_without_its_certificate_is_made_with_the_same_key(tmp_path: Path) -> None:
    before = open_authority(tmp_path, "hq", NOW).certificate.public_key()
    (tmp_path / "tls" / "ca.crt").unlink()
    assert open_authority(tmp_path, "hq", NOW).certificate.public_key() == before


def test_the_key_of_another_authority_is_refused_by_name(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        open_authority(tmp_path / name, name, NOW)
    (tmp_path / "a/keys/ca.key").write_bytes((tmp_path / "b/keys/ca.key").read_bytes())
    with pytest.raises(SyncError, match=r"ca\.key: not the key of"):
        open_authority(tmp_path / "a", "a", NOW)


@pytest.mark.parametrize("name", [CENTRAL_NAME, "fv1:server", "", "n 1", "n/1", "+", "#", "a" * 65])
def test_no_node_is_certified_under_a_name_that_is_none(tmp_path: Path, name: str) -> None:
    authority = open_authority(tmp_path, "hq", NOW)
    with pytest.raises(SyncError, match="is not the name of a node"):
        authority.issue_client(name, new_key().public_key(), NOW)


def test_a_client_s_certificate_says_what_it_is_for_and_when_it_ends(tmp_path: Path) -> None:
    authority = open_authority(tmp_path, "hq", NOW)
    issued = authority.issue_client("n1", new_key().public_key(), NOW).certificate
    usage = issued.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [x509.ExtendedKeyUsageOID.CLIENT_AUTH]
    assert issued.not_valid_before_utc == NOW - timedelta(days=1)
    assert issued.not_valid_after_utc == NOW + timedelta(days=180)
    assert not issued.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_revoking_a_name_lists_all_its_certificates_and_nobody_else_s(tmp_path: Path) -> None:
    authority = open_authority(tmp_path, "hq", NOW)
    mine = [authority.issue_client("n1", new_key().public_key(), NOW).certificate for _ in range(2)]
    other = authority.issue_client("n2", new_key().public_key(), NOW).certificate
    assert authority.revoke("n1", NOW) == 2
    assert authority.revoke("n1", NOW) == 0
    listed = x509.load_pem_x509_crl((tmp_path / "tls/crl.pem").read_bytes())
    assert {one.serial_number for one in listed} == {one.serial_number for one in mine}
    assert listed.next_update_utc is not None
    assert listed.next_update_utc > NOW + timedelta(days=9999), "an expired list would lock everybody out"
    with Access(tmp_path) as access:
        assert access.in_force(other.serial_number)
        assert not access.in_force(mine[0].serial_number)
        assert not access.in_force(1), "one that was never issued"


def test_a_list_made_before_a_revocation_is_not_written_behind_it(tmp_path: Path) -> None:
    class Slow(Authority):
        def revocation_list(self, now: datetime) -> str:
            text = super().revocation_list(now)
            made.set()
            time.sleep(0.5)
            return text

    authority, made = open_authority(tmp_path, "hq", NOW), threading.Event()
    mine = authority.issue_client("n1", new_key().public_key(), NOW).certificate
    keeper = threading.Thread(target=renew, args=(Slow(tmp_path), tmp_path, NOW))
    keeper.start()
    assert made.wait(10)
    assert authority.revoke("n1", NOW) == 1
    keeper.join()
    listed = x509.load_pem_x509_crl((tmp_path / "tls/crl.pem").read_bytes())
    assert [one.serial_number for one in listed] == [mine.serial_number]


def test_central_renews_its_own_certificates_when_they_near_their_end_and_not_before(tmp_path: Path) -> None:
    authority = open_authority(tmp_path, "hq", NOW, ["central.example"])
    before = (tmp_path / "tls/client.crt").read_text()
    assert not renew_if_due(authority, tmp_path, NOW + timedelta(days=100))
    assert (tmp_path / "tls/client.crt").read_text() == before
    assert renew_if_due(authority, tmp_path, NOW + timedelta(days=121))
    assert (tmp_path / "tls/client.crt").read_text() != before
    assert "central.example" in server_names(TlsFiles(tmp_path / "tls", "server"))


def test_a_request_is_read_for_its_name_and_key_alone() -> None:
    key = new_key()
    name, public = read_request(request("n1", key))
    assert (name, public) == ("n1", key.public_key())


def foreign_requests() -> dict[str, str]:
    weak = rsa.generate_private_key(65537, 2048)
    curve = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "n1")])
    twice = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "n1"), x509.NameAttribute(NameOID.COMMON_NAME, "n2")])

    def built(subject: x509.Name, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
        return pem(x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256()))

    good = x509.load_pem_x509_csr(request("n1", new_key()).encode())
    der = bytearray(good.public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    broken = pem(x509.load_der_x509_csr(bytes(der)))
    return {
        "RSA": built(name, weak),
        "P-384": built(name, curve),
        "two names": built(twice, new_key()),
        "no name": built(x509.Name([]), new_key()),
        "not signed": broken,
        "no request": "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        "empty": "",
    }


@pytest.mark.parametrize("what", foreign_requests())
def test_a_request_that_is_none_of_ours_is_refused_in_one_line(what: str) -> None:
    with pytest.raises(SyncError) as refused:
        read_request(foreign_requests()[what])
    assert "\n" not in str(refused.value)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=400))
def test_no_text_breaks_the_reader_of_requests(text: str) -> None:
    with pytest.raises(SyncError):
        read_request(text)


def test_what_is_wrong_with_an_own_certificate_is_said_in_one_line(tmp_path: Path) -> None:
    authority = open_authority(tmp_path, "hq", NOW)
    files = tls_files(tmp_path)
    assert files is not None
    assert own_fault(files, NOW) is None
    assert own_fault(files, NOW + timedelta(days=181)) == f"{files.certificate}: expired on 2027-05-24"
    assert "is the clock right?" in (own_fault(files, NOW - timedelta(days=400)) or "")
    files.certificate.write_text(authority.issue_client("n1", new_key().public_key(), NOW).text)
    with pytest.raises(SyncError, match=r"not usable with client\.key"):
        files.context()
    files.certificate.unlink()
    with pytest.raises(SyncError, match="missing"):
        files.context()
    assert tls_files(tmp_path / "nowhere") is None


def test_a_server_s_name_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SyncError, match="neither an address nor a host's name"):
        open_authority(tmp_path, "hq", NOW, ["central example"])


def test_a_broker_s_certificate_near_its_end_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    authority = open_authority(tmp_path, "hq", utc_now())
    keeper = CertificateKeeper(authority, tmp_path)
    keeper.look()
    assert caplog.text == ""
    for made in (utc_now() - timedelta(days=5 * 365 - 59), utc_now()):
        issued = authority.issue_server(["a"], new_key().public_key(), made, "broker")
        assert common_name(issued.certificate) == BROKER_NAME
        keeper.look()
        keeper.look()
        assert caplog.text.count("the broker's certificate ends") == 1
