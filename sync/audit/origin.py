"""Which keys a stored chain is held against, and what that proves of its origin."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sync import SyncError
from sync.audit.chain_audit import Bad
from sync.format.keyring import KeyRing, ring
from sync.format.messages import Ack, BadMessage, Notice
from sync.format.notices import KeyRevoked
from sync.format.public_keys import CentralKeys, Enrolment


@dataclass(frozen=True, slots=True)
class Keys:
    """What a chain is held against.

    ring: of the enrolments, before any notice or rotation is followed. central: every list of central's keys known,
    all under one root. origin: what this proves, for people. mismatch: how a given key disagrees with the one that
    lies beside the chain.
    """

    node_id: str
    ring: KeyRing
    central: tuple[CentralKeys, ...]
    origin: str
    mismatch: str | None


def given_key(path: Path) -> Enrolment | CentralKeys:
    """Read the key file that a person holds; raises SyncError where it is neither of the two."""
    text = key_text(path)
    if text is None:
        raise SyncError(f"{path}: no key file there")
    try:
        return Enrolment.parse_text(text)
    except BadMessage:
        pass  # then it is central's, or neither
    try:
        return CentralKeys.parse_text(text)
    except BadMessage as error:
        raise SyncError(f"{path}: neither a node.pub nor a central.pub") from error


def key_text(path: Path) -> str | None:
    """The text of a key file, None where there is none; raises SyncError."""
    if path.exists() and not path.is_file():
        raise SyncError(f"{path}: not a file")  # a pipe would be waited for
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise SyncError(f"{path}: not a key file") from error
    except OSError as error:
        raise SyncError(f"{path}: {error.strerror}") from error


def enrolments_of(home: Path) -> list[str]:
    """The texts of HOME's node.pub, and of `node-N.pub` for the enrolments of earlier epochs; raises SyncError."""
    texts = [key_text(path) for path in (home / "node.pub", *sorted(home.glob("node-*.pub")))]
    return [text for text in texts if text is not None]


def settle(node_pubs: Sequence[str], central_pub: str | None, given: Enrolment | CentralKeys | None) -> Keys:
    """Settle which keys count: the given ones before those found; raises Bad where one found is damaged.

    node_pubs: the texts of every enrolment found beside the chain, in any order; there is one, and another for every
    epoch whose keys were made anew.
    """
    try:
        found = [Enrolment.parse_text(text) for text in node_pubs]
        central = CentralKeys.parse_text(central_pub) if central_pub is not None else None
    except BadMessage as error:
        raise Bad(str(error)) from error
    by_epoch = {enrolment.epoch: enrolment for enrolment in found}
    if len(by_epoch) != len(found) or len({enrolment.node_id for enrolment in found}) > 1:
        raise Bad("the enrolments here contradict each other")
    mismatch = None
    if isinstance(given, Enrolment):
        here = by_epoch.get(given.epoch)
        if here and here != given:
            mismatch = f"node.pub here has key {here.node.fingerprint}, the given one {given.node.fingerprint}"
        by_epoch[given.epoch] = given
    if not by_epoch:
        raise SyncError("there is no node.pub to hold the records against; give one with --public-key")
    origin = "consistent with the key found here, origin not proven"
    if isinstance(given, Enrolment):
        origin = f"origin proven against the given key of node {given.node_id} ({given.node.fingerprint})"
        if others := sorted(by_epoch.keys() - {given.epoch}):
            listed = ", ".join(map(str, others))
            origin += f"; the keys enrolled for epoch {listed} were found here, and their origin is not proven"
    if isinstance(given, CentralKeys):
        origin = (
            f"acks proven against the given key of central {given.central_id} ({given.root.fingerprint}); "
            "what no ack covers is consistent with the node key found here, origin not proven"
        )
        if central and central.root != given.root:
            mismatch = f"central.pub here has root {central.root.fingerprint}, the given one {given.root.fingerprint}"
            central = None
    lists = tuple(listed for listed in (given, central) if isinstance(listed, CentralKeys))
    node_id = given.node_id if isinstance(given, Enrolment) else found[0].node_id
    return Keys(node_id, ring((one.epoch, one.keys) for one in by_epoch.values()), lists, origin, mismatch)


def follow_notices(
    central: Sequence[CentralKeys], notices: Iterable[object]
) -> tuple[list[CentralKeys], list[KeyRevoked]]:
    """Return every list of central's keys, the newest last, and every revocation of a node's key.

    central: the lists pinned. notices: the signed bytes of notices as stored, in order; those of `keys` name the later
    keys. Raises Bad where one is not signed as it must be.
    """
    lists, revocations = list(central), list[KeyRevoked]()
    for data in notices if central else ():
        notice = _read_notice(data, lists)
        try:
            if notice.kind == "keys":
                lists.append(CentralKeys.of(notice.body))
            elif notice.kind == "key.revoked":
                revocations.append(KeyRevoked.of(notice.body))
        except SyncError as error:
            raise Bad(f"a stored {notice.kind} notice: {error}") from error
    return lists, revocations


def account_notices(lists: Sequence[CentralKeys], notices: Iterable[bytes]) -> list[Notice]:
    """Those about accounts among notices that `follow_notices` has taken; lists: what it returned."""
    return [one for one in (_read_notice(data, lists) for data in notices) if one.kind == "account"] if lists else []


def _read_notice(data: object, lists: Sequence[CentralKeys]) -> Notice:
    if not isinstance(data, bytes):
        raise Bad("a stored notice: not stored as bytes")
    fault = BadMessage("no key")
    for listed in reversed(lists):
        try:
            return Notice.parse(data, lists[0].root, listed.keys["notice"])
        except BadMessage as error:
            fault = error
    raise Bad(f"a stored notice: {fault}") from fault


def read_ack(data: object, lists: Sequence[CentralKeys]) -> Ack:
    """Read a stored ack under whichever of central's ack keys signed it; raises BadMessage."""
    if not isinstance(data, bytes):
        raise BadMessage("not stored as bytes")
    fault = BadMessage("there is no central.pub to hold it against")
    for key in dict.fromkeys(listed.keys["ack"] for listed in reversed(lists)):
        try:
            return Ack.parse(data, key)
        except BadMessage as error:
            fault = error
    raise fault
