"""A process that reads frames for central: `python -m sync.central.reader FD`, started and fed by `readers.py`."""

import marshal
import signal
import sys
from functools import lru_cache
from multiprocessing.connection import Connection

from sync.central.reading import Finding, Keys, find
from sync.format.signing import PublicKey
from sync.format.wire import BadFrame


def serve(central: "Connection[bytes, bytes]") -> None:
    """Answer every task, [(payload, texts of keys)], with what is in its frames, None for bytes that are no frame."""
    while True:
        try:
            task = marshal.loads(central.recv_bytes())
            central.send_bytes(marshal.dumps([_findings(payload, _keys(texts)) for payload, texts in task]))
        except (EOFError, OSError):  # central has hung up, or is no more
            return


def _findings(payload: bytes, keys: Keys) -> list[Finding] | None:
    try:
        return find(payload, keys)
    except BadFrame:
        return None


@lru_cache(maxsize=1024)
def _keys(texts: tuple[str, ...]) -> Keys:
    keys = map(PublicKey.parse, texts)
    return {key.key_id: key for key in keys}


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # they are meant for central, which ends us by hanging up
        signal.signal(number, signal.SIG_IGN)
    serve(Connection(int(sys.argv[1])))
