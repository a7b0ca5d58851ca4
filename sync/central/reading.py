"""Frames read ahead of being judged: every body parsed once, and the signatures verified on several threads.

libsodium works without Python's lock, and a signature costs more than everything else done for a record.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

from sync.keyring import KeyRing, signature_verifies
from sync.records import BadRecord, Record, parse
from sync.signing import PublicKey
from sync.wire import SignedBody, decode_frame

MAX_THREADS = 8
_WORTH_A_THREAD = 16  # signatures; handing fewer over costs more than it saves
_Claim: TypeAlias = tuple[PublicKey, Record]


@dataclass(frozen=True, slots=True)
class Read:
    """A record of a frame. record: what its body says, or why it says nothing."""

    signed: SignedBody
    record: Record | BadRecord


def read_frame(payload: bytes) -> list[Read]:
    """Everything in a frame, of which nothing has been judged; raises BadFrame."""
    return [Read(signed, _record(signed)) for signed in decode_frame(payload)]


class Signatures:
    """The signatures verified ahead, for one batch of frames at a time."""

    def __init__(self, threads: int | None = None) -> None:
        """threads: None for as many as this process may use processors."""
        self._threads = min(MAX_THREADS, threads or len(os.sched_getaffinity(0)))
        self._pool = ThreadPoolExecutor(self._threads, "signatures") if self._threads > 1 else None
        self._known: dict[tuple[bytes, bytes, bytes], bool] = {}

    def ahead(self, frames: Iterable[tuple[KeyRing, Sequence[Read]]]) -> None:
        """Verify what the keys named in these frames are said to have signed, and forget what was before."""
        self._known = {}
        if self._pool is None:
            return
        claims = [claim for ring, reads in frames for claim in _claims(ring, reads)]
        size = -(-len(claims) // self._threads)
        if size < _WORTH_A_THREAD:
            return
        parts = [claims[start : start + size] for start in range(0, len(claims), size)]
        for part, verdicts in zip(parts, self._pool.map(_verify, parts), strict=True):
            for (key, record), good in zip(part, verdicts, strict=True):
                self._known[key.raw, record.hash, record.signature] = good

    def verifies(self, key: PublicKey, record: Record) -> bool:
        """Whether the key signed the record, as found ahead or else now."""
        known = self._known.get((key.raw, record.hash, record.signature))
        return signature_verifies(key, record) if known is None else known


def _record(signed: SignedBody) -> Record | BadRecord:
    try:
        return parse(signed.body, signed.signature)
    except BadRecord as error:
        return error


def _claims(ring: KeyRing, reads: Sequence[Read]) -> Iterator[_Claim]:
    for read in reads:
        if isinstance(read.record, Record) and (key := ring.named(read.record.key_id)) is not None:
            yield key, read.record


def _verify(claims: Sequence[_Claim]) -> list[bool]:
    return [signature_verifies(key, record) for key, record in claims]
