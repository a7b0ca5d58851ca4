"""A certificate authority of one desk: made for its tablets, good for its own names and for nothing else.

Its certificate is what a tablet is told to trust. Whoever copies its key can stand in for this desk and for no other
site of the web: the names it may vouch for are part of it (RFC 5280 4.2.1.10).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from edge import EdgeError
from sync.storage.files import close_to_others, write_durably
from sync.transport.issuing import BACKDATED, new_authority, new_leaf
from sync.transport.server_pair import ServerPair
from sync.transport.tls import host_name, host_names, key_pem, load_certificate, load_key, new_key, pem

FOLDER = "kiosk-tls"  # in a HOME; `tls` there is the node's own, for its sessions with central
LOCAL_NAMES = ("localhost", "127.0.0.1")
_CA_LIFE = timedelta(days=10 * 365)
_LEAF_LIFE = timedelta(days=825)  # Apple's devices take none that lasts longer, of an authority the user has added too


class TabletCaError(EdgeError):
    """An authority that cannot be made, or that may not vouch for a name; the text says which."""


@dataclass(frozen=True, slots=True)
class TabletCa:
    """The files of a HOME's authority and of the certificate it has issued."""

    folder: Path

    @classmethod
    def of(cls, home: Path) -> "TabletCa":
        return cls(home / FOLDER)

    @property
    def certificate(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def key(self) -> Path:
        return self.folder / "ca.key"

    @property
    def pair(self) -> ServerPair:
        return ServerPair(self.folder / "kiosk.crt", self.folder / "kiosk.key")

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the authority's certificate, as browsers and tablets show it: AB:CD:…"""
        return load_certificate(self.certificate).fingerprint(hashes.SHA256()).hex(":").upper()


def issue(home: Path, names: Sequence[str], now: datetime, *, replace: bool = False) -> TabletCa:
    """Issue a certificate for the kiosk of a HOME, by its authority, which is made where there is none.

    names: how tablets reach the kiosk; none: those of the certificate before. replace: make another authority, which
    every tablet must be told to trust anew. Raises TabletCaError or SyncError.
    """
    ca = TabletCa.of(home)
    if not names:
        if not ca.pair.certificate.is_file():
            raise TabletCaError("--name NAME is needed: the name or address by which tablets reach the kiosk")
        names = host_names(ca.pair.certificate)
    wanted = list(dict.fromkeys((*names, *LOCAL_NAMES)))
    alternatives = [host_name(name) for name in wanted]
    try:
        ca.folder.mkdir(mode=0o750, exist_ok=True)
        close_to_others(ca.folder)
    except OSError as error:
        raise TabletCaError(f"{ca.folder}: {error.strerror}") from error
    if replace or not ca.certificate.exists():
        _create(ca, alternatives, now)
    issuer = load_certificate(ca.certificate)
    if issuer.not_valid_after_utc < now:
        raise TabletCaError(f"{ca.certificate}: expired; --replace makes another, for every tablet to trust anew")
    for name, alternative in zip(wanted, alternatives, strict=True):
        if not _vouches(issuer, alternative):
            raise TabletCaError(
                f"--name {name}: {ca.certificate} vouches for {', '.join(_permitted(issuer))} only;"
                " --replace makes another authority, for every tablet to trust anew"
            )
    key = new_key()
    ends = min(now + _LEAF_LIFE - BACKDATED, issuer.not_valid_after_utc)
    certified = new_leaf(
        issuer, load_key(ca.key), "FirstVisit kiosk", key.public_key(), now, ends,
        ExtendedKeyUsageOID.SERVER_AUTH, [x509.SubjectAlternativeName(alternatives)],
    )  # fmt: skip
    ca.pair.certificate.unlink(missing_ok=True)  # cut off between the two, the next start finds no pair that misfits
    write_durably(ca.pair.key, key_pem(key), 0o600)
    write_durably(ca.pair.certificate, pem(certified))
    return ca


def _create(ca: TabletCa, alternatives: Sequence[x509.GeneralName], now: datetime) -> None:
    key = new_key()
    permitted = [
        x509.IPAddress(ip_network(one.value)) if isinstance(one, x509.IPAddress) else one for one in alternatives
    ]
    extensions = [
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.NameConstraints(permitted, None), True),
    ]
    certificate = new_authority(
        key, "FirstVisit", f"FirstVisit desk {alternatives[0].value}", now, _CA_LIFE, extensions
    )
    ca.certificate.unlink(missing_ok=True)
    write_durably(ca.key, key_pem(key), 0o600)
    write_durably(ca.certificate, pem(certificate))


def _vouches(authority: x509.Certificate, alternative: x509.GeneralName) -> bool:
    permitted = authority.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or []
    if isinstance(alternative, x509.IPAddress):
        wanted = ip_network(str(alternative.value))
        return any(isinstance(one, x509.IPAddress) and one.value == wanted for one in permitted)
    names = [one.value for one in permitted if isinstance(one, x509.DNSName)]
    return any(alternative.value == name or alternative.value.endswith(f".{name}") for name in names)


def _permitted(authority: x509.Certificate) -> list[str]:
    permitted = authority.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or []
    return [str(one.value) for one in permitted]
