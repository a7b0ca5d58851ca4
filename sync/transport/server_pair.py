"""A certificate and key that the configuration names for a server of pages, checked before anybody connects."""

import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sync import SyncError
from sync.transport.tls import host_names, load_certificate

_FLIGHTS = 3  # messages each way until both ends of a TLS 1.3 handshake are done, and one more


@dataclass(frozen=True, slots=True)
class ServerPair:
    """certificate: PEM, the server's own first, then those between it and its root. key: PEM, without a passphrase."""

    certificate: Path
    key: Path

    def check(self, now: datetime) -> None:
        """Raise SyncError, one line, where no browser could be served with these two at this moment."""
        held = load_certificate(self.certificate)
        if held.not_valid_after_utc < now:
            raise SyncError(f"{self.certificate}: expired on {held.not_valid_after_utc:%Y-%m-%d}")
        if held.not_valid_before_utc > now:
            raise SyncError(
                f"{self.certificate}: valid from {held.not_valid_before_utc:%Y-%m-%d} on; is the clock right?"
            )
        self.names()
        try:
            self.key.read_bytes()  # ssl's own words do not say which of the two it could not read
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, self.key, self._no_passphrase)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise SyncError(f"{self.key}: not the key of {self.certificate}") from error
            raise SyncError(f"{self.key}: not usable with {self.certificate}: {error.reason or error}") from error
        except OSError as error:
            raise SyncError(f"{self.key}: cannot be read: {error.strerror}") from error

    def names(self) -> tuple[str, ...]:
        """The names and addresses that the certificate stands for; raises SyncError."""
        return host_names(self.certificate)

    def publicly_valid(self, name: str) -> bool:
        """Whether a device that was told of no authority of ours believes these two under a name.

        Judged by a handshake in memory, with the authorities that this machine's system trusts.
        """
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(self.certificate, self.key, self._no_passphrase)
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        ends = (
            ssl.create_default_context().wrap_bio(down, up, server_hostname=name),
            server.wrap_bio(up, down, server_side=True),
        )
        for _ in range(_FLIGHTS):
            for end in ends:
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    continue
                except ssl.SSLError:
                    return False
        return True

    def _no_passphrase(self) -> str:
        raise SyncError(f"{self.key}: asks for a passphrase, which nobody types when a service starts")
