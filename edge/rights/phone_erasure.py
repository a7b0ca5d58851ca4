"""The privacy officer's queue: whose phone is to be erased, proven to be theirs by a code, restricted while disputed.

asked ─▶ code sent ─▶ proven ─▶ erased
                         └────▶ restricted, while a visit is disputed ─▶ erased
"""

import hmac
import secrets
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from edge import EdgeError
from edge.clock import wall_us
from edge.people.phones import parse_phone
from edge.people.restricted import number_of, restrict
from edge.people.vault import Vault, opened
from edge.proven import proven
from edge.rights.claims import disputed, written
from edge.rights.retention import erase
from edge.rights.send_code import NotSent, Sender
from sync.format.notices import ERASURE_REASONS
from sync.format.records import Record
from sync.format.visit_fields import text_of
from sync.node.append import Transaction
from sync.node.ledger import Ledger

KIND = "consent.withdrawn"
CODE_LIFE_S = 600
MOST_CODES = 3  # sent to one phone in a day
MOST_TRIES = 5  # in a day, over all its codes of a million: 1 in 200,000 for whoever guesses
MOST_FAILED = 6  # in a day; a command that says it has failed may be wrong, and nobody's phone is to ring all day
_DAY_US = 24 * 3600 * 1_000_000
_CODE_DIGITS = 6

Stage: TypeAlias = Literal["asked", "sent", "proven", "restricted", "erased"]


class NotProven(EdgeError):
    """The code typed is not the one sent, or too late, or was tried too often; why: as the pages name it."""

    def __init__(self, why: str) -> None:
        super().__init__(f"code: {why}")
        self.why = why


class EnoughToday(EdgeError):
    """No more codes to this phone today: so many were sent, failed, or were tried in vain."""


@dataclass(frozen=True, slots=True)
class Request:
    """Somebody's wish that their phone be erased. masked: None once it is. done: (epoch, seq) of its person.erased.

    account_id: who took it down, empty where it came from the visitor's own phone.
    """

    contact_id: str
    reason: str
    asked_us: int
    account_id: str
    stage: Stage
    disputed: bool
    masked: str | None
    done: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class SentCode:
    """A code under way. number, code: for the privacy officer to send by hand; None where a command has sent it."""

    number: str | None
    code: str | None


class PhoneErasures:
    """Asks, proves and erases, under the desk key; each call opens the ledger for its own thread."""

    def __init__(
        self, open_ledger: Callable[[], Ledger], database: Path, keys_database: Path, sender: Sender | None
    ) -> None:
        """open_ledger: opens it under the desk key. sender: brings a code to a phone; None: the officer does."""
        self._open_ledger = open_ledger
        self._database, self._keys_database = database, keys_database
        self._sender = sender

    @property
    def by_command(self) -> bool:
        """Whether codes go to the phone without anybody here seeing them."""
        return self._sender is not None

    def ask(self, contact_id: str, reason: str, request: str, account_id: str | None) -> Record:
        """File the wish; asked before, the record of then. Raises EdgeError for an unknown phone or reason.

        account_id: None where it comes from the visitor's own phone.
        """
        if reason not in ERASURE_REASONS:
            raise EdgeError(f"reason {reason!r}: one of {', '.join(ERASURE_REASONS)}")
        with closing(self._open_ledger()) as ledger, self._vault() as vault, ledger.transaction() as transaction:
            before = [one for one in ledger.naming(contact_id, (KIND,)) if one.fields.get("state") == "asked"]
            if before and _row(transaction.connection, contact_id) is not None:
                return before[-1]
            if number_of(transaction.connection, vault, contact_id) is None:
                raise EdgeError(f"phone {contact_id!r}: not kept here")
            record = _say(transaction, contact_id, "asked", request, account_id, reason=reason)
            transaction.connection.execute(
                "INSERT INTO phone_requests (contact_id, reason, account_id, asked_us, tries) VALUES (?, ?, ?, ?, 0)",
                (contact_id, reason, account_id or "", wall_us()),
            )
            return record

    def send(self, contact_id: str, request: str, account_id: str) -> SentCode:
        """Make a code and bring it to the phone; an earlier one counts no more.

        Without a command that sends, number and code are the officer's to send by hand: then that the number was shown
        is an `export.made`, committed before it is. Raises EnoughToday, EdgeError where nobody asked, and where the
        command fails: a code that was certainly not sent counts among the day's failures instead of among its codes.
        """
        code = f"{secrets.randbelow(10**_CODE_DIGITS):0{_CODE_DIGITS}}"
        with closing(self._open_ledger()) as ledger, self._vault() as vault, ledger.transaction() as transaction:
            number = number_of(transaction.connection, vault, contact_id)
            if _row(transaction.connection, contact_id) is None or number is None:
                raise EdgeError(f"phone {contact_id!r}: nobody has asked, or it is erased")
            sealed, now_us = vault.seal(contact_id, code.encode(), f"phone-code:{contact_id}"), wall_us()
            _count_code(transaction.connection, contact_id, now_us)
            transaction.connection.execute(
                "UPDATE phone_requests SET code = ?, code_us = ? WHERE contact_id = ?", (sealed, now_us, contact_id)
            )
            if self._sender is None:
                shown = {"what": "unmask", "person": contact_id, "reason": "erasure", "request": request}
                transaction.append("export.made", {**shown, "account": account_id})
        if self._sender is None:
            return SentCode(number, code)
        try:
            self._sender.send(number, code)
        except NotSent:
            # counted as sent until here: a crash while the command runs gives nobody a code more
            with closing(self._open_ledger()) as ledger, ledger.transaction() as transaction:
                transaction.connection.execute(
                    "UPDATE phone_requests SET codes = codes - 1, failed = failed + 1"
                    " WHERE contact_id = ? AND codes > 0 AND codes_since_us <= ?",
                    (contact_id, now_us),
                )
            raise
        return SentCode(None, None)

    def prove(self, contact_id: str, typed: str, request: str, account_id: str) -> Record:
        """Hold what was typed to the code, then erase the phone, or restrict it while a visit of it is disputed.

        Returns the record of that. Raises NotProven, having counted the try.
        """
        with closing(self._open_ledger()) as ledger, self._vault() as vault:
            if same := written(ledger, request, ("person.erased", KIND)):
                return same
            with ledger.transaction() as transaction:
                why = _held(transaction.connection, vault, contact_id, typed.strip())
                if not why:
                    proof = "command" if self._sender is not None else "by_hand"
                    _say(transaction, contact_id, "proven", None, account_id, proof=proof)
                    transaction.connection.execute(
                        "UPDATE phone_requests SET proven_us = ?, code = NULL WHERE contact_id = ?",
                        (wall_us(), contact_id),
                    )
            if why:
                raise NotProven(why)
            return self._settle(ledger, vault, contact_id, request, account_id)

    def settle_all(self, account_id: str) -> list[Record]:
        """Erase what was proven and need not wait any more: a claim has been closed."""
        with closing(self._open_ledger()) as ledger, self._vault() as vault:
            rows = ledger.connection.execute(
                "SELECT contact_id FROM phone_requests WHERE proven_us IS NOT NULL AND done_us IS NULL"
            ).fetchall()
            due = [contact_id for (contact_id,) in rows if not disputed(ledger.connection, contact_id)]
            return [self._settle(ledger, vault, contact_id, None, account_id) for contact_id in due]

    def requests(self) -> list[Request]:
        """The queue, what is open before what is done, each the oldest first."""
        with closing(self._open_ledger()) as ledger, self._vault() as vault:
            rows = ledger.connection.execute(
                "SELECT contact_id, reason, asked_us, account_id, code_us, proven_us, done_us, epoch, seq"
                " FROM phone_requests ORDER BY done_us IS NOT NULL, ifnull(-done_us, asked_us) LIMIT 200"
            ).fetchall()
            return [_read(ledger.connection, vault, *row) for row in rows]

    def _settle(self, ledger: Ledger, vault: Vault, contact_id: str, request: str | None, account_id: str) -> Record:
        found = _row(ledger.connection, contact_id)
        reason = found[0] if found else "request"
        if disputed(ledger.connection, contact_id):
            return self._restrict(ledger, vault, contact_id, request, account_id)
        try:
            done = erase(
                ledger,
                vault,
                contact_id,
                reason,
                None,
                account_id=account_id,
                request=request,
                proof=_proof(self._database.parent, ledger, contact_id),
            )
        except EdgeError:
            if not disputed(ledger.connection, contact_id):
                raise
            return self._restrict(ledger, vault, contact_id, request, account_id)  # a claim was opened meanwhile
        with ledger.transaction() as transaction:
            transaction.connection.execute(
                "UPDATE phone_requests SET done_us = ?, epoch = ?, seq = ? WHERE contact_id = ?",
                (wall_us(), done.record.epoch, done.record.seq, contact_id),
            )
        return done.record

    @staticmethod
    def _restrict(ledger: Ledger, vault: Vault, contact_id: str, request: str | None, account_id: str) -> Record:
        with ledger.transaction() as transaction:
            restrict(transaction.connection, contact_id, wall_us())
            record = _say(transaction, contact_id, "restricted", request, account_id)
        vault.scrub()  # of the HMACs nothing is to be left in the log
        return record

    def _vault(self) -> AbstractContextManager[Vault]:
        return opened(self._database, self._keys_database)


def _read(
    connection: sqlite3.Connection,
    vault: Vault,
    contact_id: str,
    reason: str,
    asked_us: int,
    account_id: str,
    code_us: int | None,
    proven_us: int | None,
    done_us: int | None,
    epoch: int | None,
    seq: int | None,
) -> Request:
    number = number_of(connection, vault, contact_id)
    contested = disputed(connection, contact_id)
    stage: Stage = "asked" if code_us is None else "sent"
    if proven_us is not None:
        stage = "restricted" if contested else "proven"
    if done_us is not None or number is None:
        stage = "erased"
    return Request(
        contact_id,
        reason,
        asked_us,
        account_id,
        stage,
        contested,
        parse_phone(number).masked if number is not None else None,
        (epoch, seq) if epoch is not None and seq is not None else None,
    )


def _count_code(connection: sqlite3.Connection, contact_id: str, now_us: int) -> None:
    """Count one more code of the day that began with its first; raises EnoughToday."""
    codes, since_us, tries, failed = connection.execute(
        "SELECT codes, codes_since_us, tries, failed FROM phone_requests WHERE contact_id = ?", (contact_id,)
    ).fetchone()
    if now_us - since_us >= _DAY_US:
        codes, since_us, tries, failed = 0, now_us, 0, 0
    if codes >= MOST_CODES or tries >= MOST_TRIES:
        raise EnoughToday(f"phone {contact_id}: {codes} codes and {tries} tries within a day")
    if failed >= MOST_FAILED:
        raise EnoughToday(f"phone {contact_id}: {failed} codes that could not be sent within a day")
    connection.execute(
        "UPDATE phone_requests SET codes = ?, codes_since_us = ?, tries = ?, failed = ? WHERE contact_id = ?",
        (codes + 1, since_us, tries, failed, contact_id),
    )


def _held(connection: sqlite3.Connection, vault: Vault, contact_id: str, typed: str) -> str:
    """What is wrong with a code that was typed, nothing where it is the one sent; the try is counted."""
    found = connection.execute(
        "SELECT code, code_us, tries FROM phone_requests WHERE contact_id = ?", (contact_id,)
    ).fetchone()
    if found is None or found[0] is None:
        return "none"
    sealed, code_us, tries = found
    if tries >= MOST_TRIES:
        return "tries"
    connection.execute("UPDATE phone_requests SET tries = tries + 1 WHERE contact_id = ?", (contact_id,))
    if wall_us() > code_us + CODE_LIFE_S * 1_000_000:
        return "late"
    code = vault.unseal(contact_id, sealed, f"phone-code:{contact_id}")
    return "" if code is not None and hmac.compare_digest(code, typed.encode()) else "wrong"


def _row(connection: sqlite3.Connection, contact_id: str) -> tuple[str] | None:
    found: tuple[str] | None = connection.execute(
        "SELECT reason FROM phone_requests WHERE contact_id = ?", (contact_id,)
    ).fetchone()
    return found


def _proof(home: Path, ledger: Ledger, contact_id: str) -> str | None:
    """How the phone was proven, by the record of that."""
    told = proven(home, ledger, ledger.naming(contact_id, (KIND,)))
    return next((text_of(one.fields, "proof") for one in reversed(told) if one.fields.get("state") == "proven"), None)


def _say(
    transaction: Transaction, contact_id: str, state: str, request: str | None, account_id: str | None, **more: str
) -> Record:
    fields = {"person": contact_id, "purpose": "phone", "state": state, **more}
    if account_id is not None:
        fields["account"] = account_id
    return transaction.append(KIND, fields if request is None else {**fields, "request": request})
