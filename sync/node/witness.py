"""The node as a witness of central's log: it follows the checkpoints in acks, and signs the newest back."""

import sqlite3

from sync import SyncError
from sync.format.canonical import Fields
from sync.format.checkpoint import BadCheckpoint, origin_of
from sync.format.log_proof import LogHead, follows
from sync.format.messages import Ack
from sync.format.public_keys import CentralKeys
from sync.format.records import parse
from sync.node.ledger import Ledger

LOG_SILENCE_US = 3_600_000_000
"""How long, by its own clock, central may acknowledge without a word of its log; it should say one a minute."""


class LogFork(SyncError):
    """What central says of its log contradicts what it said before, or proves nothing; the text says which."""


class LogSilence:
    """Notices a central that goes on acknowledging and no longer says what its log is."""

    def __init__(self) -> None:
        self._since_us: int | None = None  # of the first ack without a checkpoint behind the last with one

    def heard(self, ack: Ack) -> bool:
        """Whether by this ack the silence has lasted too long; once each time it has."""
        if ack.checkpoint is not None:
            self._since_us = None
        elif self._since_us is None or ack.central_time_us < self._since_us:
            self._since_us = ack.central_time_us
        elif ack.central_time_us - self._since_us >= LOG_SILENCE_US:
            self._since_us = ack.central_time_us
            return True
        return False


def witness(ack: Ack, connection: sqlite3.Connection, keys: CentralKeys) -> LogHead | None:
    """Hold the checkpoint of an accepted ack against everything known here, and remember it.

    connection: in the transaction that accepts the ack; it comes but once. Returns what central's log is now, None
    where the ack carries no checkpoint. Raises LogFork, and remembers nothing: the ack itself is to be kept in the
    ledger, as evidence against central.
    """
    if ack.checkpoint is None:
        return None
    signed_back = _signed_back(connection, (ack.epoch, ack.upto_seq))
    try:
        head = ack.checkpoint.check(ack.head_hash, origin_of(keys.central_id), keys.keys["checkpoint"], signed_back)
    except BadCheckpoint as error:
        raise LogFork(f"ack of epoch {ack.epoch} seq {ack.upto_seq}: {error}") from error
    if why := follows(head, _newest(connection)):
        raise LogFork(f"ack of epoch {ack.epoch} seq {ack.upto_seq}: {why}")
    connection.execute(
        "INSERT OR REPLACE INTO log_head (one, size, root, epoch, upto_seq, ack_hash) VALUES (1, ?, ?, ?, ?, ?)",
        (head.size, head.root, ack.epoch, ack.upto_seq, ack.ack_hash),
    )
    return head


def log_fields(ledger: Ledger) -> Fields:
    """What `node.alive` says of central's log: `log` with the newest head verified here, nothing before the first."""
    found = newest(ledger)
    return {"log": found[0].fields()} if found else {}


def newest(ledger: Ledger) -> tuple[LogHead, tuple[int, int]] | None:
    """The newest head of central's log verified here, and the (epoch, seq) that its ack covered; None before it."""
    with ledger.snapshot():
        if not ledger.connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'log_head'").fetchone():
            return None  # a HOME that an older version ran last
        found = ledger.connection.execute("SELECT size, root, epoch, upto_seq FROM log_head").fetchone()
    return (LogHead(found[0], found[1]), (found[2], found[3])) if found else None


def _newest(connection: sqlite3.Connection) -> LogHead | None:
    found = connection.execute("SELECT size, root FROM log_head").fetchone()
    return LogHead(*found) if found else None


def _signed_back(connection: sqlite3.Connection, upto: tuple[int, int]) -> LogHead | None:
    """The newest head in an epoch up to a place: what central knows to be signed back once it acks that.

    Of earlier epochs central may hold records that this chain lost, or the other way round.
    """
    for body, signature in connection.execute(
        "SELECT body, signature FROM ledger WHERE kind = 'node.alive' AND epoch = ? AND seq <= ?"
        " AND instr(body, ?) ORDER BY seq DESC",
        (*upto, b'"log":'),
    ):
        if head := LogHead.of(parse(body, signature).fields.get("log")):
            return head
    return None
