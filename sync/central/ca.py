"""Central's own certificate authority: who may open a session with its broker and its API.

A certificate admits to the transport and proves nothing: records, acks and notices are signed by keys of their own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from sync import SyncError
from sync.central.access import Access, Kind
from sync.format.records import valid_name
from sync.storage.files import write_durably
from sync.transport.issuing import BACKDATED, new_authority, new_leaf
from sync.transport.tls import (
    CENTRAL_NAME,
    FOLDER,
    RENEW_BEFORE,
    TlsFiles,
    host_name,
    host_names,
    key_pem,
    load_certificate,
    load_key,
    new_key,
    pem,
)

BROKER_NAME = "fv1:broker"
LOCAL_NAMES = ("127.0.0.1", "localhost")
_CA_LIFE = timedelta(days=30 * 365)
_CLIENT_LIFE = timedelta(days=180)  # renewed with RENEW_BEFORE left: a node may be away for four months unnoticed
_SERVER_LIFE = timedelta(days=5 * 365)  # nobody but this central's nodes trusts it, and a broker restarts rarely
_CRL_LIFE = _CA_LIFE  # OpenSSL refuses everybody once a list has expired; a new one is written at every revocation


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate as its holder gets it."""

    certificate: x509.Certificate

    @property
    def text(self) -> str:
        return pem(self.certificate)


class Authority:
    """The authority of one central: DIR/keys/ca.key, DIR/tls and the book of what was issued, DIR/ca.db."""

    def __init__(self, directory: Path) -> None:
        """Open the authority in DIR; raises SyncError naming the file at fault."""
        self._directory = directory
        self._certificate = load_certificate(directory / FOLDER / "ca.crt")
        self._key = load_key(_key_path(directory))
        if self._key.public_key() != self._certificate.public_key():
            raise SyncError(f"{_key_path(directory)}: not the key of {directory / FOLDER / 'ca.crt'}")

    @property
    def certificate(self) -> x509.Certificate:
        return self._certificate

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the authority's certificate (DER), hex: what an invitation names."""
        return self._certificate.fingerprint(hashes.SHA256()).hex()

    def issue_client(self, name: str, key: ec.EllipticCurvePublicKey, now: datetime, kind: Kind = "node") -> Issued:
        """Issue the certificate of a node, or of central itself; raises SyncError for a name that is neither."""
        if not (valid_name(name) if kind == "node" else name == CENTRAL_NAME):
            raise SyncError(f"certificate: {name!r} is not the name of a {kind}")
        return self._issue(name, key, _CLIENT_LIFE, ExtendedKeyUsageOID.CLIENT_AUTH, (), now, kind)

    def issue_server(
        self, names: Sequence[str], key: ec.EllipticCurvePublicKey, now: datetime, kind: Kind = "server"
    ) -> Issued:
        """Issue the certificate of a server under these host names and addresses; raises SyncError for a bad name."""
        alternatives = [host_name(name) for name in dict.fromkeys(names)]
        extension = x509.SubjectAlternativeName(alternatives)
        # not a name that anybody may be: a broker takes the common name for who somebody is
        return self._issue(f"fv1:{kind}", key, _SERVER_LIFE, ExtendedKeyUsageOID.SERVER_AUTH, (extension,), now, kind)

    def revocation_list(self, now: datetime) -> str:
        """The list of what is revoked, PEM, for a broker."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(now - BACKDATED)
            .next_update(now + _CRL_LIFE)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False)
            .add_extension(x509.CRLNumber(int(now.timestamp())), False)
        )
        with Access(self._directory) as access:
            for serial, revoked_us in access.revoked():
                revoked = x509.RevokedCertificateBuilder().serial_number(serial)
                builder = builder.add_revoked_certificate(
                    revoked.revocation_date(datetime.fromtimestamp(revoked_us / 1e6, UTC)).build()
                )
        return pem(builder.sign(self._key, hashes.SHA256()))

    def write_revocation_list(self, path: Path, now: datetime) -> None:
        """Write the list for a broker; nobody revokes between its making and its writing, so no list undoes another."""
        with Access(self._directory) as access, access.alone():
            write_durably(path, self.revocation_list(now))

    def revoke(self, name: str, now: datetime) -> int:
        """Revoke every certificate of a name and write DIR/tls/crl.pem anew; returns how many there were."""
        with Access(self._directory) as access:
            count = access.revoke(name, _us(now))
        self.write_revocation_list(self._directory / FOLDER / "crl.pem", now)
        return count

    # -- inside ------------------------------------------------------------------------------------------------

    def _issue(
        self,
        name: str,
        key: ec.EllipticCurvePublicKey,
        life: timedelta,
        usage: x509.ObjectIdentifier,
        extensions: Iterable[x509.ExtensionType],
        now: datetime,
        kind: Kind,
    ) -> Issued:
        certificate = new_leaf(self._certificate, self._key, name, key, now, now + life, usage, extensions)
        with Access(self._directory) as access:
            ends_us = _us(certificate.not_valid_after_utc)
            access.issued(certificate.serial_number, name, kind, ends_us, _us(now), pem(certificate))
        return Issued(certificate)


def open_authority(directory: Path, central_id: str, now: datetime, names: Sequence[str] = ()) -> Authority:
    """Open the authority of a central, making what is not there yet: an older central has none.

    names: host names and addresses under which its server is reached, beside LOCAL_NAMES; for a new one. Raises
    SyncError.
    """
    folder = directory / FOLDER
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise SyncError(f"{folder}: {error.strerror}") from error
    Access.ensure(directory)
    if not (folder / "ca.crt").exists():
        _create(directory, central_id, now)
    authority = Authority(directory)
    if not TlsFiles(folder).complete() or not TlsFiles(folder, "server").complete():
        renew(authority, directory, now, (*LOCAL_NAMES, *names))
    return authority


def check_names(names: Iterable[str]) -> None:
    """Raise SyncError for a name that no server can be reached by."""
    for name in names:
        host_name(name)


def renew(authority: Authority, directory: Path, now: datetime, names: Sequence[str] = ()) -> None:
    """Issue central's own two certificates anew, under new keys; the server's keeps its names where none are given."""
    folder = directory / FOLDER
    server = TlsFiles(folder, "server")
    held = server_names(server) if server.certificate.exists() else LOCAL_NAMES
    key = new_key()
    write_pair(server, key, authority.issue_server(tuple(names) or held, key.public_key(), now).text)
    key = new_key()
    own = authority.issue_client(CENTRAL_NAME, key.public_key(), now, "central")
    write_pair(TlsFiles(folder), key, own.text)
    authority.write_revocation_list(folder / "crl.pem", now)


def renew_if_due(authority: Authority, directory: Path, now: datetime) -> bool:
    """Renew central's own certificates where one of them has less than RENEW_BEFORE left; returns whether it was."""
    folder = directory / FOLDER
    if all(TlsFiles(folder, name).left(now) > RENEW_BEFORE for name in ("client", "server")):
        return False
    renew(authority, directory, now)
    return True


def server_names(files: TlsFiles) -> tuple[str, ...]:
    """The names and addresses a server's certificate stands for; raises SyncError."""
    return host_names(files.certificate)


def write_pair(files: TlsFiles, key: ec.EllipticCurvePrivateKey, certificate: str) -> None:
    """Write a certificate and its key; cut off between the two, the next start finds a pair that does not fit."""
    files.certificate.unlink(missing_ok=True)  # then it finds none, and makes both anew
    write_durably(files.key, key_pem(key), 0o600)
    write_durably(files.certificate, certificate)


def _create(directory: Path, central_id: str, now: datetime) -> None:
    key = load_key(_key_path(directory)) if _key_path(directory).exists() else new_key()
    certificate = new_authority(key, central_id, "FirstVisit CA", now, _CA_LIFE)
    try:
        _key_path(directory).parent.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise SyncError(f"{_key_path(directory).parent}: {error.strerror}") from error
    write_durably(_key_path(directory), key_pem(key), 0o600)
    write_durably(directory / FOLDER / "ca.crt", pem(certificate))


def _key_path(directory: Path) -> Path:
    return directory / "keys" / "ca.key"


def _us(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6)
