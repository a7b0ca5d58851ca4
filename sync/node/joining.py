"""A node joins by invitation: it knows central by the invitation's hashes, proves its keys, and waits to be let in.

What it holds before it is let in lies in HOME/tls/joining.*, so that a join that was cut off goes on where it was.
"""

import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from sync import SyncError
from sync.format import canonical
from sync.format.canonical import Fields, NotCanonical, hex_bytes
from sync.format.messages import BadMessage, Statement
from sync.format.public_keys import CentralKeys, Enrolment
from sync.format.records import Record
from sync.format.signing import Signer
from sync.format.wire import SignedBody
from sync.node.trust import join_text
from sync.storage.files import read_text, write_durably
from sync.storage.key_files import CENTRAL_FILE, STATEMENTS_FILE, read_central_file, statements_text
from sync.transport.https_link import CONNECT_S
from sync.transport.invitation import Invitation
from sync.transport.possession import Ask
from sync.transport.tls import FOLDER, TlsFiles, common_name, explain, key_pem, load_key, new_key, pinned, request

State: TypeAlias = Literal["waiting", "confirmed", "rejected"]
ASK_EVERY_S = 2.0
SERVER_FILE = "server"  # in HOME/tls: the API's address, for renewals
_ANSWER_S = 15.0
_MAX_ANSWER_BYTES = 64 * 1024


class JoinRefused(SyncError):
    """Central will not let this node in; the text says why."""


@dataclass(frozen=True, slots=True)
class Introduction:
    """Who central is, held to an invitation: ca is PEM, central_pub the text of its file."""

    ca: str
    central_pub: str
    keys: CentralKeys


class Joining:
    """One attempt to join; every step may be done again."""

    def __init__(
        self, home: Path, invitation: Invitation, node: Signer, desk: Signer, rotations: Iterable[Record] = ()
    ) -> None:
        """home: made by `init`. rotations: the chain's, in its order. Raises SyncError where it belongs to another
        central already, or is no HOME."""
        self._home, self._invitation, self._node, self._desk = home, invitation, node, desk
        self._node_pub = read_text(home / "node.pub", "node key file")
        try:
            self.enrolment = Enrolment.parse_text(self._node_pub)
        except BadMessage as error:
            raise SyncError(f"{home / 'node.pub'}: {error}") from error
        self._rotations = [
            SignedBody(record.body, record.signature) for record in rotations if record.epoch >= self.enrolment.epoch
        ]
        pinned_file = home / CENTRAL_FILE
        if pinned_file.exists() and read_central_file(pinned_file).root.key_id != invitation.root:
            raise SyncError(f"{home}: has joined another central than the invitation's")
        self._folder = home / FOLDER
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise SyncError(f"{self._folder}: {error.strerror}") from error
        self._key = self._own_key()

    def ask(self) -> State:
        """Learn who central is, and ask to be let in; the same question again does no harm.

        Raises SyncError (central is not who the invitation says, or out of reach) or JoinRefused.
        """
        self.central = self._meet()
        csr = self._own_request()
        made = Ask.make(
            self._invitation.token,
            self._node_pub,
            csr,
            self.central.keys.root,
            self._node,
            self._desk,
            self._key,
            self._rotations,
        )
        return self._state(self._call("POST", "/v1/enrol", made.encode()))

    def state(self) -> State:
        """Whether somebody at central has let this node in; then its certificate is at hand."""
        return self._state(self._call("GET", f"/v1/enrol/{self._invitation.token_sha256.hex()}"))

    def wait(self, tell: Callable[[str], None]) -> None:
        """Ask again until let in; `tell` hears of outages. Raises JoinRefused where turned away."""
        trouble = ""
        while True:
            try:
                match self.state():
                    case "confirmed":
                        return
                    case "rejected":
                        self.forget()
                        raise JoinRefused("central has turned this node away")
                trouble = ""
            except JoinRefused:
                raise
            except SyncError as error:
                if str(error) != trouble:
                    trouble = str(error)
                    tell(trouble)
            time.sleep(ASK_EVERY_S)

    def finish(self) -> CentralKeys:
        """Write the certificates and pin central: from here on the node belongs to it. Raises SyncError."""
        files = TlsFiles(self._folder)
        hold_certificate(self._certificate, self.enrolment.node_id, self._key.public_key(), self.central.ca)
        write_durably(files.ca, self.central.ca)
        write_durably(files.key, key_pem(self._key), 0o600)
        write_durably(files.certificate, self._certificate)
        write_durably(self._folder / SERVER_FILE, self._invitation.server + "\n")
        write_durably(self._home / STATEMENTS_FILE, statements_text(self._statements))
        return join_text(self._home, self.central.central_pub, self._invitation.server)

    def forget(self) -> None:
        """Remove what was kept for going on: the join is done, or is to begin anew."""
        for path in self._folder.glob("joining*"):
            path.unlink(missing_ok=True)

    # -- inside ------------------------------------------------------------------------------------------------

    @property
    def _key_file(self) -> Path:
        return self._folder / "joining.key"

    @property
    def _request_file(self) -> Path:
        return self._folder / f"joining-{self._invitation.token_sha256.hex()[:16]}.csr"

    def _own_key(self) -> ec.EllipticCurvePrivateKey:
        """The key the certificate will be for: kept from an attempt before, or new."""
        if self._key_file.exists():
            return load_key(self._key_file)
        key = new_key()
        write_durably(self._key_file, key_pem(key), 0o600)
        return key

    def _own_request(self) -> str:
        """The certificate request of this invitation: the same bytes at every attempt, for a token is spent on them."""
        if not self._request_file.exists():
            write_durably(self._request_file, request(self.enrolment.node_id, self._key), 0o600)
        return read_text(self._request_file, "certificate request")

    def _meet(self) -> Introduction:
        """Ask who is there, believing nothing but what the invitation's hashes bear out."""
        stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        stranger.check_hostname = False
        stranger.verify_mode = ssl.CERT_NONE  # the token is not said here, and what comes is held to its hash
        fields = self._request(stranger, "GET", "/v1/ca", b"")
        ca, central_pub = fields.get("ca"), fields.get("central")
        if not isinstance(ca, str) or not isinstance(central_pub, str):
            raise SyncError(f"{self._invitation.server}: not a FirstVisit central")
        try:
            certificate = x509.load_pem_x509_certificate(ca.encode())
            keys = CentralKeys.parse_text(central_pub)
        except (ValueError, BadMessage) as error:
            raise SyncError(f"{self._invitation.server}: {error}") from error
        if certificate.fingerprint(hashes.SHA256()) != self._invitation.ca_sha256:
            raise SyncError(f"{self._invitation.server}: its authority is not the invitation's: somebody else answers")
        if keys.root.key_id != self._invitation.root:
            raise SyncError(f"{self._invitation.server}: its root key is not the invitation's: somebody else answers")
        write_durably(self._folder / "joining.ca", ca)
        return Introduction(ca, central_pub, keys)

    def _state(self, fields: Fields) -> State:
        state, certificate = fields.get("state"), fields.get("certificate")
        if state == "confirmed" and isinstance(certificate, str):
            self._certificate = certificate
            self._statements = self._believed(fields.get("statements", []))
            return "confirmed"
        if state in ("waiting", "rejected"):
            return "waiting" if state == "waiting" else "rejected"
        raise SyncError(f"{self._invitation.server}: an answer that is not understood")

    def _believed(self, told: object) -> list[bytes]:
        """Those of central's statements that it signed with the key it goes by now; a central before 0.3 tells none."""
        believed: list[bytes] = []
        for text in told if isinstance(told, list) else ():
            try:
                data = hex_bytes(text)
                Statement.parse(data, self.central.keys.keys["notice"])
            except SyncError:
                continue  # a certificate without one proves no less than before
            believed.append(data)
        return believed

    def _call(self, method: str, path: str, body: bytes = b"") -> Fields:
        return self._request(pinned(self._folder / "joining.ca"), method, path, body)

    def _request(self, context: ssl.SSLContext, method: str, path: str, body: bytes) -> Fields:
        return call(self._invitation.server, context, method, path, body)


def hold_certificate(text: str, node_id: str, key: ec.EllipticCurvePublicKey, ca: str) -> None:
    """Raise SyncError unless a certificate is this node's, for this key, and issued by this authority."""
    try:
        certificate = x509.load_pem_x509_certificate(text.encode())
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(ca.encode()))
    except Exception as error:  # cryptography raises several kinds; each means no
        raise SyncError("central's certificate is not issued by its authority") from error
    if certificate.public_key() != key or common_name(certificate) != node_id:
        raise SyncError("central's certificate is not for this node and its key")


def call(server: str, context: ssl.SSLContext, method: str, path: str, body: bytes) -> Fields:
    """Ask the API; raises SyncError where it is out of reach, JoinRefused where it refuses."""
    timeout = httpx.Timeout(_ANSWER_S, connect=CONNECT_S)
    try:
        with (
            httpx.Client(verify=context, timeout=timeout, trust_env=False) as client,
            client.stream(method, server + path, content=body) as response,
        ):
            data = b""
            for part in response.iter_bytes():
                data += part
                if len(data) > _MAX_ANSWER_BYTES:
                    raise SyncError(f"{server}: an answer of more than {_MAX_ANSWER_BYTES} bytes")
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise SyncError(f"{server}: {explain(error, None)}") from error
    try:
        fields = canonical.decode(data)
    except NotCanonical as error:
        raise SyncError(f"{server}: not a FirstVisit central (HTTP {response.status_code})") from error
    if response.status_code in (200, 202):
        return fields
    text = f"{fields.get('text') or fields.get('error')}"
    if response.status_code in (400, 403):
        raise JoinRefused(f"{server}: {text}")
    raise SyncError(f"{server}: {response.status_code}: {text}")
