"""Certificates as both ends use them: where they lie, what they admit, and the one line said where they do not."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sync import SyncError
from sync.storage.files import read_text

CENTRAL_NAME = "fv1:central"  # the common name of central's own certificate; no node's name holds a colon
RENEW_BEFORE = timedelta(days=60)  # a certificate is renewed once it has less than this left
FOLDER = "tls"  # in a HOME and in central's directory


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The certificates of one end, in one folder: the CA it trusts, its own certificate and that one's key."""

    folder: Path
    name: str = "client"

    @property
    def ca(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def certificate(self) -> Path:
        return self.folder / f"{self.name}.crt"

    @property
    def key(self) -> Path:
        return self.folder / f"{self.name}.key"

    def complete(self) -> bool:
        """Whether all three are there."""
        return all(path.is_file() for path in (self.ca, self.certificate, self.key))

    def context(self) -> ssl.SSLContext:
        """What a client's session is held to: TLS 1.2 or newer, this CA and no other; raises SyncError, one line."""
        context = pinned(self.ca)
        try:
            context.load_cert_chain(self.certificate, self.key)
        except FileNotFoundError as error:
            raise SyncError(f"{self.folder}: {self.certificate.name} or {self.key.name} is missing") from error
        except (OSError, ValueError) as error:
            raise SyncError(f"{self.certificate}: not usable with {self.key.name}: {error}") from error
        return context

    def left(self, now: datetime) -> timedelta:
        """How long the certificate still holds; negative once it has expired. Raises SyncError."""
        return load_certificate(self.certificate).not_valid_after_utc - now


def pinned(ca: Path) -> ssl.SSLContext:
    """A client's context that trusts one CA file and no other; raises SyncError naming the file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(ca)
    except FileNotFoundError as error:
        raise SyncError(f"{ca}: no CA certificate there") from error
    except (OSError, ValueError) as error:
        raise SyncError(f"{ca}: not a CA certificate: {error}") from error
    return context


def tls_files(home: Path) -> TlsFiles | None:
    """The certificates of a HOME or a central's directory, None where there are none."""
    files = TlsFiles(home / FOLDER)
    return files if files.ca.exists() else None


def load_certificate(path: Path) -> x509.Certificate:
    """Read a certificate file; raises SyncError naming it."""
    try:
        return x509.load_pem_x509_certificate(read_text(path, "certificate").encode())
    except ValueError as error:
        raise SyncError(f"{path}: not a certificate") from error


def explain(error: BaseException, files: TlsFiles | None) -> str:
    """Why a session did not come up, for a log's one line; files: what the other side was held to."""
    cause: BaseException | None = error
    while cause is not None:  # a library wraps what ssl says
        if isinstance(cause, ssl.SSLCertVerificationError):
            against = "" if files is None else f" (against {files.ca})"
            return f"certificate verify failed: {cause.verify_message}{against}"
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__


def own_fault(files: TlsFiles | None, now: datetime) -> str | None:
    """What is wrong with our own certificate, where the other side has refused it; None where nothing is seen."""
    if files is None:
        return None
    try:
        certificate = load_certificate(files.certificate)
    except SyncError as error:
        return str(error)
    if certificate.not_valid_after_utc < now:
        return f"{files.certificate}: expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
    if certificate.not_valid_before_utc > now:
        return f"{files.certificate}: valid from {certificate.not_valid_before_utc:%Y-%m-%d} on; is the clock right?"
    return None


# -- keys and requests -------------------------------------------------------------------------------------------------


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    """The text of a key file: PKCS #8, PEM, not encrypted; its file is its owner's alone."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read a key file; raises SyncError naming it."""
    try:
        key = serialization.load_pem_private_key(read_text(path, "key").encode(), password=None)
    except (ValueError, TypeError) as error:
        raise SyncError(f"{path}: not a key") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SyncError(f"{path}: not a key on an elliptic curve")
    return key


def pem(certificate: x509.Certificate | x509.CertificateSigningRequest | x509.CertificateRevocationList) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def request(name: str, key: ec.EllipticCurvePrivateKey) -> str:
    """A certificate signing request, PEM, for a common name."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return pem(x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256()))


def read_request(text: str) -> tuple[str, ec.EllipticCurvePublicKey]:
    """The common name and the key of a request, its own signature checked; raises SyncError.

    Only P-256 is taken, and of the request nothing but these two: what else it asks for is not heard.
    """
    try:
        asked = x509.load_pem_x509_csr(text.encode())
        names = asked.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        key = asked.public_key()
        sound = asked.is_signature_valid
    except Exception as error:  # a parser of foreign bytes; whatever it raises, they are no request
        raise SyncError("not a certificate signing request") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise SyncError("certificate signing request: the key is not on P-256")
    if not sound:
        raise SyncError("certificate signing request: not signed by the key it names")
    if len(names) != 1 or not isinstance(names[0].value, str):
        raise SyncError("certificate signing request: exactly one common name is wanted")
    return names[0].value, key


def host_name(name: str) -> x509.GeneralName:
    """A host's name or address as certificates hold it; raises SyncError for what is neither."""
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        pass  # then it is a host's name
    labels = name.split(".")
    if len(name) > 253 or not all(_label(label) for label in labels):
        raise SyncError(f"--name {name!r}: neither an address nor a host's name")
    return x509.DNSName(name.lower())


def host_names(path: Path) -> tuple[str, ...]:
    """The names and addresses a server's certificate stands for; raises SyncError."""
    certificate = load_certificate(path)
    try:
        held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise SyncError(f"{path}: names no host") from error
    return (*map(str, held.get_values_for_type(x509.IPAddress)), *held.get_values_for_type(x509.DNSName))


def key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """What the key of a certificate is for: to sign others, or to prove who holds it."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _label(label: str) -> bool:
    return 0 < len(label) < 64 and label.isascii() and label.replace("-", "a").isalnum() and label.strip("-") == label


def common_name(certificate: x509.Certificate) -> str:
    """The common name a certificate was issued for; empty where it has none."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def utc_now() -> datetime:
    return datetime.now(UTC)
