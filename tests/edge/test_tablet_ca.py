"""The desk's own authority: what it makes, what it may vouch for, and what is refused in one line."""

import ssl
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from edge.tablet_ca import TabletCaError, issue
from sync import SyncError
from sync.transport.server_pair import ServerPair
from sync.transport.tls import key_pem, load_certificate, new_key, utc_now

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


def test_no_browser_is_held_to_a_certificate_beyond_the_authority_s_names(tmp_path: Path) -> None:
    """OpenSSL itself judges: a leaf for another name, signed with the authority's own key, is not believed."""
    from cryptography.hazmat.primitives.asymmetric import ec

    from edge import tablet_ca
    from sync.transport.tls import host_name, load_key, pem

    ca = issue(tmp_path, ("kiosk.local",), utc_now())
    key: ec.EllipticCurvePrivateKey = new_key()
    signer = load_key(ca.key)
    names = [host_name("bank.example")]
    forged = tablet_ca._leaf(load_certificate(ca.certificate), signer, key.public_key(), names, utc_now())
    (tmp_path / "forged.crt").write_text(pem(forged))
    (tmp_path / "forged.key").write_text(key_pem(key))
    assert _handshake(ca.certificate, ca.pair, "kiosk.local") is None
    said = _handshake(ca.certificate, ServerPair(tmp_path / "forged.crt", tmp_path / "forged.key"), "bank.example")
    assert said == "permitted subtree violation"


def _handshake(authority: Path, pair: ServerPair, name: str) -> str | None:
    """Shake hands in memory; returns what the client found wrong."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pair.certificate, pair.key)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    there = server.wrap_bio(up, down, server_side=True)
    here = ssl.create_default_context(cafile=str(authority)).wrap_bio(down, up, server_hostname=name)
    for _ in range(4):
        for side in (here, there):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                return error.verify_message
    return None
