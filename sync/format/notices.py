"""What notices order: one body a kind, read as strictly as it is written; ids, codes and numbers, never free text.

A body has exactly the keys listed here. One more key is a later version's, whose meaning this one would drop: the
notice is then not understood as a whole.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Self, TypeAlias

from sync import SyncError
from sync.format.canonical import Fields
from sync.format.messages import NoticeKind

REVOCATION_REASONS = ("compromised", "lost", "retired", "error")
PROOFS = ("command", "by_hand")
"""How a code came to a phone that was then erased, as `proof` of a record says: by the operator's program, by hand."""
ERASURE_REASONS = ("request", "consent_withdrawn", "child", "error", "staff", "legal")
CODE_REASONS = ("lost", "abused", "left", "expired", "error")
HEAD_OFFICE_ROLES = ("auditor", "privacy")
VERDICTS = ("approved", "refused")
LONGEST_UNCONSENTED_H = 30 * 24
SHORTEST_LEDGER_DAYS, LONGEST_LEDGER_DAYS = 180, 3650

_KEY_ID = re.compile(r"[0-9a-f]{32}")
_HEX64 = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"[a-z]{1,8}-[0-9a-f]{16,64}")  # random; no telephone number has this form
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class BadBody(SyncError):
    """A notice's body that does not say what its kind may say; the text names the key."""


@dataclass(frozen=True, slots=True)
class KeyRevoked:
    """What the key signed at places after (epoch, seq) counts no more; (1, 0) refuses all of it."""

    KIND: ClassVar[NoticeKind] = "key.revoked"
    key_id: str
    epoch: int
    seq: int
    reason: str

    def fields(self) -> Fields:
        return {"key": self.key_id, "epoch": self.epoch, "seq": self.seq, "reason": self.reason}

    @classmethod
    def of(cls, fields: Fields) -> Self:
        """Read `fields()` back; raises BadBody."""
        _hold(fields, ("key", "epoch", "seq", "reason"))
        return cls(
            _match(fields, "key", _KEY_ID),
            _number(fields, "epoch", 1),
            _number(fields, "seq", 0),
            _one_of(fields, "reason", REVOCATION_REASONS),
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """All that central asks beside the site's own configuration, the stricter of the two holding; None asks nothing.

    It replaces central's earlier word as a whole, so an empty one takes it back. mode: only ever `after_consent`: to
    compare everybody wants a legal basis, which is the site's to state. unconsented_h: at most so many hours.
    ledger_days: at least so many days, for whoever asks a node to forget its evidence sooner may have a reason to.
    """

    KIND: ClassVar[NoticeKind] = "policy"
    mode: Literal["after_consent"] | None = None
    unconsented_h: int | None = None
    ledger_days: int | None = None

    def fields(self) -> Fields:
        said = {"mode": self.mode, "unconsented_h": self.unconsented_h, "ledger_days": self.ledger_days}
        return {key: value for key, value in said.items() if value is not None}

    @classmethod
    def of(cls, fields: Fields) -> Self:
        """Read `fields()` back; raises BadBody."""
        _hold(fields, (), ("mode", "unconsented_h", "ledger_days"))
        if fields.get("mode", "after_consent") != "after_consent":
            raise BadBody(f"mode {fields['mode']!r}: central may ask for after_consent only")
        return cls(
            "after_consent" if "mode" in fields else None,
            _number(fields, "unconsented_h", 1, LONGEST_UNCONSENTED_H) if "unconsented_h" in fields else None,
            _number(fields, "ledger_days", SHORTEST_LEDGER_DAYS, LONGEST_LEDGER_DAYS)
            if "ledger_days" in fields
            else None,
        )


@dataclass(frozen=True, slots=True)
class Erase:
    """This person is to be forgotten: their key destroyed, and with it every template and picture.

    confirmed: None in an order. In the word back to the node that forgot them first, on how many other nodes they were
    known: all of those, and central, have forgotten them too; nothing is left to do. withdrawn_us: in an order that
    passes a withdrawal of consent on, when it was withdrawn; a consent given later than that stands.
    """

    KIND: ClassVar[NoticeKind] = "erase"
    person_id: str
    reason: str
    confirmed: int | None = None
    withdrawn_us: int | None = None

    def fields(self) -> Fields:
        said = {"confirmed": self.confirmed, "withdrawn_us": self.withdrawn_us}
        known = {key: value for key, value in said.items() if value is not None}
        return {"person": self.person_id, "reason": self.reason, **known}

    @classmethod
    def of(cls, fields: Fields) -> Self:
        """Read `fields()` back; raises BadBody."""
        _hold(fields, ("person", "reason"), ("confirmed",) if "confirmed" in fields else ("withdrawn_us",))
        return cls(
            _match(fields, "person", _ID),
            _one_of(fields, "reason", ERASURE_REASONS),
            _number(fields, "confirmed", 0) if "confirmed" in fields else None,
            _number(fields, "withdrawn_us", 0) if "withdrawn_us" in fields else None,
        )


@dataclass(frozen=True, slots=True)
class CodeRevoked:
    """An agent's code is good no more from from_us on; code_hash: 64 hex, digest("code", the code's signed body)."""

    KIND: ClassVar[NoticeKind] = "code.revoked"
    code_hash: str
    from_us: int
    reason: str

    def fields(self) -> Fields:
        return {"code_hash": self.code_hash, "from_us": self.from_us, "reason": self.reason}

    @classmethod
    def of(cls, fields: Fields) -> Self:
        """Read `fields()` back; raises BadBody."""
        _hold(fields, ("code_hash", "from_us", "reason"))
        return cls(
            _match(fields, "code_hash", _HEX64),
            _number(fields, "from_us", 0),
            _one_of(fields, "reason", CODE_REASONS),
        )


@dataclass(frozen=True, slots=True)
class ReportKnown:
    """An agent has reported a customer to central, and is protected from made_us until before until_us.

    subject: 64 hex, a hash of the customer under a key that central and the desk share; never of a bare telephone
    number, which could be found by trying all. A later word on the same report replaces this one; until_us = made_us
    takes it back. used_at, used_us: the node at which its code was last shown, and when the customer had arrived there
    by that node's clock; None as long as central has heard of no use elsewhere.
    """

    KIND: ClassVar[NoticeKind] = "report.known"
    report_id: str
    subject: str
    agent_id: str
    made_us: int
    until_us: int
    used_at: str | None = None
    used_us: int | None = None

    def fields(self) -> Fields:
        said: Fields = {
            "report": self.report_id,
            "subject": self.subject,
            "agent": self.agent_id,
            "made_us": self.made_us,
            "until_us": self.until_us,
        }
        return said if self.used_at is None else {**said, "used_at": self.used_at, "used_us": self.used_us}

    @classmethod
    def of(cls, fields: Fields) -> Self:
        """Read `fields()` back; raises BadBody."""
        used = ("used_at", "used_us") if "used_at" in fields else ()
        _hold(fields, ("report", "subject", "agent", "made_us", "until_us", *used))
        made_us = _number(fields, "made_us", 0)
        return cls(
            _match(fields, "report", _ID),
            _match(fields, "subject", _HEX64),
            _match(fields, "agent", _ID),
            made_us,
            _number(fields, "until_us", made_us),
            _match(fields, "used_at", _NODE) if used else None,
            _number(fields, "used_us", 0) if used else None,
        )


@dataclass(frozen=True, slots=True)
class AccountSet:
    """A kiosk account may sign in, or may not and is signed out at once; it replaces central's earlier word on it.

    role, office: as whom head office confirms it, None where it does not. at: (epoch, seq) of the record that tells of
    the account as it is confirmed: another record of it behind that ends the confirmation.
    """

    KIND: ClassVar[NoticeKind] = "account"
    account_id: str
    enabled: bool
    role: str | None = None
    office: str | None = None
    at: tuple[int, int] | None = None

    def fields(self) -> Fields:
        said: Fields = {"account": self.account_id, "enabled": int(self.enabled)}
        if self.at is not None:
            said |= {"role": self.role, "office": self.office, "epoch": self.at[0], "seq": self.at[1]}
        return said

    def answered(self) -> Fields:
        """What the answer to it says beside its number and hash."""
        return {"account": self.account_id}

    @classmethod
    def of(cls, fields: Fields) -> Self:
        """Read `fields()` back; raises BadBody."""
        confirms = ("role", "office", "epoch", "seq") if "role" in fields else ()
        _hold(fields, ("account", "enabled", *confirms))
        account_id = _match(fields, "account", _ID)
        if not confirms:
            return cls(account_id, _number(fields, "enabled", 0, 1) == 1)
        return cls(
            account_id,
            _number(fields, "enabled", 1, 1) == 1,
            _one_of(fields, "role", HEAD_OFFICE_ROLES),
            _match(fields, "office", _NODE),
            (_number(fields, "epoch", 1), _number(fields, "seq", 1)),
        )


@dataclass(frozen=True, slots=True)
class AccountWord:
    """Head office's own word on what an office asks for: said at central, under an account there.

    visit_id: of the `visit.corrected` whose hash `proposal` is, 64 hex. office: where the account belongs.
    """

    KIND: ClassVar[NoticeKind] = "account"
    account_id: str
    office: str
    visit_id: str
    proposal: str
    verdict: str

    def fields(self) -> Fields:
        return {**self.answered(), "office": self.office}

    def answered(self) -> Fields:
        """What the answer to it says beside its number and hash."""
        return {
            "account": self.account_id,
            "visit": self.visit_id,
            "proposal": self.proposal,
            "verdict": self.verdict,
        }

    @classmethod
    def of(cls, fields: Fields) -> Self:
        """Read `fields()` back; raises BadBody."""
        _hold(fields, ("account", "office", "visit", "proposal", "verdict"))
        return cls(
            _match(fields, "account", _ID),
            _match(fields, "office", _NODE),
            _match(fields, "visit", _NODE),
            _match(fields, "proposal", _HEX64),
            _one_of(fields, "verdict", VERDICTS),
        )


Order: TypeAlias = KeyRevoked | Policy | Erase | CodeRevoked | ReportKnown | AccountSet | AccountWord
"""The body of a notice under the notice key; kind `keys`, under the root key, carries `CentralKeys`."""

_ORDERS: Mapping[str, type[Order]] = {
    one.KIND: one for one in (KeyRevoked, Policy, Erase, CodeRevoked, ReportKnown, AccountSet)
}


def read_order(kind: str, fields: Fields) -> Order:
    """Read the body of a notice of any kind but `keys`; raises BadBody for what this version does not understand."""
    order = AccountWord if kind == AccountWord.KIND and "proposal" in fields else _ORDERS.get(kind)
    if order is None:
        raise BadBody(f"kind {kind[:64]!r} is not understood by this version")
    try:
        return order.of(fields)
    except BadBody as error:
        raise BadBody(f"{kind}: {error}") from error


def _hold(fields: Fields, needed: tuple[str, ...], allowed: tuple[str, ...] = ()) -> None:
    for key in needed:
        if key not in fields:
            raise BadBody(f"{key} is missing")
    if unknown := sorted(fields.keys() - {*needed, *allowed}):
        raise BadBody(f"{unknown[0][:64]!r} is not understood by this version")


def _match(fields: Fields, key: str, pattern: re.Pattern[str]) -> str:
    value = fields[key]
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise BadBody(f"{key} is not of the form {pattern.pattern}")
    return value


def _one_of(fields: Fields, key: str, allowed: tuple[str, ...]) -> str:
    value = fields[key]
    if value not in allowed:
        raise BadBody(f"{key} is none of {', '.join(allowed)}")
    return str(value)


def _number(fields: Fields, key: str, least: int, most: int = 2**53 - 1) -> int:
    value = fields[key]
    if type(value) is not int or not least <= value <= most:
        raise BadBody(f"{key} is not a whole number from {least} to {most}")
    return value
