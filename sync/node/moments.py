"""Where in a long chain a moment lies, without reading it all."""

from sync.node.ledger import Ledger


def place_before(ledger: Ledger, moment_us: int) -> tuple[int, int]:
    """(epoch, seq) of the newest record stamped before a moment, by halving the newest epoch; (0, 0): before it all.

    Where the wall clock was set back there are several such places; any of them will do.
    """
    head = ledger.head()
    if head is None:
        return (0, 0)
    low, high = 0, head.seq + 1  # what is at `low` is stamped before the moment, what is at `high` is not
    while high - low > 1:
        middle = (low + high) // 2
        record = ledger.record(head.epoch, middle)
        if record is None or record.stamp.wall_us < moment_us:  # what has been purged is older than what is left
            low = middle
        else:
            high = middle
    return (head.epoch, low) if low else (0, 0)
