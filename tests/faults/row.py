"""One row of `make faults`: a scenario or one of its mutants, run in a process of its own."""

import logging
import os
import random
import shutil
import time
import traceback
from pathlib import Path

from tests.faults.scenario import Result, Work
from tests.faults.scenarios import SCENARIOS
from tests.faults.site import Failed

WIDTH = 44


def row(number: int, mutant: str | None, folder: Path, cut: bool, seed: int) -> tuple[str, bool]:
    """Run one scenario in this process; returns its row and whether all is well."""
    scenario = next(one for one in SCENARIOS if one.number == number)
    root = folder / f"{number}{'-' + mutant if mutant else ''}"
    root.mkdir()
    logging.disable()  # what the product says of damage that is meant
    began_s = time.monotonic()
    try:
        result = scenario.run(Work(root, cut, random.Random(seed + number), mutant))
    except Failed as failed:
        result = Result("", [str(failed)])
    except Exception as error:  # noqa: BLE001  # a row says what happened, the others run on
        (root / "trace").write_text(traceback.format_exc())
        result = Result("", [f"{type(error).__name__}: {error} (see {root}/trace)"])
    took = f"{time.monotonic() - began_s:6.1f} s"
    if mutant is not None:
        caught = any(scenario.mutants[mutant] in problem for problem in result.problems)
        why = next((problem for problem in result.problems if scenario.mutants[mutant] in problem), None)
        said = f"caught: {why}" if caught else f"NOT CAUGHT {'; '.join(result.problems[:3]) or 'nothing noticed'}"
        return f"     {'mutant ' + mutant:<{WIDTH}} {took}  {said}", caught
    good = not result.problems
    if good and not os.environ.get("FIRSTVISIT_KEEP"):
        shutil.rmtree(root, ignore_errors=True)
    said = result.figures if good else "; ".join([*result.problems[:5], result.figures])
    return f"{number:>2}  {'ok  ' if good else 'FAIL'} {scenario.title:<{WIDTH - 4}} {took}  {said}", good
