"""Failed sign-ins slow the next ones down; nothing ever locks anybody out for good."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sync.web.tables import locked

FREE_FAILURES = 3  # of one account from one device; a device gets three times as many, people share it
FIRST_WAIT_S = 2.0
LONGEST_WAIT_S = 900.0  # 96 guesses a day: a PIN of four digits lasts 50 days on average, and the tablet is in sight
LONGEST_SHARED_WAIT_S = 30.0  # what others can make somebody wait: strangers an owner, a tablet its next user
FORGOTTEN_AFTER_S = 86400.0  # sooner, and whoever pauses in between guesses oftener than who goes on


@dataclass(frozen=True, slots=True)
class Wait:
    """Too many failures; seconds: until the next attempt is looked at."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Attempt:
    """Somebody at a device who wants into an account; registered: a tablet of ours, whose failures are its own."""

    account: str
    device: str
    registered: bool

    @property
    def here(self) -> str:
        return f"account {self.account} from {self.device}"

    @property
    def limits(self) -> tuple[tuple[str, int, float], ...]:
        """What is counted, how many failures are free, and the longest wait in seconds."""
        here = (self.here, FREE_FAILURES, LONGEST_WAIT_S)
        if self.registered:
            # All at the desk share its tablet: whoever taps nonsense there must not close the desk to the others.
            return here, (self.device, 3 * FREE_FAILURES, LONGEST_SHARED_WAIT_S)
        own = (here, (self.device, 3 * FREE_FAILURES, LONGEST_WAIT_S))
        # Strangers slow down whoever else comes as a stranger, the owner too: hence not for long.
        return (*own, (f"account {self.account}", FREE_FAILURES, LONGEST_SHARED_WAIT_S))


class Backoff:
    """Failures counted per account and device, per device, and per account over all that are not registered."""

    def __init__(self, db_path: Path, now_s: Callable[[], float] = time.time) -> None:
        self._path = db_path
        self._now_s = now_s

    def begin(self, attempt: Attempt) -> Wait | None:
        """Count an attempt as failed before it is judged, so that guesses made at once cannot outrun the count."""
        now_s = self._now_s()
        counts: dict[str, int] = {}
        wait_s = 0.0
        with locked(self._path) as db:
            db.execute("DELETE FROM sign_in_failures WHERE last_s < ?", (now_s - FORGOTTEN_AFTER_S,))
            # A clock that was set back must not make anybody wait for the time it has lost.
            db.execute("UPDATE sign_in_failures SET last_s = ? WHERE last_s > ?", (now_s, now_s))
            for subject, free, longest_s in attempt.limits:
                found = db.execute(
                    "SELECT failures, last_s FROM sign_in_failures WHERE subject = ?", (subject,)
                ).fetchone()
                counts[subject] = found[0] if found else 0
                if found:
                    wait_s = max(wait_s, found[1] + _wait_s(found[0] - free, longest_s) - now_s)
            if wait_s > 0:
                return Wait(wait_s)
            for subject, failures in counts.items():
                db.execute(
                    "INSERT OR REPLACE INTO sign_in_failures (subject, failures, last_s) VALUES (?, ?, ?)",
                    (subject, failures + 1, now_s),
                )
        return None

    def succeeded(self, attempt: Attempt) -> None:
        """Forget the account's failures, on the device too, and not what others failed there."""
        with locked(self._path) as db:
            found = db.execute("SELECT failures FROM sign_in_failures WHERE subject = ?", (attempt.here,)).fetchone()
            db.execute(
                "UPDATE sign_in_failures SET failures = max(0, failures - ?) WHERE subject = ?",
                (found[0] if found else 1, attempt.device),
            )
            for subject, _, _ in attempt.limits:
                if subject != attempt.device:
                    db.execute("DELETE FROM sign_in_failures WHERE subject = ?", (subject,))


def _wait_s(failures_beyond: int, longest_s: float) -> float:
    if failures_beyond < 0:
        return 0.0
    return min(FIRST_WAIT_S * 2.0 ** min(failures_beyond, 20), longest_s)
