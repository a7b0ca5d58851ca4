"""The public keys of a central and of a node, each a text signed by a key that it names: central.pub and node.pub."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from sync import SyncError
from sync.format import canonical
from sync.format.canonical import Fields, NotCanonical
from sync.format.messages import VERSION, BadMessage, text_field
from sync.format.records import Role, valid_name
from sync.format.sealing import SealingKey
from sync.format.signing import Domain, PublicKey, Signer

CentralRole: TypeAlias = Literal["ack", "notice", "checkpoint", "code"]


@dataclass(frozen=True, slots=True)
class CentralKeys:
    """Central's public keys by role, under its root key: the text of `central.pub`, the body of a `keys` notice.

    seal: what phones are sealed to; None of a central that has none, to which no phone is sent.
    """

    central_id: str
    root: PublicKey
    keys: Mapping[CentralRole, PublicKey]
    seal: SealingKey | None = None

    def fields(self) -> Fields:
        fields: Fields = {
            "v": VERSION,
            "central": self.central_id,
            "root": str(self.root),
            "keys": {role: str(key) for role, key in self.keys.items()},
        }
        if self.seal is not None:  # beside `keys`, whose roles every version before has counted
            fields["seal"] = str(self.seal)
        return fields

    def text(self, root: Signer) -> str:
        return _signed_text("keys", self.fields(), root)

    @classmethod
    def of(cls, fields: Fields) -> "CentralKeys":
        """Read `fields()` back; raises BadMessage."""
        listed = fields.get("keys")
        if not isinstance(listed, dict) or set(listed) != set(get_args(CentralRole)):
            raise BadMessage(f"central keys: expected exactly the roles {', '.join(get_args(CentralRole))}")
        central_id = text_field(fields, "central")
        if not valid_name(central_id):
            raise BadMessage(f"central keys: central {central_id[:64]!r} is not a name")
        try:
            keys = {role: PublicKey.parse(str(listed[role])) for role in get_args(CentralRole)}
            seal = SealingKey.parse(text_field(fields, "seal")) if "seal" in fields else None
            return cls(central_id, PublicKey.parse(text_field(fields, "root")), keys, seal)
        except BadMessage:
            raise
        except SyncError as error:
            raise BadMessage(f"central keys: {error}") from error

    @classmethod
    def parse_text(cls, text: str) -> "CentralKeys":
        """Read `central.pub`, held to the root key that it names; raises BadMessage."""
        fields, body, signature = _split_text(text, "central key file")
        keys = cls.of(fields)
        if not keys.root.verify("keys", body, signature):
            raise BadMessage("central key file: not signed by the root key it names")
        return keys


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A node's public keys and where it stands, signed by its node key: the text of `node.pub`.

    epoch: the keys count from its first record on; above 1 where keys were lost or revoked and made anew.
    """

    node_id: str
    site_id: str
    node: PublicKey
    desk: PublicKey
    epoch: int = 1

    @property
    def keys(self) -> Mapping[Role, PublicKey]:
        return {"node": self.node, "desk": self.desk}

    def text(self, node: Signer) -> str:
        fields: Fields = {
            "v": VERSION,
            "node": self.node_id,
            "site": self.site_id,
            "keys": {"node": str(self.node), "desk": str(self.desk)},
        }
        if self.epoch > 1:
            fields["epoch"] = self.epoch
        return _signed_text("enrolment", fields, node)

    @classmethod
    def parse_text(cls, text: str) -> "Enrolment":
        """Read `node.pub`, held to the node key that it names; raises BadMessage."""
        fields, body, signature = _split_text(text, "node key file")
        keys = fields.get("keys")
        if not isinstance(keys, dict):
            raise BadMessage("node key file: keys missing")
        try:
            node, desk = PublicKey.parse(str(keys.get("node"))), PublicKey.parse(str(keys.get("desk")))
        except SyncError as error:
            raise BadMessage(f"node key file: {error}") from error
        if not node.verify("enrolment", body, signature):
            raise BadMessage("node key file: not signed by the node key it names")
        if node == desk:
            raise BadMessage("node key file: node and desk share one key")
        node_id, site_id = text_field(fields, "node"), text_field(fields, "site")
        if not (valid_name(node_id) and valid_name(site_id)):
            raise BadMessage(f"node key file: {node_id!r} of site {site_id!r} is not a name")
        epoch = fields.get("epoch", 1)
        if type(epoch) is not int or epoch < 1 or ("epoch" in fields and epoch == 1):  # 1 is said by saying nothing
            raise BadMessage(f"node key file: {epoch!r} is not an epoch of 2 or more")
        return cls(node_id, site_id, node, desk, epoch)


def _signed_text(domain: Domain, fields: Fields, key: Signer) -> str:
    body = canonical.encode(fields)
    return f"{body.decode()}\n{key.sign(domain, body).hex()}\n"


def _split_text(text: str, what: str) -> tuple[Fields, bytes, bytes]:
    lines = text.removesuffix("\n").split("\n")  # splitlines() would also cut at U+2028, which a body may hold
    if len(lines) != 2:
        raise BadMessage(f"{what}: not two lines")
    try:
        body, signature = lines[0].encode(), bytes.fromhex(lines[1])
        fields = canonical.decode(body)
    except (NotCanonical, ValueError) as error:
        raise BadMessage(f"{what}: {error}") from error
    if signature.hex() != lines[1]:
        raise BadMessage(f"{what}: the signature is not written in lower-case hexadecimal")
    if fields.get("v") != VERSION:
        raise BadMessage(f"{what}: version {fields.get('v')!r}, this one reads {VERSION}")
    return fields, body, signature
