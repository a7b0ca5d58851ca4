"""Where a chain cannot go on as it was: a restored backup, a copied machine, a fork, new keys. A new epoch begins."""

from edge.clock import Clock
from edge.home import Home
from edge.keys.custody import Custody
from edge.keys.machine import elsewhere, read_traits, remember
from sync.audit.origin import enrolments_of
from sync.format.canonical import Fields
from sync.format.public_keys import Enrolment
from sync.format.records import Record, Role
from sync.format.signing import PublicKey
from sync.node.append import EpochReason, Transaction, Writer
from sync.node.ledger import Ledger
from sync.storage.files import read_text, write_durably

ROLES: tuple[Role, ...] = ("node", "desk")


def begin_epoch(home: Home, reason: EpochReason, clock: Clock, epoch: int | None = None) -> Record:
    """Begin a new epoch of HOME's chain under the keys in force and return its first record, durable.

    epoch: its number where the next one is taken. Raises SyncError or EdgeError; nothing is written then.
    """
    ledger = home.open_ledger("node", clock)
    try:
        with ledger.transaction() as transaction:
            return start_epoch(home, ledger, transaction, reason, epoch)
    finally:
        ledger.close()


def start_epoch(
    home: Home, ledger: Ledger, transaction: Transaction, reason: EpochReason, epoch: int | None = None
) -> Record:
    """The same within a transaction of the caller's, who writes other tables with it or not at all.

    From then on HOME belongs on this machine.
    """
    remember(transaction.connection, read_traits())
    keys = {role: str(key) for role, key in keys_in_force(home, ledger).items()}
    fields: Fields = {"site": home.settings().site.id, "keys": keys}
    return transaction.begin_epoch(reason, fields, epoch)


def continue_here(home: Home, ledger: Ledger) -> Record | None:
    """Begin a new epoch where HOME was last run on another machine, which may be running still; remember this one.

    Returns the epoch's first record, None where HOME is where it was. Raises SyncError.
    """
    with ledger.transaction() as transaction:
        here = read_traits()
        if elsewhere(transaction.connection, here):
            return start_epoch(home, ledger, transaction, "clone")
        remember(transaction.connection, here)
        return None


def moved(ledger: Ledger) -> bool:
    """Whether HOME was last run on another machine, and no node has begun an epoch on this one; closes the ledger."""
    try:
        return elsewhere(ledger.connection, read_traits())
    finally:
        ledger.close()


def keys_in_force(home: Home, ledger: Ledger) -> dict[Role, PublicKey]:
    """The public keys of both roles: the chain names them, and node.pub where an old chain does not."""
    enrolled = max((Enrolment.parse_text(text) for text in enrolments_of(home.path)), key=lambda one: one.epoch)
    return {role: ledger.key_in_force(role) or key for role, key in enrolled.keys.items()}


def rekey(home: Home, clock: Clock, epoch: int | None, custody: Custody | None) -> Record:
    """Make new keys, and begin a new epoch under them: the old ones are lost, revoked or in the wrong hands.

    HOME/node.pub becomes the enrolment of the new epoch, and the one it was before `node-N.pub`: central must enrol the
    new one before it takes anything. Nobody else may write to HOME meanwhile. custody: where the keys are to lie; as
    before where None. Cut off at any step, it is run again. Raises SyncError or EdgeError.
    """
    ledger = home.open_ledger()
    try:
        if (unfinished := _in_waiting(home, ledger)) is not None:
            _take_over(home, unfinished)
            return unfinished
    finally:
        ledger.close()
    held = {role: home.keys.custody(role) for role in ROLES}
    for role in ROLES:
        waiting = f"{role}.next"
        if home.keys.custody(waiting) is not None:
            home.keys.discard(waiting)
        home.keys.create(waiting, custody or held[role] or "file")
        if held[role] is not None:
            home.keys.hand_over(waiting, like=role)
    node, desk = (home.keys.load(f"{role}.next") for role in ROLES)
    settings = home.settings()
    ledger = Ledger(home.database, Writer(settings.node.id, "node", node, clock.stamp))
    try:
        with ledger.transaction(new_keys=True) as transaction:
            fields: Fields = {
                "site": settings.site.id,
                "keys": {"node": str(node.public), "desk": str(desk.public)},
            }
            remember(transaction.connection, read_traits())
            record = transaction.begin_epoch("rekey", fields, epoch)
    finally:
        ledger.close()
    _take_over(home, record)
    return record


def _in_waiting(home: Home, ledger: Ledger) -> Record | None:
    """The first record of an epoch whose keys have not taken their places yet."""
    if home.keys.custody("node.next") is None:
        return None
    started = ledger.last_of("epoch.started")
    if started is None or started.fields["reason"] != "rekey":
        return None
    return started if home.keys.load("node.next").public == ledger.key_in_force("node") else None


def _take_over(home: Home, started: Record) -> None:
    """Bring node.pub and the keys up to an epoch that has begun under keys in waiting; the node's key comes last."""
    node = home.keys.load("node.next")
    enrolment = Enrolment(
        started.node_id,
        started.fields["site"],
        node.public,
        PublicKey.parse(started.fields["keys"]["desk"]),
        started.epoch,
    )
    before = Enrolment.parse_text(text := read_text(home.node_pub, "node key file"))
    if before != enrolment:
        write_durably(home.path / f"node-{before.epoch}.pub", text)
        write_durably(home.node_pub, enrolment.text(node))
    if home.keys.custody("desk.next") is not None:
        home.keys.replace("desk", "desk.next")
    home.keys.replace("node", "node.next")
