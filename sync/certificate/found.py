"""Where a visit's evidence is taken from: a HOME, an exported ledger, or a bundle that somebody else has made."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sync import SyncError
from sync.audit.export import read_export
from sync.audit.origin import enrolments_of, key_text
from sync.certificate.bundle import Bundle, is_bundle, read_bundle
from sync.certificate.gather import gather
from sync.format.messages import Ack
from sync.format.records import Record, parse
from sync.node.ledger import Ledger
from sync.node.trust import DATABASE_FILE, standing_notices
from sync.storage.key_files import read_statements


class Exported:
    """An exported ledger in memory, asked as a ledger is."""

    def __init__(self, path: Path) -> None:
        self.header, rows = read_export(path)
        self._records = [parse(row.body, row.signature) for row in (*self.header.kept, *rows)]
        acks = [Ack.unverified(data) for data in self.header.acks]
        self._acks = {ack.ack_hash: ack for ack in acks}
        self._by_place = sorted(acks, key=lambda ack: (ack.epoch, ack.upto_seq))  # stable: by arrival within a place

    def record(self, epoch: int, seq: int) -> Record | None:
        return next((one for one in self._records if (one.epoch, one.seq) == (epoch, seq)), None)

    def records(self, kinds: Iterable[str], after: tuple[int, int] = (0, 0)) -> Iterator[Record]:
        wanted = frozenset(kinds)
        return (one for one in self._records if one.kind in wanted and (one.epoch, one.seq) > after)

    def naming(self, id: str, kinds: Iterable[str], after: tuple[int, int] = (0, 0)) -> list[Record]:
        quoted = f'"{id}"'.encode()
        return [one for one in self.records(kinds, after) if quoted in one.body]

    def between(self, after: tuple[int, int], upto: tuple[int, int]) -> Iterator[Record]:
        return (one for one in self._records if after < (one.epoch, one.seq) <= upto)

    def ack(self, ack_hash: bytes) -> bytes | None:
        found = self._acks.get(ack_hash)
        return found.data if found else None

    def acks_covering(self, epoch: int, seq: int) -> Iterator[bytes]:
        return (ack.data for ack in self._by_place if (ack.epoch, ack.upto_seq) >= (epoch, seq))


def bundle_of(path: Path, visit: str) -> Bundle:
    """The bundle of a visit out of a HOME, an exported ledger or a bundle's file, nothing about it verified yet.

    Raises SyncError where the path is none of these, holds no such visit, or its node has not joined a central.
    """
    if (path / DATABASE_FILE).is_file():
        return _of_home(path, visit)
    if not path.is_file():
        raise SyncError(f"{path}: neither a HOME, an exported ledger nor a certificate")
    if is_bundle(path):
        bundle = read_bundle(path)
        if bundle.visit != visit:
            raise SyncError(f"{path}: is of visit {bundle.visit}")
        return bundle
    exported = Exported(path)
    header = exported.header
    if header.central_pub is None:
        raise SyncError(f"{path}: its node has joined no central, so nobody else vouches for its records")
    return gather(exported, visit, header.node_pub, header.enrolments, header.central_pub, header.notices)


def found_in(paths: Sequence[Path], visit: str) -> Bundle:
    """The bundle of a visit out of the first of these paths that holds it; raises SyncError where none does."""
    fault = SyncError("no HOME, exported ledger or certificate given")
    for path in paths:
        try:
            return bundle_of(path, visit)
        except SyncError as error:
            fault = error
    raise fault


def _of_home(home: Path, visit: str) -> Bundle:
    node_pub, *others = enrolments_of(home) or [""]
    central_pub = key_text(home / "central.pub")
    if not node_pub:
        raise SyncError(f"{home}: there is no node.pub")
    if central_pub is None:
        raise SyncError(f"{home}: this node has joined no central, so nobody else vouches for its records")
    ledger = Ledger(home / DATABASE_FILE)
    try:
        with ledger.snapshot():
            notices = standing_notices(ledger.connection)
            return gather(ledger, visit, node_pub, others, central_pub, notices, read_statements(home))
    finally:
        ledger.close()
