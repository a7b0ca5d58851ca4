"""A broker for one machine: mosquitto where it is installed, else amqtt out of PyPI. For the demo and the tests.

`python -m sync.transport.broker --port N` runs one on 127.0.0.1 until SIGTERM. It lets anybody in: nobody
else can reach it.
"""

import argparse
import asyncio
import getpass
import logging
import os
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import Literal, TypeAlias

from sync import SyncError
from sync.storage.files import read_text, write_durably

Kind: TypeAlias = Literal["mosquitto", "amqtt"]

HOST = "127.0.0.1"
# Without nodelay a small message waits until the other side's TCP has confirmed the one before: 40 ms at each hop.
_MOSQUITTO = "listener {port} {host}\nallow_anonymous true\nset_tcp_nodelay true\nmax_inflight_messages 0\n"


def mosquitto() -> str | None:
    """The path of mosquitto, or None; Debian puts it where a user's PATH does not look."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def run_mosquitto(port: int) -> None:
    """Become mosquitto, listening on loopback only and letting anybody in."""
    path = mosquitto()
    if path is None:
        raise SyncError("broker: mosquitto is not installed")
    config = os.memfd_create("mosquitto.conf", 0)  # it reads a file and nothing else; this one leaves none behind
    os.write(config, _MOSQUITTO.format(host=HOST, port=port).encode())
    os.execv(path, [Path(path).name, "-c", f"/proc/self/fd/{config}"])


def run_configured(config: Path) -> None:
    """Become mosquitto by a configuration file, with the rights of whoever starts it.

    Started by root it would else become its own user, who may not read a folder that is only root's.
    """
    path = mosquitto()
    if path is None:
        raise SyncError("broker: mosquitto is not installed")
    own = config.with_name("own.conf")
    write_durably(own, f"user {getpass.getuser()}\n{read_text(config, 'configuration of a broker')}")
    os.execv(path, [Path(path).name, "-c", str(own)])


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


def check_free(port: int) -> None:
    """Say in one line what neither broker says well."""
    try:
        with socket.create_server((HOST, port)):
            pass
    except (OSError, OverflowError) as error:
        raise SyncError(f"broker: {HOST}:{port}: {getattr(error, 'strerror', error)}") from error


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sync.transport.broker", description="An MQTT broker on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--config", type=Path, help="of mosquitto, as `firstvisit central broker-config` writes it")
    parser.add_argument("--kind", choices=("mosquitto", "amqtt"), default="mosquitto" if mosquitto() else "amqtt")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    try:
        check_free(arguments.port)
        if arguments.config is not None:
            run_configured(arguments.config)
        (run_mosquitto if arguments.kind == "mosquitto" else run_amqtt)(arguments.port)
    except SyncError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
