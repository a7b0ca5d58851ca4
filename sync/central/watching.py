"""What central looks at now and then, each on a thread of its own: no trouble of any kind ends the looking."""

import logging
import threading
from collections.abc import Callable

from sync import SyncError


class Watcher:
    """Calls `look` again and again; what it raises is logged once, and it is called again."""

    def __init__(
        self, name: str, log: logging.Logger, look: Callable[[], float], retry_s: float, first_s: float = 0.0
    ) -> None:
        """name: of the thread, and in the log. look: returns how long to wait then; retry_s: how long after trouble."""
        self._name, self._log, self._look = name, log, look
        self._retry_s, self._first_s = retry_s, first_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, within_s: float = 0.0) -> None:
        """End soon; a look under way is waited for at most `within_s`."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(within_s)

    def _run(self) -> None:
        trouble: str | None = None
        wait_s = self._first_s
        while not self._stopping.wait(wait_s):
            try:
                wait_s = self._look()
                trouble = None
            except Exception as error:  # noqa: BLE001  # an unforeseen one must not be the last look either
                wait_s = self._retry_s
                if str(error) != trouble:
                    trouble = str(error)
                    foreseen = isinstance(error, SyncError | OSError)
                    self._log.error("%s in trouble error=%s", self._name, error, exc_info=not foreseen)
