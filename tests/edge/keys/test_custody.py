"""Keys in a TPM (a real swtpm), in a systemd credential (the real systemd-creds) and in files."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.clock import Clock
from edge.home import Home, create_home
from edge.keys import tpm
from edge.keys.credentials import CredentialError, load_credential
from edge.keys.custody import KeyFolder
from edge.keys.epochs import rekey
from edge.keys.key_rotation import rotate
from edge.keys.tpm import TpmError, TpmSigner, create_tpm_key, load_tpm_key, retire_tpm_key
from edge.settings import new_config
from sync.verify.verify import verify
from tests.edge.keys.swtpm_process import SwtpmProcess

MakeTpmHome = Callable[[], Home]


@pytest.fixture
def chip(monkeypatch: pytest.MonkeyPatch) -> Iterator[SwtpmProcess]:
    """A running software TPM, the one that tpm2-tools find."""
    missing = [name for name in ("swtpm", "tpm2_sign") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed (Debian packages swtpm, tpm2-tools)")
    # not under tmp_path: a socket's path has at most 107 bytes
    with tempfile.TemporaryDirectory(prefix="fv-tpm-") as folder:
        process = SwtpmProcess(Path(folder) / "chip")
        process.start()
        monkeypatch.setenv("TPM2TOOLS_TCTI", process.tcti)
        yield process
        process.stop()


@pytest.fixture
def credentials() -> None:
    """The test skips where systemd-creds cannot seal anything."""
    if os.geteuid() != 0:
        pytest.skip("systemd-creds wants root")
    if shutil.which("systemd-creds") is None:
        pytest.skip("systemd-creds is not installed (systemd 250 or newer)")
    tried = subprocess.run(
        ["systemd-creds", "encrypt", "--name=trial", "-", "-"], input=b"trial", capture_output=True, check=False
    )
    if tried.returncode:
        pytest.skip(f"systemd-creds does not work here: {tried.stderr.decode().strip()}")


def _config() -> str:
    capture = {"mode": "after_consent", "legal_basis": ""}
    return new_config(site="puxi-01", node="puxi-01-a", place={"datum": "wgs84"}, capture=capture)


def _record(home: Home, role: str, kind: str) -> str:
    ledger = home.open_ledger("node" if role == "node" else "desk", Clock())
    try:
        return ledger.append(kind, {}).key_id
    finally:
        ledger.close()


# -- TPM -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("chip")
def test_a_key_in_the_tpm_signs_in_one_spelling_and_only_its_domain(tmp_path: Path) -> None:
    signer = create_tpm_key(tmp_path / "node.tpm")
    assert signer.public.algorithm == "es256"
    for number in range(12):  # half of all signatures come out of a TPM with the higher s
        message = f"message {number}".encode()
        signature = signer.sign("record-sig", message)
        assert signer.public.verify("record-sig", message, signature)
        assert not signer.public.verify("ack", message, signature)
    assert "password" not in repr(signer)


@pytest.mark.usefixtures("chip")
def test_the_file_of_a_tpm_key_holds_no_key_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "node.tpm"
    made = create_tpm_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().split()[:3] == ["firstvisit-key-v1", "tpm2", str(made.public)]
    assert load_tpm_key(path) == made
    path.chmod(0o604)
    with pytest.raises(TpmError, match="chmod 600"):
        load_tpm_key(path)


def test_a_key_survives_the_power_and_not_the_chip(chip: SwtpmProcess, tmp_path: Path) -> None:
    path = tmp_path / "node.tpm"
    made = create_tpm_key(path)
    chip.stop()
    with pytest.raises(TpmError, match=r"node\.tpm: tpm2_readpublic: "):
        load_tpm_key(path)
    with pytest.raises(TpmError, match="tpm2_sign: "):
        made.sign("record-sig", b"message")
    chip.start()
    again = load_tpm_key(path)
    assert again.public.verify("record-sig", b"message", again.sign("record-sig", b"message"))


@pytest.mark.usefixtures("chip")
def test_another_chip_has_another_key_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_tpm_key(tmp_path / "node.tpm")
    with tempfile.TemporaryDirectory(prefix="fv-tpm-") as folder:
        other = SwtpmProcess(Path(folder) / "chip")
        other.start()
        try:
            monkeypatch.setenv("TPM2TOOLS_TCTI", other.tcti)
            with pytest.raises(TpmError, match=r"node\.tpm: tpm2_readpublic: "):
                load_tpm_key(tmp_path / "node.tpm")
            create_tpm_key(tmp_path / "other.tpm")  # under the handle that the first chip gave out
            with pytest.raises(TpmError, match=r"holds another key under 0x[0-9a-f]+: was it replaced or cleared"):
                load_tpm_key(tmp_path / "node.tpm")
        finally:
            other.stop()


@pytest.mark.usefixtures("chip")
def test_nobody_else_who_may_open_the_chip_signs_with_the_key(tmp_path: Path) -> None:
    made = create_tpm_key(tmp_path / "node.tpm")
    thief = TpmSigner(made.public, made.handle, "0" * 32)
    for _ in range(40):  # nor can he lock the owner out by trying
        with pytest.raises(TpmError, match="tpm2_sign: "):
            thief.sign("record-sig", b"message")
    assert made.sign("record-sig", b"message")


@pytest.mark.usefixtures("chip")
def test_a_rotated_or_discarded_key_is_gone_from_the_chip(tmp_path: Path) -> None:
    keys = KeyFolder(tmp_path)
    old, new = keys.create("node", "tpm2"), keys.create("node.next", "tpm2")
    keys.replace("node", "node.next")
    with pytest.raises(TpmError):
        old.sign("record-sig", b"message")
    assert keys.load("node").public == new.public
    assert new.sign("record-sig", b"message")
    keys.discard("node")
    with pytest.raises(TpmError):
        new.sign("record-sig", b"message")
    assert list(tmp_path.iterdir()) == []


def test_a_machine_without_the_tools_says_which_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TpmError, match=r"tpm2_createprimary: not installed .*tpm2-tools"):
        create_tpm_key(tmp_path / "node.tpm")


def test_a_chip_that_never_answers_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = tmp_path / "tpm2_createprimary"
    silent.write_text("#!/bin/sh\nexec sleep 60\n")
    silent.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(tpm, "_TIMEOUT_S", 0.5)
    with pytest.raises(TpmError, match="no answer from the TPM"):
        create_tpm_key(tmp_path / "node.tpm")


@pytest.mark.parametrize("text", ["", "firstvisit-key-v1 tpm2", "firstvisit-key-v1 ed25519 " + "00" * 32])
def test_another_file_is_no_key_of_a_tpm(tmp_path: Path, text: str) -> None:
    path = tmp_path / "node.tpm"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(TpmError, match="not a FirstVisit key file of a TPM"):
        load_tpm_key(path)


@pytest.mark.usefixtures("chip")
def test_a_node_lives_on_a_tpm_rotates_there_and_moves_to_a_file(tmp_path: Path) -> None:
    home = create_home(tmp_path / "home", _config(), None, "tpm2")
    assert not list((home.path / "keys").glob("*.key"))
    original = shutil.copy(home.node_pub, tmp_path / "original.pub")
    first = _record(home, "node", "node.alive")
    _record(home, "desk", "day.closed")
    assert rotate(home, "node", None, Clock()).custody == "tpm2"
    second = _record(home, "node", "node.alive")
    rotate(home, "desk", "file", Clock())
    _record(home, "desk", "day.closed")
    assert first != second
    assert [home.keys.custody(role) for role in ("node", "desk")] == ["tpm2", "file"]
    verdict = verify(home.path, original)
    assert verdict.ok, verdict.lines
    assert any(line.startswith("origin proven") for line in verdict.lines)


@pytest.mark.usefixtures("chip")
def test_a_node_whose_chip_was_replaced_says_so_and_gets_new_keys(tmp_path: Path) -> None:
    home = create_home(tmp_path / "home", _config(), None, "tpm2")
    for name in ("node", "desk"):
        retire_tpm_key(home.path / "keys" / f"{name}.tpm")()
    with pytest.raises(TpmError, match=r"node\.tpm: tpm2_readpublic"):
        home.signer("node")
    assert rekey(home, Clock(), None, None).epoch == 2
    assert home.keys.custody("node") == "tpm2"
    _record(home, "node", "node.alive")
    verdict = verify(home.path)
    assert verdict.ok, verdict.lines


@pytest.mark.usefixtures("chip")
def test_the_time_of_a_signature_in_the_chip_is_printed(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Measured for systemd/README.md; the bound is for a machine under load, not the figure."""
    signer = create_tpm_key(tmp_path / "node.tpm")
    began_s = time.monotonic()
    for number in range(20):
        signer.sign("record-sig", str(number).encode())
    each_s = (time.monotonic() - began_s) / 20
    record_property("tpm_signature_ms", round(each_s * 1000, 1))
    print(f"signature in swtpm: {each_s * 1000:.1f} ms")
    assert each_s < 5


# -- systemd credentials ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("credentials")
def test_a_key_in_a_credential_is_sealed_to_the_machine_and_opened_by_root(tmp_path: Path) -> None:
    keys = KeyFolder(tmp_path)
    made = keys.create("node", "systemd-creds")
    sealed = (tmp_path / "node.cred").read_bytes()
    assert b"firstvisit-key" not in sealed
    assert keys.custody("node") == "systemd-creds"
    assert keys.load("node").public == made.public
    (tmp_path / "desk.cred").write_bytes(sealed)  # sealed under the node's name
    with pytest.raises(CredentialError, match=r"desk\.cred: systemd-creds decrypt: "):
        keys.load("desk")
    (tmp_path / "node.cred").write_bytes(sealed[:40] + b"AAAA" + sealed[44:])
    with pytest.raises(CredentialError, match=r"node\.cred: systemd-creds decrypt: "):
        keys.load("node")


@pytest.mark.usefixtures("credentials")
def test_a_service_reads_the_key_where_systemd_has_opened_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What LoadCredentialEncrypted= does, by hand: no systemd runs here as the first process."""
    made = KeyFolder(tmp_path).create("node", "systemd-creds")
    service = tmp_path / "credentials"
    service.mkdir()
    with (service / "firstvisit.node.key").open("wb") as opened:
        command = ["systemd-creds", "decrypt", "--name=firstvisit.node.key", str(tmp_path / "node.cred"), "-"]
        subprocess.run(command, stdout=opened, check=True, stderr=subprocess.DEVNULL)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(service))
    monkeypatch.setenv("PATH", "")
    assert load_credential(tmp_path / "node.cred").public == made.public
    (service / "firstvisit.node.key").write_text("something else")
    with pytest.raises(CredentialError, match="not a FirstVisit key file"):
        load_credential(tmp_path / "node.cred")


def test_a_process_that_was_given_no_credential_says_what_the_unit_wants(tmp_path: Path) -> None:
    (tmp_path / "node.cred").write_text("sealed")
    script = (
        "import os, sys; from pathlib import Path; from edge.keys.credentials import load_credential;"
        "os.geteuid() or os.setuid(65534); load_credential(Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "node.cred")], capture_output=True, text=True, check=False
    )
    assert "the unit wants LoadCredentialEncrypted=firstvisit.node.key:" in done.stderr


@pytest.mark.usefixtures("credentials")
def test_a_node_lives_on_credentials_and_rotates_there(tmp_path: Path) -> None:
    home = create_home(tmp_path / "home", _config(), None, "systemd-creds")
    first = _record(home, "node", "node.alive")
    assert rotate(home, "node", None, Clock()).custody == "systemd-creds"
    assert _record(home, "node", "node.alive") != first
    _record(home, "desk", "day.closed")
    verdict = verify(home.path)
    assert verdict.ok, verdict.lines
