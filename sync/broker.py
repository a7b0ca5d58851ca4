"""A broker for one machine: mosquitto where it is installed, else amqtt out of PyPI. For the demo and the tests.

`python -m sync.broker --port N` runs one on 127.0.0.1 until SIGTERM. It lets anybody in: nobody else can reach it.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Literal, TypeAlias

from sync import SyncError

Kind: TypeAlias = Literal["mosquitto", "amqtt"]

HOST = "127.0.0.1"
START_TIMEOUT_S = 15.0


def mosquitto() -> str | None:
    """The path of mosquitto, or None; Debian puts it where a user's PATH does not look."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


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
        _check_free(self.port)
        command = [sys.executable, "-m", "sync.broker", "--port", str(self.port), "--kind", self.kind]
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


def run_mosquitto(port: int) -> None:
    """Become mosquitto: without a configuration it listens on loopback only and lets anybody in (mosquitto.conf(5))."""
    path = mosquitto()
    if path is None:
        raise SyncError("broker: mosquitto is not installed")
    os.execv(path, [Path(path).name, "-p", str(port)])


def run_amqtt(port: int) -> None:
    """Run amqtt in this process until SIGTERM or SIGINT."""
    try:
        from amqtt.broker import Broker
        from amqtt.contexts import BrokerConfig, ListenerConfig
    except ImportError as error:
        raise SyncError("broker: neither mosquitto nor amqtt is installed; pip install 'firstvisit[demo]'") from error
    for name in ("amqtt", "transitions"):  # to amqtt a client that leaves without a word is an error
        logging.getLogger(name).setLevel(logging.CRITICAL)
    config = BrokerConfig(
        listeners={"default": ListenerConfig(bind=f"{HOST}:{port}")},
        # none of the defaults: they log every packet and publish $SYS
        plugins={"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    )

    async def serve() -> None:
        broker = Broker(config)
        ended = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        await broker.start()
        await ended.wait()
        await broker.shutdown()

    asyncio.run(serve())


def _check_free(port: int) -> None:
    """Say in one line what neither broker says well."""
    try:
        with socket.create_server((HOST, port)):
            pass
    except (OSError, OverflowError) as error:
        raise SyncError(f"broker: {HOST}:{port}: {getattr(error, 'strerror', error)}") from error


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sync.broker", description="An MQTT broker on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--kind", choices=("mosquitto", "amqtt"), default="mosquitto" if mosquitto() else "amqtt")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    try:
        _check_free(arguments.port)
        (run_mosquitto if arguments.kind == "mosquitto" else run_amqtt)(arguments.port)
    except SyncError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
