"""Starts `firstvisit` as a process under test: the product's own command line, with what a test may replace replaced.

`python -m tests.faults.launcher [--journal FILE] [--clock FILE] [--rate N] [--seed N] [--mutant NAME]… -- ARGUMENTS`
"""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults.journal import Journal
from tests.faults.mutants import MUTANTS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.launcher", description=__doc__)
    parser.add_argument("--journal", type=Path, help="write down what is attempted, shown and acknowledged")
    parser.add_argument("--clock", type=Path, help="the clock that `firstvisit run` believes (tests/faults/clocks.py)")
    parser.add_argument("--behind-s", type=float, help="set the whole process's clock back by so much")
    parser.add_argument(
        "--night-soon", action="store_true", help="verify everything at once, not minutes after a start"
    )
    parser.add_argument("--rate", type=float, help="feed so many visitors a second instead of cameras")
    parser.add_argument("--seed", type=int, default=0, help="of the visitors")
    parser.add_argument("--mutant", action="append", default=[], choices=sorted(MUTANTS))
    parser.add_argument("arguments", nargs="+")
    options = parser.parse_args()
    for name in options.mutant:
        MUTANTS[name]()
    if options.journal is not None:
        keep_journal(Journal(options.journal))
    if options.clock is not None:
        believe(options.clock)
    if options.behind_s is not None:
        set_back(options.behind_s)
    if options.night_soon:
        hasten()
    if options.rate is not None:
        feed(options.rate, options.seed)
    sys.argv = ["firstvisit", *options.arguments]
    from edge.cli import main as firstvisit

    firstvisit()


def keep_journal(journal: Journal) -> None:
    """Write down every record of this process before its commit and after its return, and every ack accepted."""
    from sync.node.append import Transaction
    from sync.node.ledger import Ledger

    put, transaction, accept_ack = Transaction._put, Ledger.transaction, Ledger.accept_ack

    def noted_put(self: Any, *arguments: Any, **options: Any) -> Any:
        record = put(self, *arguments, **options)
        self.__dict__.setdefault("noted", []).append(record)
        journal.attempted(record.epoch, record.seq, record.hash, record.kind)
        return record

    @contextmanager
    def noted_transaction(self: Any, *arguments: Any, **options: Any) -> Iterator[Any]:
        with transaction(self, *arguments, **options) as opened:
            yield opened
        for record in opened.__dict__.get("noted", ()):
            journal.shown(record.epoch, record.seq, record.hash)

    def noted_ack(self: Any, ack: Any, *arguments: Any, **options: Any) -> Any:
        taken = accept_ack(self, ack, *arguments, **options)
        if taken:
            journal.acked(ack.epoch, ack.upto_seq, ack.head_hash)
        return taken

    replaced: Any = Transaction
    replaced._put = noted_put  # whatever is appended, a named step of the clock too, comes by here
    replaced = Ledger
    replaced.transaction, replaced.accept_ack = noted_transaction, noted_ack


def believe(path: Path) -> None:
    """Let the node stamp with the clock of a file."""
    import edge.clock
    import edge.node
    import edge.watch
    from tests.faults.clocks import datetime_of, reading

    modules: Any = (edge.node, edge.watch)
    modules[0].Clock = partial(edge.clock.Clock, reading(path))
    for module in modules:
        module.datetime = datetime_of(path)


def set_back(by_s: float) -> None:
    """Let everything in this process that asks for the time get an earlier one."""
    true_ns = time.time_ns
    clock: Any = time
    clock.time_ns = lambda: true_ns() - int(by_s * 1e9)
    clock.time = lambda: clock.time_ns() / 1e9


def hasten() -> None:
    """A night that was missed is made up at once."""
    import sync.verify.nightly

    nightly: Any = sync.verify.nightly
    nightly.SOON_MINUTES = (0.0, 0.01)


def feed(rate_per_s: float, seed: int) -> None:
    """Let the node's cameras and networks be the feed."""
    import edge.node
    import edge.watch
    from tests.faults.feed import FeedPipeline, FeedWorker, pack

    node: Any = edge.node
    node._open_pack = lambda *_: pack()
    watch: Any = edge.watch
    watch.CameraWorker = partial(FeedWorker, rate_per_s=rate_per_s, seed=seed)
    watch.Pipeline = FeedPipeline


if __name__ == "__main__":
    main()
