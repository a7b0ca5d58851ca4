"""What a node sends to be let in, or to have its certificate renewed, and the proof that it holds the keys named."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sync import SyncError
from sync.format import canonical
from sync.format.canonical import Fields, NotCanonical
from sync.format.public_keys import Enrolment
from sync.format.records import BadRecord, Record, Role, parse, valid_name
from sync.format.signing import PublicKey, Signer, es256_signature, tagged
from sync.format.wire import SignedBody
from sync.transport.tls import read_request

VERSION = 1
MAX_BYTES = 64 * 1024  # a node.pub has some 500 bytes, a request for a certificate some 400, a rotation some 1,100


class BadAsk(SyncError):
    """A question of a node that is malformed or proves too little; the text says which."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A node asks, with an invitation's token, to be enrolled and to get a certificate.

    node_pub: the text of its node.pub. csr: PEM. Three keys sign, in domain `possession`, the canonical
    {v, token_sha256, node_pub_sha256, csr_sha256, root}: the node's, the desk's and the certificate's own.
    rotations: the node's `key.rotated` since that node.pub, in chain order; its two keys of now follow from them.
    """

    token: bytes = field(repr=False)
    node_pub: str
    csr: str
    node: bytes
    desk: bytes
    tls: bytes
    rotations: tuple[SignedBody, ...] = ()

    @classmethod
    def make(
        cls,
        token: bytes,
        node_pub: str,
        csr: str,
        root: PublicKey,
        node: Signer,
        desk: Signer,
        tls: ec.EllipticCurvePrivateKey,
        rotations: Sequence[SignedBody] = (),
    ) -> "Ask":
        message = _enrolment_message(token, node_pub, csr, root)
        proofs = node.sign("possession", message), desk.sign("possession", message), _sign_tls(tls, message)
        return cls(token, node_pub, csr, *proofs, tuple(rotations))

    def encode(self) -> bytes:
        fields: Fields = {
            "v": VERSION,
            "token": self.token.hex(),
            "node_pub": self.node_pub,
            "csr": self.csr,
            "proofs": {"node": self.node.hex(), "desk": self.desk.hex(), "tls": self.tls.hex()},
        }
        if self.rotations:
            fields["rotations"] = [
                {"body": one.body.decode(), "signature": one.signature.hex()} for one in self.rotations
            ]
        return canonical.encode(fields)

    @classmethod
    def parse(cls, data: bytes) -> "Ask":
        """Read what `encode` wrote; nothing in it is judged yet. Raises BadAsk."""
        fields = _decode(data)
        proofs = fields.get("proofs")
        if not isinstance(proofs, dict):
            raise BadAsk("proofs: missing")
        return cls(
            _hex(fields, "token", 32),
            _text(fields, "node_pub"),
            _text(fields, "csr"),
            _hex(proofs, "node", 64),
            _hex(proofs, "desk", 64),
            _hex(proofs, "tls", 64),
            _rotations(fields),
        )

    def enrolment(self) -> Enrolment:
        """The node's enrolment, as it claims it; raises BadAsk."""
        try:
            return Enrolment.parse_text(self.node_pub)
        except SyncError as error:
            raise BadAsk(str(error)) from error

    def rotated(self) -> list[Record]:
        """The rotations as records, none of them judged yet; raises BadAsk where one is none of this node's."""
        node_id = self.enrolment().node_id
        try:
            records = [parse(one.body, one.signature) for one in self.rotations]
        except BadRecord as error:
            raise BadAsk(f"rotations: {error}") from error
        if any((record.node_id, record.kind) != (node_id, "key.rotated") for record in records):
            raise BadAsk("rotations: not this node's changes of a key")
        return records

    def proven(self, root: PublicKey, keys: Mapping[Role, PublicKey]) -> ec.EllipticCurvePublicKey:
        """The certificate's key, the possession of every key shown to us; raises BadAsk.

        root: our own root key, so that nobody hands on to us what a node said to another central. keys: those that
        must be shown, the enrolment's own or what they were rotated to.
        """
        enrolment = self.enrolment()
        try:
            name, key = read_request(self.csr)
        except SyncError as error:
            raise BadAsk(str(error)) from error
        if name != enrolment.node_id:
            raise BadAsk(f"the certificate is asked for {name[:64]!r}, the node is {enrolment.node_id}")
        message = _enrolment_message(self.token, self.node_pub, self.csr, root)
        for whose, public, signature in (
            ("node", keys["node"], self.node),
            ("desk", keys["desk"], self.desk),
            ("certificate", tls_public(key), self.tls),
        ):
            if not public.verify("possession", message, signature):
                raise BadAsk(f"no proof that the sender holds the {whose} key")
        return key


@dataclass(frozen=True, slots=True)
class Renewal:
    """A node asks for its certificate anew; its node key signs, in domain `possession`, {v, node, csr_sha256, root}."""

    node_id: str
    csr: str
    signature: bytes

    @classmethod
    def make(cls, node_id: str, csr: str, root: PublicKey, node: Signer) -> "Renewal":
        return cls(node_id, csr, node.sign("possession", _renewal_message(node_id, csr, root)))

    def encode(self) -> bytes:
        return canonical.encode(
            {"v": VERSION, "node": self.node_id, "csr": self.csr, "signature": self.signature.hex()}
        )

    @classmethod
    def parse(cls, data: bytes) -> "Renewal":
        """Read what `encode` wrote; the signature is not judged yet. Raises BadAsk."""
        fields = _decode(data)
        node_id = _text(fields, "node")
        if not valid_name(node_id):
            raise BadAsk("node: not a name")
        return cls(node_id, _text(fields, "csr"), _hex(fields, "signature", 64))

    def proven(self, root: PublicKey, node: PublicKey) -> ec.EllipticCurvePublicKey:
        """The certificate's key, asked for by the holder of the node key; raises BadAsk."""
        try:
            name, key = read_request(self.csr)
        except SyncError as error:
            raise BadAsk(str(error)) from error
        if name != self.node_id:
            raise BadAsk(f"the certificate is asked for {name[:64]!r}, the node is {self.node_id}")
        if not node.verify("possession", _renewal_message(self.node_id, self.csr, root), self.signature):
            raise BadAsk("no proof that the sender holds the node key")
        return key


def tls_public(key: ec.EllipticCurvePublicKey) -> PublicKey:
    """A certificate's key as a key that verifies our signatures."""
    return PublicKey(key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint), "es256")


def _sign_tls(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    return es256_signature(key.sign(tagged("possession", message), ec.ECDSA(SHA256())))


def _enrolment_message(token: bytes, node_pub: str, csr: str, root: PublicKey) -> bytes:
    return canonical.encode(
        {
            "v": VERSION,
            "token_sha256": hashlib.sha256(token).hexdigest(),
            "node_pub_sha256": hashlib.sha256(node_pub.encode()).hexdigest(),
            "csr_sha256": hashlib.sha256(csr.encode()).hexdigest(),
            "root": str(root),
        }
    )


def _renewal_message(node_id: str, csr: str, root: PublicKey) -> bytes:
    digest = hashlib.sha256(csr.encode()).hexdigest()
    return canonical.encode({"v": VERSION, "node": node_id, "csr_sha256": digest, "root": str(root)})


def _decode(data: bytes) -> Fields:
    if len(data) > MAX_BYTES:
        raise BadAsk(f"{len(data)} bytes, at most {MAX_BYTES} are read")
    try:
        fields = canonical.decode(data)
    except NotCanonical as error:
        raise BadAsk(str(error)) from error
    if fields.get("v") != VERSION:
        raise BadAsk(f"version {str(fields.get('v'))[:20]}, this one reads {VERSION}")
    return fields


def _rotations(fields: Fields) -> tuple[SignedBody, ...]:
    listed = fields.get("rotations", [])
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise BadAsk("rotations: not a list of records")
    return tuple(SignedBody(_text(one, "body").encode(), _hex(one, "signature", 64)) for one in listed)


def _text(fields: Fields, name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise BadAsk(f"{name}: missing or not a text")
    return value


def _hex(fields: Fields, name: str, size: int) -> bytes:
    text = _text(fields, name)
    try:
        value = bytes.fromhex(text)
    except ValueError as error:
        raise BadAsk(f"{name}: not hexadecimal") from error
    if len(value) != size or value.hex() != text:
        raise BadAsk(f"{name}: not {size * 2} lower-case hex digits")
    return value
