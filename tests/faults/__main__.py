"""`make faults`: the scenarios against real processes, one row each with its figures; exit 1 where anything failed."""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path

from tests.faults.row import row
from tests.faults.scenario import Scenario
from tests.faults.scenarios import SCENARIOS

BESIDE = 2  # scenarios at once, where none measures latencies: they mostly wait
BESIDE_CUT = 3  # in the cut, which mostly starts processes and waits for them


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--cut", action="store_true", help="the shorter cut of it, for every change")
    parser.add_argument("--mutants", action="store_true", help="also run each mutant and demand that it is noticed")
    parser.add_argument("--only", type=int, action="append", help="scenarios by number")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of everything chosen by chance")
    options = parser.parse_args()
    chosen = [one for one in SCENARIOS if options.only is None or one.number in options.only]
    folder = Path(tempfile.mkdtemp(prefix="firstvisit-faults-"))
    began_s, failed = time.monotonic(), 0
    print(f"seed {options.seed}, {len(chosen)} scenarios, work in {folder}", flush=True)
    context = get_context("spawn")
    for group in _groups(chosen):
        at_once = 1 if group[0].alone else BESIDE_CUT if options.cut else BESIDE
        with ProcessPoolExecutor(at_once, mp_context=context, max_tasks_per_child=1) as pool:
            running: set[Future[tuple[str, bool]]] = set()
            for one in group:
                running.add(pool.submit(row, one.number, None, folder, options.cut, options.seed))
                if options.mutants:
                    for name in one.mutants:
                        running.add(pool.submit(row, one.number, name, folder, options.cut, options.seed))
            while running:
                done, running = wait(running, return_when="FIRST_COMPLETED")
                for future in done:
                    line, good = future.result()
                    failed += not good
                    print(line, flush=True)
    print(f"{'all good' if not failed else f'{failed} FAILED'} in {time.monotonic() - began_s:.0f} s", flush=True)
    if not failed:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if failed else 0


def _groups(chosen: list[Scenario]) -> Iterator[list[Scenario]]:
    """Those that may run side by side, then each of the others by itself."""
    if beside := [one for one in chosen if not one.alone]:
        yield beside
    for one in chosen:
        if one.alone:
            yield [one]


if __name__ == "__main__":
    sys.exit(main())
