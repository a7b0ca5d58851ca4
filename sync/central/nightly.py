"""Central's night: everything it holds is verified anew. What was found lies in a file beside the store.

Not in the store: a damaged one is the last to ask whether it is damaged.
"""

import json
import logging
import random
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from sync import SyncError
from sync.central.watching import Watcher
from sync.storage.files import write_durably
from sync.verify.nightly import Checked, Nightly

log = logging.getLogger(__name__)

FILE_NAME = "last-check.json"
LOOK_S = 5.0


def last_check(directory: Path) -> Checked | None:
    """What the last night found, None where there is nothing that can be read."""
    try:
        return Checked(**json.loads((directory / FILE_NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


class CentralNight:
    """One thread that waits for the night, has everything verified by a process of its own, and keeps the answer."""

    def __init__(self, directory: Path) -> None:
        """directory: of a central, wherever its store lies."""
        self._directory = directory
        # central has no time zone of its own: its machine's nights
        self._nightly = Nightly(directory, None, random.Random(), last_check(directory))
        self._watcher = Watcher("nightly", log, self._look, LOOK_S, LOOK_S)

    def start(self) -> None:
        self._watcher.start()

    def stop(self) -> None:
        self._watcher.stop(5)
        self._nightly.stop()

    def _look(self) -> float:
        found = self._nightly.follow(datetime.now(UTC))
        if found is not None:
            self.keep(found)
        return LOOK_S

    def keep(self, found: Checked) -> None:
        """Say what was found, and write it down for the console."""
        took_s = (found.ended_us - found.started_us) / 1e6
        if found.ok:
            log.info("everything verified records=%d took_s=%.0f", found.checked, took_s)
        else:
            log.error("alarm code=%s detail=%s", found.alarm, found.damage)
        try:
            write_durably(self._directory / FILE_NAME, json.dumps(asdict(found)) + "\n", 0o600)
        except SyncError as error:  # a full disk; the log has said it
            log.error("the night's answer is not kept: %s", error)
