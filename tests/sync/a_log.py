"""A log of central's in memory, real to the last hash, that a test may also rewrite."""

from sync.format.checkpoint import Checkpoint, origin_of
from sync.format.log_proof import LogHead, LogProof
from sync.format.merkle import Edge, consistency_proof, inclusion_proof, leaf_hash
from sync.format.signing import Ed25519Signer


class ALog:
    """What central `hq` has accepted, in order."""

    def __init__(self, key: Ed25519Signer, entries: list[bytes] | None = None, central_id: str = "hq") -> None:
        self.key, self.origin = key, origin_of(central_id)
        self.entries = list(entries or [])

    def add(self, *entries: bytes) -> None:
        self.entries += entries

    def head(self, size: int | None = None) -> LogHead:
        edge, _ = Edge().grown([leaf_hash(entry) for entry in self.entries[:size]])
        return LogHead(edge.size, edge.root())

    def proof(self, entry: bytes, signed_back: LogHead | None = None) -> LogProof:
        """What an ack whose head record has the hash `entry` would carry now."""
        edge, stored = Edge().grown([leaf_hash(entry) for entry in self.entries])
        tiles = {(tile.level, tile.number): tile.data for tile in stored}
        index = self.entries.index(entry)

        def read(level: int, number: int) -> bytes:
            return tiles[level, number]

        note = Checkpoint(self.origin, edge.size, edge.root()).seal(self.key)
        proof = inclusion_proof(read, index, edge.size)
        if signed_back is None:
            return LogProof(note, index, proof)
        consistency = consistency_proof(read, signed_back.size, edge.size)
        return LogProof(note, index, proof, signed_back.size, consistency)
