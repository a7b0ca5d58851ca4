"""A visit's certificate: gathered from a HOME, verified as a stranger would, drawn, and written down as handed out."""

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Literal, TypeAlias

from edge import EdgeError
from edge.clock import wall_us
from edge.home import Home
from edge.papers.certificate_pdf import draw_certificate
from sync.audit.chain_audit import Bad
from sync.certificate.bundle import zipped
from sync.certificate.certified import REFUSALS, Certificate
from sync.certificate.examine import examine
from sync.certificate.found import bundle_of
from sync.node.ledger import Ledger
from sync.web.times import Times

Form: TypeAlias = Literal["zip", "pdf"]

README = """\
访客到访证书 · FirstVisit certificate of a visit
编号 visit: {visit}

bundle.json            证据：记录、签名、中心确认、公钥。只有它算数。
                       The evidence: records, signatures, central's acks, public keys. Only this counts.
certificate.pdf        同一内容的排版。 The same, set in type.
verify_standalone.py   独立验证程序（Python 3.11 与 PyNaCl）。 A verifier of its own (Python 3.11 and PyNaCl).

验证 Verify it:
  1. 向设备所属方与中心分别索取 node.pub 与 central.pub，当面核对指纹。
     Obtain node.pub and central.pub from somebody you trust, and compare the fingerprints in person.
       node.pub      {node}
       central.pub   {root}
  2. firstvisit verify THIS.zip --public-key node.pub
     firstvisit verify THIS.zip --public-key central.pub
     没有 firstvisit 时（两个公钥各一次）。 Without firstvisit, once with each of the two files:
     python3 -m pip install pynacl
     python3 verify_standalone.py THIS.zip --public-key node.pub
  3. 以输出为准。 What it prints counts.

本证书不能证明的内容见 certificate.pdf 第 2 页。 What it does not prove stands on page 2 of certificate.pdf.
"""


class NoCertificate(EdgeError):
    """A visit that gets no certificate; the text says why, and what can be had instead."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate as handed out; data: of the zip or the PDF, sha256: over it, in hex."""

    certificate: Certificate
    data: bytes
    sha256: str


def issue(
    home: Home,
    visit: str,
    form: Form,
    desk: Ledger,
    *,
    bundle_name: str | None = None,
    account_id: str | None = None,
) -> Issued:
    """Make the certificate of a visit and record that it was handed out.

    desk: the ledger, opened under the desk key. bundle_name: of the zip, as the paper names it. account_id: whoever
    asked for it at the desk. Raises NoCertificate where the visit gets none or its records do not verify, PaperError
    where this machine has no font, SyncError where there is no such visit.
    """
    times = Times(home.settings().site.timezone)
    try:
        certificate = examine(bundle_of(home.path, visit))
    except Bad as bad:
        raise NoCertificate(f"visit {visit}: its evidence does not verify: {bad}; run firstvisit verify") from bad
    if refusal := certificate.refusal():
        raise NoCertificate(f"visit {visit}: no certificate: {REFUSALS[refusal]}")
    issued_us = wall_us()
    pdf = draw_certificate(certificate, times, issued_us, version("firstvisit"), bundle_name or f"{visit}.zip")
    data = pdf if form == "pdf" else _zip(certificate, pdf)
    sha256 = hashlib.sha256(data).hexdigest()
    asked = {"account": account_id} if account_id else {}
    desk.append("export.made", {"what": "certificate", "visit": visit, "sha256": sha256} | asked)
    return Issued(certificate, data, sha256)


def issue_file(home: Home, visit: str, out: Path) -> Issued:
    """Issue to a new file, by its name a .zip or a .pdf; durable before it has its name."""
    form: Form
    match out.suffix.lower():
        case ".zip":
            form = "zip"
        case ".pdf":
            form = "pdf"
        case _:
            raise NoCertificate(f"{out}: a certificate is a .zip or a .pdf")
    if out.exists():
        raise NoCertificate(f"{out}: already there")
    part = out.with_name(f"{out.name}.part")
    desk = home.open_ledger("desk")
    try:
        with part.open("xb") as file:  # a folder that cannot be written to is found out before anything is recorded
            issued = issue(home, visit, form, desk, bundle_name=out.name if form == "zip" else None)
            file.write(issued.data)
            file.flush()
            os.fsync(file.fileno())
        part.rename(out)
    except FileExistsError as error:
        raise NoCertificate(f"{part}: already there") from error
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise NoCertificate(f"{out}: {error.strerror}") from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    finally:
        desk.close()
    return issued


def _zip(certificate: Certificate, pdf: bytes) -> bytes:
    readme = README.format(
        visit=certificate.visit, node=certificate.enrolment.node.fingerprint, root=certificate.central.root.fingerprint
    )
    others = {
        "certificate.pdf": pdf,
        "README.txt": readme.encode(),
        "verify_standalone.py": files("sync").joinpath("verify_standalone.py").read_bytes(),
    }
    return zipped(certificate.bundle.encode(), others)
