"""The desk's own authority: what it makes, what it may vouch for, and what is refused in one line."""

import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from edge.kiosk.tablet_ca import TabletCaError, issue
from sync import SyncError
from sync.transport.issuing import new_leaf
from sync.transport.server_pair import ServerPair
from sync.transport.tls import host_name, key_pem, load_certificate, load_key, new_key, pem, utc_now

NAMES = ("kiosk.local", "192.168.1.5")


def test_its_key_is_its_owner_s_alone_and_it_vouches_for_its_names_only(tmp_path: Path) -> None:
    ca = issue(tmp_path, NAMES, utc_now())
    for key in (ca.key, ca.pair.key):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    constraints = load_certificate(ca.certificate).extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    permitted = {str(one.value) for one in constraints.value.permitted_subtrees or ()}
    assert permitted == {"kiosk.local", "192.168.1.5/32", "localhost", "127.0.0.1/32"}
    assert set(ca.pair.names()) == {*NAMES, "localhost", "127.0.0.1"}
    ca.pair.check(utc_now())


def test_a_renewal_keeps_names_and_authority_so_that_tablets_need_not_be_told_anew(tmp_path: Path) -> None:
    before = issue(tmp_path, NAMES, utc_now() - timedelta(days=800))
    authority, leaf, names = before.fingerprint, before.pair.certificate.read_bytes(), set(before.pair.names())
    after = issue(tmp_path, (), utc_now())
    assert after.fingerprint == authority
    assert after.pair.certificate.read_bytes() != leaf
    assert set(after.pair.names()) == names
    after.pair.check(utc_now() + timedelta(days=800))


def test_another_name_wants_another_authority(tmp_path: Path) -> None:
    before = issue(tmp_path, ("kiosk.local",), utc_now()).fingerprint
    issue(tmp_path, ("left.kiosk.local",), utc_now())
    for name in ("bank.example", "xkiosk.local", "192.168.1.6"):
        with pytest.raises(TabletCaError, match=f"--name {name}: .* vouches for kiosk.local, .* only"):
            issue(tmp_path, (name,), utc_now())
    assert issue(tmp_path, ("bank.example",), utc_now(), replace=True).fingerprint != before


@pytest.mark.parametrize("name", ["", "a b", "-x", "x..y", "主机"])
def test_what_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SyncError, match="neither an address nor a host's name"):
        issue(tmp_path, (name,), utc_now())


def test_a_first_certificate_needs_a_name(tmp_path: Path) -> None:
    with pytest.raises(TabletCaError, match="--name NAME is needed"):
        issue(tmp_path, (), utc_now())


def test_a_pair_that_cannot_serve_is_refused_in_one_line(tmp_path: Path) -> None:
    pair = issue(tmp_path, NAMES, utc_now()).pair
    refused = {
        "expired on": (pair, utc_now() + timedelta(days=900)),
        "valid from": (pair, utc_now() - timedelta(days=9)),
        "no certificate there": (ServerPair(tmp_path / "none.crt", pair.key), utc_now()),
        "not a certificate": (ServerPair(pair.key, pair.key), utc_now()),
        "No such file": (ServerPair(pair.certificate, tmp_path / "none.key"), utc_now()),
        "not usable with": (ServerPair(pair.certificate, pair.certificate), utc_now()),
    }
    (tmp_path / "other.key").write_text(key_pem(new_key()))
    refused["not the key of"] = (ServerPair(pair.certificate, tmp_path / "other.key"), utc_now())
    for said, (wrong, now) in refused.items():
        with pytest.raises(SyncError, match=said) as error:
            wrong.check(now)
        assert "\n" not in str(error.value)


def test_whoever_copies_the_authority_s_key_can_stand_in_for_no_other_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = issue(tmp_path, ("kiosk.local",), utc_now())
    key = new_key()
    signer = load_key(ca.key)
    names = [host_name("bank.example")]
    issuer, ends = load_certificate(ca.certificate), utc_now() + timedelta(days=30)
    extensions = [x509.SubjectAlternativeName(names)]
    usage = ExtendedKeyUsageOID.SERVER_AUTH
    leaf = new_leaf(issuer, signer, "forged", key.public_key(), utc_now(), ends, usage, extensions)
    (tmp_path / "forged.crt").write_text(pem(leaf))
    (tmp_path / "forged.key").write_text(key_pem(key))
    monkeypatch.setenv("SSL_CERT_FILE", str(ca.certificate))  # a device that trusts this authority and no other
    forged = ServerPair(tmp_path / "forged.crt", tmp_path / "forged.key")
    forged.check(utc_now())
    assert ca.pair.publicly_valid("kiosk.local")
    assert not ca.pair.publicly_valid("bank.example")
    assert not forged.publicly_valid("bank.example")
    monkeypatch.delenv("SSL_CERT_FILE")
    assert not ca.pair.publicly_valid("kiosk.local"), "a visitor's phone was told of no authority of ours"
