"""A software TPM that a test starts, and stops."""

import subprocess
import time
from pathlib import Path

START_TIMEOUT_S = 20.0


class SwtpmProcess:
    """swtpm on a socket of its own in a folder; the folder is the chip."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def tcti(self) -> str:
        """What tpm2-tools find it by, in TPM2TOOLS_TCTI."""
        return f"swtpm:path={self._folder / 'sock'}"

    def start(self) -> None:
        self._folder.mkdir(exist_ok=True)
        socket = self._folder / "sock"
        self._process = subprocess.Popen(
            [
                *("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self._folder}"),
                *("--server", f"type=unixio,path={socket}", "--ctrl", f"type=unixio,path={socket}.ctrl"),
                *("--flags", "not-need-init,startup-clear"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not socket.exists():
            assert self._process.poll() is None, "swtpm ended at once"
            assert time.monotonic() < deadline_s, "swtpm does not listen"
            time.sleep(0.02)

    def stop(self) -> None:
        """Cut its power: it keeps what is persistent, and nothing else."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None
            (self._folder / "sock").unlink(missing_ok=True)
