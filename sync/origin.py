"""Which keys a stored chain is held against, and what that proves of its origin."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sync import SyncError
from sync.audit import Bad
from sync.messages import Ack, BadMessage, CentralKeys, Enrolment, Notice
from sync.records import KeyRing
from sync.signing import PublicKey


@dataclass(frozen=True, slots=True)
class Keys:
    """What a chain is held against.

    central: every list of central's keys known, all under one root. origin: what this proves, for people.
    mismatch: how a given key disagrees with the one that lies beside the chain.
    """

    enrolment: Enrolment
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


def settle(node_pub: str | None, central_pub: str | None, given: Enrolment | CentralKeys | None) -> Keys:
    """Settle which keys count: the given one before the one found; raises Bad where the one found is damaged."""
    try:
        found = Enrolment.parse_text(node_pub) if node_pub is not None else None
        central = CentralKeys.parse_text(central_pub) if central_pub is not None else None
    except BadMessage as error:
        raise Bad(str(error)) from error
    mismatch = None
    if isinstance(given, Enrolment):
        enrolment = given
        origin = f"origin proven against the given key of node {given.node_id} ({given.node.fingerprint})"
        if found and found != given:
            mismatch = f"node.pub here has key {found.node.fingerprint}, the given one {given.node.fingerprint}"
    elif found:
        enrolment = found
        origin = "consistent with the key found here, origin not proven"
    else:
        raise SyncError("there is no node.pub to hold the records against; give one with --public-key")
    if isinstance(given, CentralKeys):
        origin = (
            f"acks proven against the given key of central {given.central_id} ({given.root.fingerprint}); "
            "what no ack covers is consistent with the node key found here, origin not proven"
        )
        if central and central.root != given.root:
            mismatch = f"central.pub here has root {central.root.fingerprint}, the given one {given.root.fingerprint}"
            central = None
    lists = tuple(listed for listed in (given, central) if isinstance(listed, CentralKeys))
    ring = KeyRing({"node": enrolment.node, "desk": enrolment.desk})
    return Keys(enrolment, ring, lists, origin, mismatch)


def ack_keys(central: Sequence[CentralKeys], notices: Iterable[object]) -> list[PublicKey]:
    """Every key that may have signed an ack, the newest last: those pinned, and those of the notices under their root.

    notices: the signed bytes of `keys` notices as stored. Raises Bad where one is not the root's.
    """
    lists = list(central)
    for data in notices if central else ():
        try:
            if not isinstance(data, bytes):
                raise BadMessage("not stored as bytes")
            root, notice = central[0].root, central[0].keys["notice"]
            lists.append(CentralKeys.of(Notice.parse(data, root, notice).body))
        except BadMessage as error:
            raise Bad(f"a stored keys notice: {error}") from error
    return list(dict.fromkeys(listed.keys["ack"] for listed in lists))


def read_ack(data: object, keys: list[PublicKey]) -> Ack:
    """Read a stored ack under whichever key signed it; raises BadMessage."""
    if not isinstance(data, bytes):
        raise BadMessage("not stored as bytes")
    fault = BadMessage("there is no central.pub to hold it against")
    for key in reversed(keys):
        try:
            return Ack.parse(data, key)
        except BadMessage as error:
            fault = error
    raise fault
