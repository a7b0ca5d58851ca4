"""Frames read ahead of being judged: every body parsed once, and the signatures verified on several threads.

libsodium works without Python's lock, and a signature costs more than everything else done for a record.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

from sync.format.keyring import KeyRing, signature_verifies
from sync.format.records import BadRecord, Record, parse
from sync.format.signing import PublicKey
from sync.format.wire import SignedBody, decode_frame

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


class Verdicts:
    """Whether the signatures of some records are good, each asked of a thread that may be at it still."""

    def __init__(self) -> None:
        self._parts: dict[tuple[bytes, bytes, bytes], tuple[Future[list[bool]], int]] = {}

    def add(self, claims: Sequence[_Claim], verdicts: Future[list[bool]]) -> None:
        for place, (key, record) in enumerate(claims):
            self._parts[key.raw, record.hash, record.signature] = verdicts, place

    def verifies(self, key: PublicKey, record: Record) -> bool:
        """Whether the key signed the record, as a thread found or else as is found now."""
        part = self._parts.get((key.raw, record.hash, record.signature))
        return signature_verifies(key, record) if part is None else part[0].result()[part[1]]


class Signatures:
    """The threads that verify."""

    def __init__(self, threads: int | None = None) -> None:
        """threads: None for as many as this process may use processors."""
        self._threads = min(MAX_THREADS, threads or len(os.sched_getaffinity(0)))
        self._pool = ThreadPoolExecutor(self._threads, "signatures") if self._threads > 1 else None

    def begin(self, frames: Iterable[tuple[KeyRing, Sequence[Read]]]) -> Verdicts:
        """Begin to verify what the keys named in these frames are said to have signed."""
        verdicts = Verdicts()
        if self._pool is None:
            return verdicts
        claims = [claim for ring, reads in frames for claim in _claims(ring, reads)]
        size = -(-len(claims) // self._threads)
        if size >= _WORTH_A_THREAD:
            for start in range(0, len(claims), size):
                part = claims[start : start + size]
                verdicts.add(part, self._pool.submit(_verify, part))
        return verdicts


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
