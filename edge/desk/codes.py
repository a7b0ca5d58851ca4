"""A code shown at the desk: whose it is, whether it is good here and now, and for whom; all of it offline."""

import hmac
import sqlite3
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

import sqlite_utils
from sqlite_utils.migrations import Migrations

from edge import EdgeError
from edge.desk.desk_secrets import desk_secret
from edge.people.phones import Phone
from sync.format.canonical import Fields
from sync.format.codes import BadCode, Code, SignedCode, is_ours
from sync.format.signing import commitment
from sync.node.trust import Trust
from sync.storage.key_files import CENTRAL_FILE

CODES = Migrations("codes")
CodeKind: TypeAlias = Literal["report", "agent", "site", "foreign"]
Refusal: TypeAlias = Literal[
    "torn", "forged", "old_key", "no_central", "revoked", "other_site", "not_yet", "expired", "other_phone"
]
MAX_TEXT = 2048  # letters; more than any QR code that is shown to a desk holds
_BOUND = b"firstvisit/v1/report-phone\0"
AHEAD_US = 300 * 1_000_000  # how far central's clock may be before this one: a report is shown minutes after it is made


@CODES()
def code_uses(db: sqlite_utils.Database) -> None:
    """The codes of registrations, by which one shown again is found; person_id: whose face the visit was of."""
    db.table("code_uses").create(
        {"visit_id": str, "code": str, "person_id": str, "at_us": int},
        pk=("visit_id", "code"),
        not_null={"at_us"},
    )
    db.table("code_uses").create_index(["code", "at_us"])


@CODES()
def bound_phones(db: sqlite_utils.Database) -> None:
    """phone: of a report, 32 bytes by which its number is known again while the code is shown; never without."""
    db.table("code_uses").add_column("phone", bytes)


class CodeRefused(EdgeError):
    """A code that is not taken; reason: which way. code_hash: 64 hex digits, all that is kept of it."""

    def __init__(self, reason: Refusal, code_hash: str) -> None:
        super().__init__(f"code {code_hash[:16]}: {reason}")
        self.reason = reason
        self.code_hash = code_hash


@dataclass(frozen=True, slots=True)
class ShownCode:
    """A code that is good here and now. code_hash: 64 hex digits; of a foreign system's, nothing else is known.

    made_us, until_us: when central made it, and until when it is good. used_at, used_us: of a report, at which other
    node it was last shown, as far as central has told, and when the customer had arrived there. secret: of a report,
    what only whoever holds the code can know; it is in no record and no table.
    """

    kind: CodeKind
    code_hash: str
    report_id: str | None = None
    agent_id: str | None = None
    agency_id: str | None = None
    made_us: int | None = None
    until_us: int | None = None
    used_at: str | None = None
    used_us: int | None = None
    secret: bytes = field(default=b"", repr=False)

    def bound(self, phone: Phone) -> bytes | None:
        """32 bytes by which a report knows its number again, None where there is no secret to keep them under.

        They outlive the phone (restricted.py, retention.py): under the code's own salt and fit, which are kept nowhere
        here, nobody can try numbers against them unless the customer's code is shown again.
        """
        return hmac.digest(self.secret, _BOUND + phone.e164.encode(), "sha256") if self.secret else None

    def fields(self) -> Fields:
        """What a check-in records of it."""
        said = {
            "code": self.code_hash,
            "code_kind": self.kind,
            "report": self.report_id,
            "agent": self.agent_id,
            "agency": self.agency_id,
            "report_us": self.made_us if self.kind == "report" else None,
            "used_at": self.used_at,
            "used_us": self.used_us,
        }
        return {name: value for name, value in said.items() if value is not None}


class CodeReader:
    """Judges codes at one site, by what its HOME knows of central."""

    def __init__(self, home: Path, keys_database: Path, site_id: str) -> None:
        self._home = home
        self._keys_database = keys_database
        self._site_id = site_id

    def read(self, text: str, phone: Phone | None, now_us: int) -> ShownCode:
        """Judge what was scanned; phone: of whoever shows it, None where it is not known (yet).

        Raises CodeRefused. Whether another number has shown a report here before is `hold_same_phone`'s to see.
        """
        if not is_ours(text):
            return ShownCode("foreign", self._hash(text))
        try:
            signed = SignedCode.parse(text)
        except BadCode as error:
            raise CodeRefused("torn", self._hash(text)) from error
        code = signed.code
        shown = ShownCode(
            code.kind, code.hash, code.report_id, code.agent_id, code.agency_id, code.made_us, code.until_us
        )
        if not (self._home / CENTRAL_FILE).is_file():
            raise CodeRefused("no_central", code.hash)
        trust = Trust(self._home)
        if (fault := _untrusted(trust, signed) or self._fault(trust, code, now_us)) is not None:
            raise CodeRefused(fault, code.hash)
        if code.kind != "report":
            return shown
        if phone is not None and not code.fits(phone.reported):
            raise CodeRefused("other_phone", code.hash)
        shown = replace(shown, secret=code.body())
        known = trust.known_report(code.report_id or "")
        return shown if known is None else replace(shown, used_at=known.used_at, used_us=known.used_us)

    def _fault(self, trust: Trust, code: Code, now_us: int) -> Refusal | None:
        revoked = trust.code_revoked(code.hash)
        if revoked is not None and revoked.from_us <= now_us:
            return "revoked"
        if code.sites and self._site_id not in code.sites:
            return "other_site"
        if code.made_us > now_us + AHEAD_US:
            return "not_yet"
        return "expired" if code.until_us <= now_us else None

    def _hash(self, text: str) -> str:
        """Of what may be anything, a telephone number too: a commitment whose salt stays in keys.db."""
        return commitment(desk_secret(self._keys_database, "foreign_code"), text.strip().encode()).hex()


def _untrusted(trust: Trust, signed: SignedCode) -> Refusal | None:
    in_force, *earlier = trust.every_keys()
    if signed.signed_by(in_force.keys["code"]):
        return None
    return "old_key" if any(signed.signed_by(keys.keys["code"]) for keys in earlier) else "forged"


def hold_same_phone(connection: sqlite3.Connection, shown: ShownCode, phone: Phone | None, visit_id: str) -> None:
    """Refuse a report that another number has been registered with here, inside the transaction that registers.

    The digits reported are only seven of a number's eleven: two customers may share them. A number that is restricted
    or erased since still holds its report: by what is kept under the code's own secret; where an older version has kept
    nothing, such a report is closed. The visit's own phone must be bound before. Raises CodeRefused.
    """
    if shown.kind != "report":
        return
    uses = connection.execute(
        "SELECT code_uses.phone, given.person_id, own.person_id FROM code_uses"
        " LEFT JOIN contact_visits AS given ON given.visit_id = code_uses.visit_id"
        " LEFT JOIN contact_visits AS own ON own.visit_id = ? WHERE code = ?",
        (visit_id, shown.code_hash),
    ).fetchall()
    bound = None if phone is None else shown.bound(phone)
    for kept, given, own in uses:
        same = hmac.compare_digest(kept, bound) if kept and bound else given is not None and given == own
        if not same:
            raise CodeRefused("other_phone", shown.code_hash)


def note_use(
    connection: sqlite3.Connection,
    shown: ShownCode,
    phone: Phone | None,
    visit_id: str,
    person_id: str | None,
    now_us: int,
) -> None:
    """Remember that a visit was registered with a code, inside the transaction that registers it."""
    bound = shown.bound(phone) if phone is not None and shown.kind == "report" else None
    connection.execute(
        "INSERT INTO code_uses (visit_id, code, person_id, at_us, phone) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (visit_id, shown.code_hash, person_id, now_us, bound),
    )


def used_by_another(connection: sqlite3.Connection, shown: ShownCode, person_id: str) -> tuple[str, int] | None:
    """The first visit, and when it was registered, at which another face came with the same code."""
    found = connection.execute(
        "SELECT visit_id, at_us FROM code_uses WHERE code = ? AND person_id <> ? ORDER BY at_us LIMIT 1",
        (shown.code_hash, person_id),
    ).fetchone()
    return (found[0], found[1]) if found else None


def forget_use(connection: sqlite3.Connection, visit_id: str) -> None:
    """A registration was taken back: what was shown with it counts as not shown."""
    connection.execute("DELETE FROM code_uses WHERE visit_id = ?", (visit_id,))
