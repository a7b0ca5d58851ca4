"""RFC 3161 tokens over central's checkpoints: somebody who belongs to neither side says when the log was as it is."""

import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509

from sync import SyncError
from sync.central.keys import load_serving_keys
from sync.central.log import CentralLog
from sync.central.store.location import open_store
from sync.central.store.rows import Timestamp
from sync.central.store.store import Store
from sync.central.watching import Watcher
from sync.storage.settings import load_settings

if TYPE_CHECKING:
    from rfc3161_client import TimeStampResponse

log = logging.getLogger(__name__)

EVERY_S = 86_400.0
RETRY_S = 3600.0
TIMEOUT_S = 30.0
MAX_ANSWER_BYTES = 64 * 1024  # one with its chain of certificates has some 6 KiB


class TimestampError(SyncError):
    """An authority that cannot be reached, or an answer that does not prove what it should."""


class TimestampAuthority:
    """A time-stamping authority, and the roots that its answers must lead to."""

    def __init__(self, url: str, roots: Sequence[x509.Certificate]) -> None:
        self.url = url
        self._roots = list(roots)

    def stamp(self, message: bytes) -> bytes:
        """Return a token over `message`, checked: imprint, nonce, and its chain; raises TimestampError."""
        import httpx
        from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

        request = TimestampRequestBuilder().data(message).hash_algorithm(HashAlgorithm.SHA256).build()
        headers = {"Content-Type": "application/timestamp-query"}  # RFC 3161 3.4
        try:
            with httpx.stream(
                "POST", self.url, content=request.as_bytes(), headers=headers, timeout=TIMEOUT_S
            ) as answer:
                answer.raise_for_status()
                token = b""
                for part in answer.iter_bytes():
                    token += part
                    if len(token) > MAX_ANSWER_BYTES:
                        raise TimestampError(f"{self.url}: an answer of more than {MAX_ANSWER_BYTES} bytes")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TimestampError(f"{self.url}: {error}") from error
        self.check(token, message, request.nonce)
        return token

    def check(self, token: bytes, message: bytes, nonce: int | None = None) -> datetime:
        """Return when `message` was there, as the token proves it; raises TimestampError.

        nonce: of the request, where the answer to it is checked; one kept is no longer a fresh answer to anything.
        """
        from rfc3161_client import VerificationError, VerifierBuilder

        try:
            VerifierBuilder(roots=list(self._roots), nonce=nonce).build().verify_message(read(token), message)
        except (VerificationError, ValueError) as error:
            raise TimestampError(f"{self.url}: the token does not hold: {error}") from error
        return read(token).tst_info.gen_time.astimezone(UTC)


class Timestamper:
    """Has the newest checkpoint stamped once a day while central runs, on a thread of its own; a failure is retried."""

    def __init__(
        self, directory: Path, authority: TimestampAuthority, every_s: float = EVERY_S, retry_s: float = RETRY_S
    ) -> None:
        self._directory, self._authority = directory, authority
        self._every_s = every_s
        self._watcher = Watcher("timestamps", log, self._stamp_if_due, retry_s)

    def start(self) -> None:
        self._watcher.start()

    def stop(self) -> None:
        """End soon; a request under way is not waited for."""
        self._watcher.stop()

    def _stamp_if_due(self) -> float:
        """Returns how long to wait then."""
        with open_store(self._directory) as store:
            newest = store.timestamps(1)
            age_s = time.time() - newest[0].at_us / 1e6 if newest else self._every_s
            if 0 <= age_s < self._every_s:
                return self._every_s - age_s
            made = stamp_now(store, self._directory, self._authority)
            log.info("log stamped size=%d", made.size)
        return self._every_s


def stamp_now(store: Store, directory: Path, authority: TimestampAuthority) -> Timestamp:
    """Have the checkpoint of the log as it is now stamped, and keep the token; raises SyncError."""
    checkpoint, note = CentralLog(store, load_serving_keys(directory)).checkpoint()
    token = authority.stamp(note.encode())
    made = Timestamp(time.time_ns() // 1000, checkpoint.size, note, token)
    store.keep_timestamp(made)
    return made


def read(token: bytes) -> "TimeStampResponse":
    """Decode a token, nothing about it believed; raises TimestampError."""
    from rfc3161_client import decode_timestamp_response

    try:
        return decode_timestamp_response(token)
    except ValueError as error:
        raise TimestampError(f"not an RFC 3161 answer: {error}") from error


def configured_authority(directory: Path) -> TimestampAuthority | None:
    """The authority of DIR/central.toml, None where there is none; raises SyncError naming the file at fault."""
    found = load_settings(directory).timestamp
    if found.url is None or found.ca is None:
        return None
    path = directory / found.ca
    try:
        return TimestampAuthority(found.url, x509.load_pem_x509_certificates(path.read_bytes()))
    except OSError as error:
        raise SyncError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise SyncError(f"{path}: not a certificate in PEM") from error
