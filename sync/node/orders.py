"""What the notices applied have left standing at a node: keys and codes revoked, reports known, people to forget.

Each table is a function of the notices applied, whatever the order they were applied in: of two words on the same
thing the one of the higher nseq stands, and a revoked key is revoked from the earliest place ever named. So a notice
that was understood only after an update leaves things as if it had been understood at once.
"""

import sqlite3
from dataclasses import dataclass

import sqlite_utils

from sync.format.notices import AccountSet, AccountWord, CodeRevoked, Erase, KeyRevoked, Order, Policy, ReportKnown
from sync.web.accounts import set_enabled


def create_tables(db: sqlite_utils.Database) -> None:
    """Make the tables of standing orders; for a migration."""
    db.table("revoked_keys").create(
        {"key_id": str, "epoch": int, "seq": int, "reason": str},
        pk="key_id",
        not_null={"epoch", "seq", "reason"},
    )
    db.table("erasures").create(
        {"nseq": int, "person_id": str, "reason": str, "done_us": int},
        pk="nseq",
        not_null={"person_id", "reason"},
    )
    db.table("revoked_codes").create(
        {"code_hash": str, "from_us": int, "reason": str, "nseq": int},
        pk="code_hash",
        not_null={"from_us", "reason", "nseq"},
    )
    db.table("known_reports").create(
        {"report_id": str, "subject": str, "agent_id": str, "made_us": int, "until_us": int, "nseq": int},
        pk="report_id",
        not_null={"subject", "agent_id", "made_us", "until_us", "nseq"},
    )
    db.table("known_reports").create_index(["subject"])
    db.table("account_orders").create(
        {"account_id": str, "enabled": int, "nseq": int}, pk="account_id", not_null={"enabled", "nseq"}
    )


def add_uses(db: sqlite_utils.Database) -> None:
    """Let known reports say where else their code was shown; for a migration."""
    db.table("known_reports").add_column("used_at", str)
    db.table("known_reports").add_column("used_us", int)


def create_confirmations(db: sqlite_utils.Database) -> None:
    """Make the table of who is forgotten everywhere; for a migration."""
    db.table("erasures_confirmed").create(
        {"person_id": str, "nodes": int, "nseq": int}, pk="person_id", not_null={"nodes", "nseq"}
    )


def add_withdrawals(db: sqlite_utils.Database) -> None:
    """Let an erasure say when the consent was withdrawn that it passes on; for a migration."""
    db.table("erasures").add_column("withdrawn_us", int)


@dataclass(frozen=True, slots=True)
class Erasure:
    """Somebody central wants forgotten; nseq: of the notice that said so; withdrawn_us: as `Erase` has it."""

    nseq: int
    person_id: str
    reason: str
    withdrawn_us: int | None = None


def carry_out(connection: sqlite3.Connection, nseq: int, order: Order) -> None:
    """Let an order stand, in the transaction that answers it.

    An erasure is only noted here, for `erasures`: whoever holds the keys of people carries it out. A policy needs no
    table: the newest notice says it; nor does a word on a proposal: its answer does.
    """
    match order:
        case Policy() | AccountWord():
            pass
        case KeyRevoked():
            connection.execute(
                "INSERT INTO revoked_keys (key_id, epoch, seq, reason) VALUES (?, ?, ?, ?) ON CONFLICT (key_id) DO"
                " UPDATE SET epoch = excluded.epoch, seq = excluded.seq, reason = excluded.reason"
                " WHERE (excluded.epoch, excluded.seq) < (epoch, seq)",
                (order.key_id, order.epoch, order.seq, order.reason),
            )
        case Erase(confirmed=int()):
            connection.execute(
                "INSERT INTO erasures_confirmed (person_id, nodes, nseq) VALUES (?, ?, ?) ON CONFLICT (person_id) DO"
                " UPDATE SET nodes = excluded.nodes, nseq = excluded.nseq WHERE excluded.nseq > nseq",
                (order.person_id, order.confirmed, nseq),
            )
        case Erase():
            connection.execute(
                "INSERT INTO erasures (nseq, person_id, reason, withdrawn_us) VALUES (?, ?, ?, ?)",
                (nseq, order.person_id, order.reason, order.withdrawn_us),
            )
        case CodeRevoked():
            connection.execute(
                "INSERT INTO revoked_codes (code_hash, from_us, reason, nseq) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (code_hash) DO UPDATE SET from_us = excluded.from_us, reason = excluded.reason,"
                " nseq = excluded.nseq WHERE excluded.nseq > nseq",
                (order.code_hash, order.from_us, order.reason, nseq),
            )
        case ReportKnown():
            connection.execute(
                "INSERT INTO known_reports (report_id, subject, agent_id, made_us, until_us, used_at, used_us, nseq)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (report_id) DO UPDATE SET subject = excluded.subject,"
                " agent_id = excluded.agent_id, made_us = excluded.made_us, until_us = excluded.until_us,"
                " used_at = excluded.used_at, used_us = excluded.used_us, nseq = excluded.nseq"
                " WHERE excluded.nseq > nseq",
                (
                    order.report_id,
                    order.subject,
                    order.agent_id,
                    order.made_us,
                    order.until_us,
                    order.used_at,
                    order.used_us,
                    nseq,
                ),
            )
        case AccountSet():
            stands = connection.execute(
                "INSERT INTO account_orders (account_id, enabled, nseq) VALUES (?, ?, ?) ON CONFLICT (account_id) DO"
                " UPDATE SET enabled = excluded.enabled, nseq = excluded.nseq WHERE excluded.nseq > nseq",
                (order.account_id, int(order.enabled), nseq),
            ).rowcount
            if stands:
                set_enabled(connection, order.account_id, order.enabled)


def revoked_keys(connection: sqlite3.Connection) -> list[KeyRevoked]:
    """Every key revoked, from the earliest place named."""
    rows = connection.execute("SELECT key_id, epoch, seq, reason FROM revoked_keys ORDER BY key_id")
    return [KeyRevoked(*row) for row in rows]


def erasures(connection: sqlite3.Connection) -> list[Erasure]:
    """Those not carried out yet, in the order central asked."""
    rows = connection.execute(
        "SELECT nseq, person_id, reason, withdrawn_us FROM erasures WHERE done_us IS NULL ORDER BY nseq"
    )
    return [Erasure(*row) for row in rows]


def erased(connection: sqlite3.Connection, nseq: int, now_us: int) -> None:
    """Note that an erasure is carried out, in the transaction that forgets."""
    connection.execute("UPDATE erasures SET done_us = ? WHERE nseq = ? AND done_us IS NULL", (now_us, nseq))


def confirmed(connection: sqlite3.Connection, person_id: str) -> int | None:
    """On how many other nodes somebody forgotten here was known, all of which have forgotten them; None: not yet."""
    found = connection.execute("SELECT nodes FROM erasures_confirmed WHERE person_id = ?", (person_id,)).fetchone()
    return int(found[0]) if found else None


def code_revoked(connection: sqlite3.Connection, code_hash: str) -> CodeRevoked | None:
    """The revocation of a code, or None."""
    found = connection.execute(
        "SELECT code_hash, from_us, reason FROM revoked_codes WHERE code_hash = ?", (code_hash,)
    ).fetchone()
    return CodeRevoked(*found) if found else None


_REPORT = "SELECT report_id, subject, agent_id, made_us, until_us, used_at, used_us FROM known_reports"


def known_report(connection: sqlite3.Connection, report_id: str) -> ReportKnown | None:
    """What central has said of a report, None where it has not been heard of here."""
    found = connection.execute(f"{_REPORT} WHERE report_id = ?", (report_id,)).fetchone()
    return ReportKnown(*found) if found else None


def known_reports(connection: sqlite3.Connection, subject: str, now_us: int) -> list[ReportKnown]:
    """The reports of a customer that protect their agents now, the earliest first."""
    rows = connection.execute(
        f"{_REPORT} WHERE subject = ? AND made_us <= ? AND until_us > ? ORDER BY made_us, report_id",
        (subject, now_us, now_us),
    )
    return [ReportKnown(*row) for row in rows]
