"""Failed sign-ins slow the next ones down; nothing ever locks anybody out for good."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sync.web.tables import locked

FREE_FAILURES = 3  # of one account from one place; a device gets three times as many, people share it
FIRST_WAIT_S = 2.0
LONGEST_WAIT_S = 900.0  # 96 guesses a day: a PIN of four digits lasts 50 days on average, and the tablet is in sight
FORGOTTEN_AFTER_S = 3600.0


@dataclass(frozen=True, slots=True)
class Wait:
    """Too many failures; seconds: until the next attempt is looked at."""

    seconds: float


class Backoff:
    """Failures counted per account and per device."""

    def __init__(self, db_path: Path, now_s: Callable[[], float] = time.time) -> None:
        self._path = db_path
        self._now_s = now_s

    def begin(self, account: str, device: str) -> Wait | None:
        """Count an attempt as failed before it is judged, so that guesses made at once cannot outrun the count."""
        now_s = self._now_s()
        counts: dict[str, int] = {}
        wait_s = 0.0
        with locked(self._path) as db:
            db.execute("DELETE FROM sign_in_failures WHERE last_s < ?", (now_s - FORGOTTEN_AFTER_S,))
            for subject, free in ((account, FREE_FAILURES), (device, 3 * FREE_FAILURES)):
                found = db.execute(
                    "SELECT failures, last_s FROM sign_in_failures WHERE subject = ?", (subject,)
                ).fetchone()
                counts[subject] = found[0] if found else 0
                if found:
                    wait_s = max(wait_s, found[1] + _wait_s(found[0] - free) - now_s)
            if wait_s > 0:
                return Wait(wait_s)
            for subject, failures in counts.items():
                db.execute(
                    "INSERT OR REPLACE INTO sign_in_failures (subject, failures, last_s) VALUES (?, ?, ?)",
                    (subject, failures + 1, now_s),
                )
        return None

    def succeeded(self, account: str, device: str) -> None:
        """Forget the account's failures here, and this attempt of the device's, not what others failed on it."""
        with locked(self._path) as db:
            db.execute("DELETE FROM sign_in_failures WHERE subject = ?", (account,))
            db.execute("UPDATE sign_in_failures SET failures = failures - 1 WHERE subject = ?", (device,))


def _wait_s(failures_beyond: int) -> float:
    if failures_beyond < 0:
        return 0.0
    return min(FIRST_WAIT_S * 2.0 ** min(failures_beyond, 20), LONGEST_WAIT_S)
