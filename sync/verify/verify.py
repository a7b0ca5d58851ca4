"""The verifier: reads a HOME, a central store or an exported ledger, believes nothing, and says what holds."""

from pathlib import Path

from sync import SyncError
from sync.audit.chain_audit import Bad
from sync.audit.origin import given_key
from sync.certificate.bundle import is_bundle, read_bundle
from sync.certificate.certified import lines
from sync.certificate.compact import is_compact, read_compact
from sync.certificate.examine import examine
from sync.format.public_keys import CentralKeys, Enrolment
from sync.storage.settings import store_url
from sync.verify.central_store import verify_central
from sync.verify.ledgers import verify_export, verify_home
from sync.verify.verdict import Verdict, bad_verdict


def verify(path: Path, public_key: Path | None = None) -> Verdict:
    """Verify a HOME, a central directory, an exported ledger, a certificate or its code; write nothing there.

    public_key: a node.pub or central.pub obtained some other way; without one the origin stays unproven.
    Raises SyncError where the path or the key file is none of these.
    """
    given = given_key(public_key) if public_key else None
    if (path / "firstvisit.db").is_file():
        return verify_home(path, given)
    if store_url(path) is not None or (path / "central.db").is_file():
        return verify_central(path, given)
    if path.is_dir():
        raise SyncError(f"{path}: neither a HOME (firstvisit.db) nor a central store (central.db)")
    if not path.is_file():
        raise SyncError(f"{path}: nothing there")
    if is_bundle(path):
        return _bundle(path, given)
    if is_compact(path):
        return _compact(path, given)
    with path.open("rb") as file:
        if file.read(5) == b"%PDF-":
            raise SyncError(f"{path}: a PDF is no evidence: verify the certificate's .zip, or the text of its code")
    return verify_export(path, given)


def _bundle(path: Path, given: Enrolment | CentralKeys | None) -> Verdict:
    bundle, head = read_bundle(path), f"certificate {path}"
    try:
        certificate = examine(bundle, given)
    except Bad as bad:
        return bad_verdict("certificate", head, bad)
    said = (head, *lines(certificate))
    return Verdict(True, "certificate", said, None, None, certificate.records, void=certificate.void)


def _compact(path: Path, given: Enrolment | CentralKeys | None) -> Verdict:
    head = f"certificate's code {path}"
    compact = read_compact(path)
    try:
        said = compact.check(given)
    except Bad as bad:
        return bad_verdict("code", head, bad)
    return Verdict(True, "code", (head, *said), None, None, 1)
