"""A broker that a test starts, stops and kills."""

import contextlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sync import SyncError
from sync.transport.broker import HOST, Kind, check_free, mosquitto

START_TIMEOUT_S = 15.0


class BrokerProcess:
    """A broker on 127.0.0.1 in a process of its own."""

    def __init__(self, port: int, kind: Kind | None = None) -> None:
        """port: a free one. kind: which broker; None takes mosquitto where it is installed."""
        self.kind: Kind = kind or ("mosquitto" if mosquitto() else "amqtt")
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None
        # not a pipe: nobody empties it, and a full one stops the broker
        self._words = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as the broker may speak

    @property
    def url(self) -> str:
        return f"mqtt://{HOST}:{self.port}"

    def start(self) -> None:
        """Start it and wait until it listens; raises SyncError with its last words where it does not."""
        check_free(self.port)
        command = [sys.executable, "-m", "sync.transport.broker", "--port", str(self.port), "--kind", self.kind]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=self._words)
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s:
            if self._process.poll() is not None:
                self._words.seek(0)
                words = self._words.read().decode(errors="replace").strip().splitlines()
                raise SyncError(words[-1] if words else f"broker: {self.kind} ended at once")
            with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), timeout=1):
                return
            time.sleep(0.05)
        self.stop()
        raise SyncError(f"broker: {self.kind} does not listen on {HOST}:{self.port}")

    def stop(self) -> None:
        """End it, politely first."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


class ConfiguredBroker:
    """A mosquitto by a configuration file."""

    def __init__(self, config: Path, port: int) -> None:
        self._config, self._port = config, port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://{HOST}:{self._port}"

    def start(self) -> None:
        """Start it and wait until it listens; raises SyncError with its last words where it does not."""
        words = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as the broker may speak
        arguments = ["--port", str(self._port), "--config", str(self._config)]
        command = [sys.executable, "-m", "sync.transport.broker", *arguments]
        self._process = subprocess.Popen(command, stdout=words, stderr=words)
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection((HOST, self._port), timeout=1):
                return
            time.sleep(0.05)
        words.seek(0)
        self.stop()
        raise SyncError(words.read().decode(errors="replace").strip())

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None
