"""A key revoked behind the back of its node, which goes on under it until it hears, and then under new ones."""

from sync.format.messages import Notice
from sync.format.notices import KeyRevoked
from sync.format.public_keys import Enrolment
from sync.format.rotation import Rotation
from sync.format.signing import Signer
from sync.node.append import Writer
from sync.node.ledger import Ledger
from sync.storage.database import immediate
from tests.sync.a_site import ASite, made_key


def rotate(site: ASite, new: Signer) -> None:
    """The node's key gives way to `new`."""
    head = site.node.head()
    assert head
    rotation = Rotation(site.node_id, head.epoch, head.seq + 1, "node", site.node_key.public.key_id, new.public)
    site.node.append("key.rotated", rotation.fields(new, site.node_key, "tpm2"))
    _write_under(site, new, site.desk_key)


def revoke(site: ASite, key: Signer, seq: int, reason: str = "compromised", *, heard: bool = True) -> Notice:
    """Central's word that `key` counts up to (1, seq). heard: the HOME holds it, as after `Trust.apply`."""
    body = KeyRevoked(key.public.key_id, 1, seq, reason).fields()
    notice = Notice.seal(site.node_id, 1, bytes(32), "key.revoked", body, site.central.key("notice"))
    if heard:
        with immediate(site.node.connection):
            site.node.connection.execute(
                "INSERT INTO notices VALUES (?, ?, ?, ?, ?)",
                (notice.nseq, notice.hash, notice.kind, notice.data, site.true_us),
            )
    return notice


def rekey(site: ASite) -> None:
    """A new epoch of new keys, enrolled."""
    node, desk = made_key(f"{site.node_id}-new-node"), made_key(f"{site.node_id}-new-desk")
    (site.path / "node.pub").rename(site.path / "node-1.pub")
    (site.path / "node.pub").write_text(Enrolment(site.node_id, "puxi-01", node.public, desk.public, 2).text(node))
    _write_under(site, node, desk)
    with site.node.transaction(new_keys=True) as transaction:
        keys = {"node": str(node.public), "desk": str(desk.public)}
        transaction.begin_epoch("rekey", {"site": "puxi-01", "keys": keys})


def _write_under(site: ASite, node: Signer, desk: Signer) -> None:
    site.close()
    database = site.path / "firstvisit.db"
    site.node = Ledger(database, Writer(site.node_id, "node", node, site.clock.stamp))
    site.desk = Ledger(database, Writer(site.node_id, "desk", desk, site.clock.stamp))
