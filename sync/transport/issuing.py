"""How our authorities make certificates: central's for its sessions, a desk's for its tablets."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sync.transport.tls import key_usage

BACKDATED = timedelta(days=1)  # for clocks that are behind


def new_authority(
    key: ec.EllipticCurvePrivateKey,
    organisation: str,
    name: str,
    now: datetime,
    life: timedelta,
    extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
) -> x509.Certificate:
    """Make an authority's own certificate, which signs leaves alone; extensions: each with whether it is critical."""
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )
    builder = _begun(subject, subject, key.public_key(), now, now + life, signs=True)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(key, hashes.SHA256())


def new_leaf(
    issuer: x509.Certificate,
    signer: ec.EllipticCurvePrivateKey,
    name: str,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    ends: datetime,
    usage: x509.ObjectIdentifier,
    extensions: Iterable[x509.ExtensionType] = (),
) -> x509.Certificate:
    """Certify a key for one use until `ends`; signer: the issuer's key."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        _begun(subject, issuer.subject, key, now, ends, signs=False)
        .add_extension(x509.ExtendedKeyUsage([usage]), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, False)
    return builder.sign(signer, hashes.SHA256())


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, ends: datetime, *, signs: bool
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=signs, path_length=0 if signs else None), True)
        .add_extension(key_usage(signs_certificates=signs), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
    )
