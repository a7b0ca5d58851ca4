"""ca.db: who was invited, who asks to be let in, and which certificates are out. Apart from the evidence, whose store
may be another machine's: the authority's key lies in this directory, and its book beside it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, cast, get_args

import sqlite_utils
from sqlite_utils.migrations import Migrations

from sync import SyncError
from sync.storage.database import DatabaseError, Format, create, immediate, migrate, named, open_checked

FILE_NAME = "ca.db"
Kind: TypeAlias = Literal["node", "central", "server", "broker"]
RequestState: TypeAlias = Literal["waiting", "confirmed", "rejected"]
_FORMAT = Format("certificate book", 1)
_MIGRATIONS = Migrations("access")
_REQUEST = "SELECT token_sha256, node_id, node_pub, csr, key_id, state, asked_us, certificate FROM requests"

_CERTIFICATE = "SELECT serial, name, kind, not_after_us, issued_us, revoked_us, certificate FROM certificates"


@_MIGRATIONS()
def book(db: sqlite_utils.Database) -> None:
    """Invitations by the hash of their token, what was asked with one, and every certificate issued."""
    db.table("invitations").create(
        {"token_sha256": bytes, "node_id": str, "created_us": int, "expires_us": int},
        pk="token_sha256",
        not_null={"created_us", "expires_us"},
    )
    db.table("requests").create(
        {
            "token_sha256": bytes,
            "node_id": str,
            "node_pub": str,
            "csr": str,
            "key_id": str,
            "state": str,
            "asked_us": int,
            "settled_us": int,
            "certificate": str,
        },
        pk="token_sha256",
        not_null={"node_id", "node_pub", "csr", "key_id", "state", "asked_us"},
        foreign_keys=[("token_sha256", "invitations", "token_sha256")],
    )
    db.table("certificates").create(
        {
            "serial": str,
            "name": str,
            "kind": str,
            "not_after_us": int,
            "issued_us": int,
            "revoked_us": int,
            "certificate": str,
        },
        pk="serial",
        not_null={"name", "kind", "not_after_us", "issued_us", "certificate"},
    )
    db.table("certificates").create_index(["name"])


class EnrolRefused(SyncError):
    """An enrolment that is not taken; reason: a word for machines, the text for people."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Request:
    """What a node asked for with its invitation, and what became of it.

    node_pub, csr: as sent. key_id: of the node key it has shown to hold.
    """

    token_sha256: bytes
    node_id: str
    node_pub: str
    csr: str
    key_id: str
    state: RequestState
    asked_us: int
    certificate: str | None


@dataclass(frozen=True, slots=True)
class CertificateRow:
    """A certificate that is out; text: PEM."""

    serial: int
    name: str
    kind: Kind
    not_after_us: int
    issued_us: int
    revoked_us: int | None
    text: str


class Access:
    """ca.db opened by one thread."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE_NAME
        self._connection = open_checked(self._path, _FORMAT)

    @staticmethod
    def ensure(directory: Path) -> None:
        """Make the book where there is none, else bring it up to this version; raises DatabaseError."""
        path = directory / FILE_NAME
        if path.exists():
            migrate(path, _FORMAT, _MIGRATIONS)
        else:
            create(path, _FORMAT, _MIGRATIONS, mode=0o600)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> "Access":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- invitations and requests ------------------------------------------------------------------------------

    def invite(self, token_sha256: bytes, node_id: str | None, now_us: int, expires_us: int) -> None:
        """Note an invitation; of its token only the hash. Unused ones of the past are forgotten."""
        with named(self._path), immediate(self._connection):
            self._connection.execute(
                "DELETE FROM invitations WHERE expires_us < ?"
                " AND token_sha256 NOT IN (SELECT token_sha256 FROM requests)",
                (now_us,),
            )
            self._connection.execute(
                "INSERT INTO invitations VALUES (?, ?, ?, ?)", (token_sha256, node_id, now_us, expires_us)
            )

    def ask(self, token_sha256: bytes, node_id: str, node_pub: str, csr: str, key_id: str, now_us: int) -> Request:
        """Use an invitation up, once; the very same question again is answered again, however late.

        Raises EnrolRefused: `token` (never given out, or forgotten), `expired`, `other-node`, `used`.
        """
        with named(self._path), immediate(self._connection):
            held = self._find(token_sha256)
            if held is not None:
                if (held.node_id, held.node_pub, held.csr) != (node_id, node_pub, csr):
                    raise EnrolRefused("used", "this invitation has been used")
                return held
            found = self._connection.execute(
                "SELECT node_id, expires_us FROM invitations WHERE token_sha256 = ?", (token_sha256,)
            ).fetchone()
            if found is None:
                raise EnrolRefused("token", "no such invitation, or one of the past")
            meant_for, expires_us = found
            if now_us >= expires_us:
                raise EnrolRefused("expired", "this invitation has expired; ask for a new one")
            if meant_for is not None and meant_for != node_id:
                raise EnrolRefused("other-node", f"this invitation is for another node than {node_id}")
            self._connection.execute(
                "INSERT INTO requests VALUES (?, ?, ?, ?, ?, 'waiting', ?, NULL, NULL)",
                (token_sha256, node_id, node_pub, csr, key_id, now_us),
            )
            return Request(token_sha256, node_id, node_pub, csr, key_id, "waiting", now_us, None)

    def request(self, token_sha256: bytes) -> Request | None:
        """What was asked with an invitation, None where nothing was."""
        with named(self._path):
            return self._find(token_sha256)

    def waiting(self, node_id: str | None = None) -> list[Request]:
        """What is neither confirmed nor rejected, the newest first; of one node, or of all."""
        condition, values = ("AND node_id = ? ", (node_id,)) if node_id is not None else ("", ())
        with named(self._path):
            rows = self._connection.execute(
                f"{_REQUEST} WHERE state = 'waiting' {condition}ORDER BY asked_us DESC, rowid DESC", values
            ).fetchall()
        return [_request(row) for row in rows]

    def settle(self, token_sha256: bytes, state: RequestState, certificate: str | None, now_us: int) -> None:
        """Confirm a request, with the certificate issued for it, or reject it; one settled already stays as it is."""
        with named(self._path), immediate(self._connection):
            self._connection.execute(
                "UPDATE requests SET state = ?, certificate = ?, settled_us = ?"
                " WHERE token_sha256 = ? AND state = 'waiting'",
                (state, certificate, now_us, token_sha256),
            )

    def _find(self, token_sha256: bytes) -> Request | None:
        row = self._connection.execute(f"{_REQUEST} WHERE token_sha256 = ?", (token_sha256,)).fetchone()
        return _request(row) if row else None

    # -- certificates ------------------------------------------------------------------------------------------

    def issued(self, serial: int, name: str, kind: Kind, not_after_us: int, now_us: int, text: str) -> None:
        """Note a certificate, before anybody gets it."""
        with named(self._path), immediate(self._connection):
            self._connection.execute(
                "INSERT INTO certificates VALUES (?, ?, ?, ?, ?, NULL, ?)",
                (f"{serial:x}", name, kind, not_after_us, now_us, text),
            )

    def revoke(self, name: str, now_us: int) -> int:
        """Revoke every certificate of a name; returns how many were not yet."""
        with named(self._path), immediate(self._connection):
            return self._connection.execute(
                "UPDATE certificates SET revoked_us = ? WHERE name = ? AND revoked_us IS NULL", (now_us, name)
            ).rowcount

    def revoked(self) -> list[tuple[int, int]]:
        """(serial, when) of what is revoked."""
        with named(self._path):
            rows = self._connection.execute(
                "SELECT serial, revoked_us FROM certificates WHERE revoked_us IS NOT NULL ORDER BY revoked_us, serial"
            ).fetchall()
        return [(int(serial, 16), revoked_us) for serial, revoked_us in rows]

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep everybody else from writing in the book for the block."""
        with named(self._path), immediate(self._connection):
            yield

    def in_force(self, serial: int) -> bool:
        """Whether a certificate was issued here and not revoked."""
        with named(self._path):
            found = self._connection.execute(
                "SELECT 1 FROM certificates WHERE serial = ? AND revoked_us IS NULL", (f"{serial:x}",)
            ).fetchone()
        return found is not None

    def certificates(self) -> list[CertificateRow]:
        """Every certificate issued, by name, the newest of each first."""
        with named(self._path):
            rows = self._connection.execute(f"{_CERTIFICATE} ORDER BY name, issued_us DESC, rowid DESC").fetchall()
        return [CertificateRow(int(row[0], 16), *row[1:]) for row in rows]

    def newest(self, name: str) -> CertificateRow | None:
        """The certificate of a name that was issued last, revoked or not."""
        with named(self._path):
            row = self._connection.execute(
                f"{_CERTIFICATE} WHERE name = ? ORDER BY issued_us DESC, rowid DESC LIMIT 1", (name,)
            ).fetchone()
        return CertificateRow(int(row[0], 16), *row[1:]) if row else None


def _request(row: tuple[bytes, str, str, str, str, str, int, str | None]) -> Request:
    token, node_id, node_pub, csr, key_id, state, asked_us, certificate = row
    if state not in get_args(RequestState):
        raise DatabaseError(f"{FILE_NAME}: requests: unknown state {state!r}")
    return Request(token, node_id, node_pub, csr, key_id, cast(RequestState, state), asked_us, certificate)
