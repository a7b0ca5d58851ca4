"""Debian's PostgreSQL in a temporary folder, for as long as the tests run."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path

START_TIMEOUT_S = 60.0


def missing() -> str | None:
    """Why no server can be started here; None where one can."""
    try:
        import psycopg  # noqa: F401  # only whether it is there
    except ImportError:
        return "psycopg is not installed"
    if _binaries() is None:
        return "PostgreSQL is not installed (Debian: postgresql)"
    if os.geteuid() == 0 and _user() is None:
        return "PostgreSQL does not run as root, and there is no user postgres"
    return None


class PostgresServer:
    """One server with its data, listening on 127.0.0.1 and as durable as in earnest."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._folder = Path(tempfile.mkdtemp(prefix="firstvisit-postgres-"))
        self._user = _user() if os.geteuid() == 0 else None
        if self._user is not None:
            os.chown(self._folder, self._user.pw_uid, self._user.pw_gid)
        self._process: subprocess.Popen[bytes] | None = None
        self._schemas = count(1)
        self._run(["initdb", "-D", "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"])

    @property
    def url(self) -> str:
        return f"postgresql://postgres:s3cret@127.0.0.1:{self.port}/postgres"

    def start(self, *options: str) -> None:
        """Start it and wait until it answers; options: as `postgres -c` takes them."""
        settings = ["listen_addresses=127.0.0.1", f"unix_socket_directories={self._folder}", *options]
        words = [part for setting in settings for part in ("-c", setting)]
        command = self._command(["postgres", "-D", "data", "-p", str(self.port), *words])
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=log)
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "log").read_text(errors="replace")
            assert time.monotonic() < deadline_s, "PostgreSQL does not answer"
            time.sleep(0.05)

    def stop(self) -> None:
        """Take leave of everybody at once, keeping what was committed ("fast")."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End it as a crash would ("immediate": the log is replayed at the next start)."""
        self._end(signal.SIGQUIT)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def fresh(self) -> str:
        """The URL of a place of its own, empty."""
        import psycopg

        schema = f"s{next(self._schemas)}_{time.monotonic_ns()}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {schema}")
        return f"{self.url}?options=-csearch_path%3D{schema}"

    # -- inside ------------------------------------------------------------------------------------------------

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(60)
            self._process = None

    def _run(self, words: Sequence[str]) -> None:
        subprocess.run(self._command(words), cwd=self._folder, check=True, capture_output=True)

    def _command(self, words: Sequence[str]) -> list[str]:
        folder = _binaries()
        assert folder is not None
        command = [str(folder / words[0]), *words[1:]]
        if self._user is None:
            return command
        return ["setpriv", f"--reuid={self._user.pw_uid}", f"--regid={self._user.pw_gid}", "--clear-groups", *command]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _binaries() -> Path | None:
    """The folder of the newest server installed."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if debian:
        return debian[-1].parent
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


def _user() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return None
