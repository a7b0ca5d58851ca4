"""Timestamps over central's checkpoints, from an authority that openssl makes and answers for."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509

from sync import SyncError
from sync.central.timestamp import (
    MAX_ANSWER_BYTES,
    TimestampAuthority,
    Timestamper,
    TimestampError,
    configured_authority,
    stamp_now,
)
from sync.storage.settings import load_settings
from sync.verify.verify import verify
from tests.sync.uplink_site import wait_for
from tests.sync.witnessed_site import Two, make_two

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl on this machine")

_CONFIG = """
[req]
distinguished_name = dn
prompt = no
[dn]
CN = FirstVisit test {name}
[root]
basicConstraints = critical,CA:true
keyUsage = critical,keyCertSign
[signer]
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
[tsa]
default_tsa = this
[this]
serial = {folder}/serial
signer_cert = {folder}/signer.pem
signer_key = {folder}/signer.key
default_policy = 1.3.6.1.4.1.55555.1
digests = sha256
signer_digest = sha256
ess_cert_id_alg = sha256
ordering = yes
"""


class Tsa:
    """A time-stamping authority in a folder, over HTTP on loopback."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        for name, issuer in (("root", None), ("signer", "root")):
            config = folder / f"{name}.cnf"
            config.write_text(_CONFIG.format(folder=folder, name=name))
            issued_by = ["-CA", folder / f"{issuer}.pem", "-CAkey", folder / f"{issuer}.key"] if issuer else []
            self.openssl(
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                "-config", config, "-extensions", name, *issued_by,
                "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem",
            )  # fmt: skip
        (folder / "serial").write_text("01\n")
        self.change: Callable[[bytes], bytes] = lambda answer: answer
        tsa = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                query = self.rfile.read(int(self.headers["Content-Length"]))
                answer = tsa.change(tsa.answer(query))
                self.send_response(200 if self.headers["Content-Type"] == "application/timestamp-query" else 415)
                self.send_header("Content-Type", "application/timestamp-reply")
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/tsr"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, query: bytes) -> bytes:
        asked, replied = self.folder / "query.tsq", self.folder / "answer.tsr"
        asked.write_bytes(query)
        self.openssl("ts", "-reply", "-config", self.folder / "root.cnf", "-queryfile", asked, "-out", replied)
        return replied.read_bytes()

    def openssl(self, *words: object) -> None:
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)

    def authority(self) -> TimestampAuthority:
        return TimestampAuthority(self.url, x509.load_pem_x509_certificates((self.folder / "root.pem").read_bytes()))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def _tsa(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tsa]:
    made = Tsa(tmp_path_factory.mktemp("authority") / "tsa")
    yield made
    made.close()


@pytest.fixture
def tsa(_tsa: Tsa) -> Tsa:
    _tsa.change = lambda answer: answer
    return _tsa


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    made = make_two(tmp_path)
    made.send(made.node, count=5)
    (made.central.directory / "central.toml").write_text('id = "c1"\n')
    yield made
    made.store.close()


def test_a_token_says_when_the_checkpoint_was_there(tsa: Tsa, two: Two) -> None:
    made = stamp_now(two.store, two.central.directory, tsa.authority())
    assert two.store.timestamps(5) == [made]
    assert (made.size, made.note) == (7, two.log().checkpoint()[1])
    when = tsa.authority().check(made.token, made.note.encode())
    assert abs(when - datetime.now(UTC)) < timedelta(minutes=5)


def test_openssl_itself_accepts_the_token(tsa: Tsa, two: Two, tmp_path: Path) -> None:
    made = stamp_now(two.store, two.central.directory, tsa.authority())
    (tmp_path / "note").write_bytes(made.note.encode())
    (tmp_path / "answer.tsr").write_bytes(made.token)
    tsa.openssl(
        "ts", "-verify", "-data", tmp_path / "note", "-in", tmp_path / "answer.tsr", "-CAfile", tsa.folder / "root.pem"
    )


def test_a_token_over_something_else_or_of_another_authority_is_refused(tsa: Tsa, two: Two, tmp_path: Path) -> None:
    made = stamp_now(two.store, two.central.directory, tsa.authority())
    with pytest.raises(TimestampError, match="does not hold: Mismatch between messages"):
        tsa.authority().check(made.token, b"something else")
    other = Tsa(tmp_path / "other")
    other.close()
    with pytest.raises(TimestampError, match="does not hold"):
        other.authority().check(made.token, made.note.encode())


def test_an_answer_to_an_earlier_question_is_refused(tsa: Tsa) -> None:
    kept = list[bytes]()

    def replay(answer: bytes) -> bytes:
        kept.append(answer)
        return kept[0]

    tsa.change = replay
    tsa.authority().stamp(b"the same text")
    with pytest.raises(TimestampError, match="Nonce mismatch"):
        tsa.authority().stamp(b"the same text")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda answer: answer[:-1], "not an RFC 3161 answer"),
        (lambda _answer: b"<html>no</html>", "not an RFC 3161 answer"),
        (lambda answer: answer[:-8] + bytes(8), "does not hold"),
        (lambda _answer: bytes(MAX_ANSWER_BYTES + 1), f"an answer of more than {MAX_ANSWER_BYTES} bytes"),
        (lambda _answer: bytes.fromhex("30053003020102"), "does not hold|not an RFC 3161 answer"),
    ],
    ids=["cut short", "a page", "another signature", "too long", "a rejection"],
)
def test_a_bad_answer_is_refused_and_nothing_kept(
    tsa: Tsa, two: Two, change: Callable[[bytes], bytes], why: str
) -> None:
    tsa.change = change
    with pytest.raises(TimestampError, match=why):
        stamp_now(two.store, two.central.directory, tsa.authority())
    assert two.store.timestamps(1) == []


def test_an_authority_out_of_reach_is_named(two: Two, tsa: Tsa) -> None:
    authority = TimestampAuthority("http://127.0.0.1:9/tsr", [])
    with pytest.raises(TimestampError, match=r"http://127\.0\.0\.1:9/tsr: "):
        stamp_now(two.store, two.central.directory, authority)
    assert tsa.url


def test_a_running_central_is_stamped_once_a_day(tsa: Tsa, two: Two) -> None:
    for _again in range(2):  # a restart does not stamp again
        stamper = Timestamper(two.central.directory, tsa.authority())
        stamper.start()
        wait_for(lambda: len(two.store.timestamps(5)) == 1, "a first timestamp")
        stamper.stop()
    stamper = Timestamper(two.central.directory, tsa.authority(), every_s=0.2)
    stamper.start()
    wait_for(lambda: len(two.store.timestamps(5)) >= 3, "later ones, as the time comes")
    stamper.stop()


def test_a_failure_is_tried_again(tsa: Tsa, two: Two) -> None:
    refused = list[bytes]()

    def refuse_once(answer: bytes) -> bytes:
        if refused:
            return answer
        refused.append(answer)
        return b"no"

    tsa.change = refuse_once
    stamper = Timestamper(two.central.directory, tsa.authority(), retry_s=0.1)
    stamper.start()
    wait_for(lambda: len(two.store.timestamps(5)) == 1, "a timestamp after a failure")
    stamper.stop()


def test_verify_holds_each_token_against_the_log(tsa: Tsa, two: Two) -> None:
    stamp_now(two.store, two.central.directory, tsa.authority())
    two.send(two.node, count=5)
    verdict = verify(two.central.directory)
    assert verdict.ok, verdict.lines
    assert any("log: 1 timestamp over checkpoints of it, up to size 7" in line for line in verdict.lines)
    two.store.database.execute("UPDATE log_timestamps SET note = replace(note, char(10) || '7', char(10) || '8')")
    assert "is over no checkpoint of this central" in (verify(two.central.directory).why or "")


def test_a_log_rewritten_after_it_was_stamped_is_bad(tsa: Tsa, two: Two) -> None:
    stamp_now(two.store, two.central.directory, tsa.authority())
    held = two.hashes()
    held[0], held[1] = held[1], held[0]
    first, second = two.store.statements()
    for leaf, (_, data), node in ((0, second, "n2"), (1, first, "n1")):
        two.store.database.execute("UPDATE log_statements SET data = ?, node_id = ? WHERE leaf = ?", (data, node, leaf))
    two.rebuild(held)
    assert verify(two.central.directory).why == "central's log: not the one of which an authority stamped size 7"


def test_the_command_stamps_and_the_log_shows_it(tsa: Tsa, two: Two) -> None:
    directory = two.central.directory
    command = [sys.executable, "-m", "edge", "central"]
    refused = subprocess.run([*command, "timestamp", "--dir", directory], capture_output=True, text=True, check=False)
    assert (refused.returncode, "timestamp.url is not set" in refused.stderr) == (2, True)
    shutil.copy(tsa.folder / "root.pem", directory / "tsa.pem")
    (directory / "central.toml").write_text(f'id = "c1"\n[timestamp]\nurl = "{tsa.url}"\nca = "tsa.pem"\n')
    made = subprocess.run([*command, "timestamp", "--dir", directory], capture_output=True, text=True, check=True)
    assert made.stdout.startswith("stamped the log of 7 leaves at 20")
    shown = subprocess.run([*command, "log", "--dir", directory, "--json"], capture_output=True, text=True, check=True)
    (stamped,) = json.loads(shown.stdout)["timestamps"]
    assert (stamped["size"], stamped["check"]) == (7, "holds")


@pytest.mark.parametrize("lines", ['url = "http://a/"', 'ca = "tsa.pem"'])
def test_an_authority_without_its_roots_is_refused(two: Two, lines: str) -> None:
    (two.central.directory / "central.toml").write_text(f'id = "c1"\n[timestamp]\n{lines}\n')
    with pytest.raises(SyncError, match=r"timestamp: .*url and ca belong together"):
        load_settings(two.central.directory)


def test_roots_that_are_missing_or_none_are_named(two: Two) -> None:
    directory = two.central.directory
    (directory / "central.toml").write_text('id = "c1"\n[timestamp]\nurl = "http://a/"\nca = "tsa.pem"\n')
    with pytest.raises(SyncError, match=r"tsa\.pem: No such file"):
        configured_authority(directory)
    (directory / "tsa.pem").write_text("no certificate")
    with pytest.raises(SyncError, match=r"tsa\.pem: not a certificate in PEM"):
        configured_authority(directory)
