"""The demo's processes: started with their logs aside, watched, and ended with the demo however that ends."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from edge import EdgeError

HOST = "127.0.0.1"
READY_S = 60.0
STOP_S = 8.0
_PR_SET_PDEATHSIG = 1  # prctl(2)
_LIBC = ctypes.CDLL(None)


class Family:
    """Processes of which none outlives this one, not even where this one is killed."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._members: list[tuple[str, subprocess.Popen[bytes]]] = []

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start this Python with these arguments; what it prints goes to NAME.log."""
        with (self._logs / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "FIRSTVISIT_LOG": "INFO"},
                start_new_session=True,  # a terminal's Ctrl-C reaches us alone; we end the others in order
                preexec_fn=_end_with_parent,
            )
        self._members.append((name, process))
        return process

    def release(self, process: subprocess.Popen[bytes]) -> None:
        """Forget one that has ended as it was meant to."""
        self._members = [member for member in self._members if member[1] is not process]

    def check(self, *, ended: subprocess.Popen[bytes] | None = None) -> None:
        """Raise EdgeError where one has ended by itself, other than `ended`."""
        for name, process in self._members:
            if process is not ended and process.poll() is not None:
                raise EdgeError(f"{name} ended with exit code {process.returncode}: {self.last_line(name)}")

    def await_port(self, port: int) -> None:
        """Wait until somebody answers on a port; raises EdgeError where one ends first or nobody does."""
        deadline_s = time.monotonic() + READY_S
        while time.monotonic() < deadline_s:
            self.check()
            with socket.socket() as probe:
                if probe.connect_ex((HOST, port)) == 0:
                    return
            time.sleep(0.1)
        raise EdgeError(f"nothing answered on {HOST}:{port} within {READY_S:.0f} s")

    def last_line(self, name: str) -> str:
        lines = (self._logs / f"{name}.log").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def stop(self) -> None:
        """Ask all to end, the last started first, and wait for them; who does not is killed."""
        for _, process in reversed(self._members):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline_s = time.monotonic() + STOP_S
        for _, process in self._members:
            try:
                process.wait(max(0.0, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Requests:
    """How often somebody has asked the demo to end: Ctrl-C, SIGTERM, or a terminal that was closed."""

    def __init__(self) -> None:
        self.count = 0

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Count instead of dying, so that what was started is always ended."""

        def ask(_signal: int, _frame: FrameType | None) -> None:
            self.count += 1

        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def free_port(wanted: int) -> int:
    """The wanted port, or any where somebody has it."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do, or the last run's ghosts count
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise EdgeError(f"no free port on {HOST}")


def _end_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
