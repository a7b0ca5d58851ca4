"""The units: valid, narrow, and calling commands that exist."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "systemd"
SERVICES = ("firstvisit-node", "firstvisit-kiosk", "firstvisit-central")
# Measured with systemd 252: 1.8, 1.3 and 1.1. What is left is the network, the clock's reading and /dev/video*.
HIGHEST_EXPOSURE = {"firstvisit-node": 1.8, "firstvisit-kiosk": 1.3, "firstvisit-central": 1.1}

Unit = dict[str, list[str]]


def read(service: str) -> Unit:
    """Every assignment of a unit, in order; sections have no keys in common."""
    unit: Unit = {}
    for line in (UNITS / f"{service}.service").read_text().splitlines():
        if line and not line.startswith(("#", "[")):
            key, value = line.split("=", 1)
            unit.setdefault(key, []).append(value)
    return unit


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian package systemd)")
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_systemd_finds_nothing_to_complain_about_in_a_unit(service: str, tmp_path: Path) -> None:
    program = tmp_path / "firstvisit"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = (UNITS / f"{service}.service").read_text().replace("/opt/firstvisit/bin/firstvisit", str(program))
    (tmp_path / f"{service}.service").write_text(text)
    done = subprocess.run(
        [tool("systemd-analyze"), "verify", str(tmp_path / f"{service}.service")], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("service", SERVICES)
def test_a_unit_is_no_more_exposed_than_measured(service: str) -> None:
    done = subprocess.run(
        [tool("systemd-analyze"), "security", "--offline=yes", "--no-pager", str(UNITS / f"{service}.service")],
        capture_output=True,
        text=True,
    )
    if "offline" in done.stderr:
        pytest.skip("this systemd-analyze cannot judge a unit offline (systemd 250 can)")
    found = re.search(r"Overall exposure level for .*: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= HIGHEST_EXPOSURE[service]


@pytest.mark.parametrize("service", SERVICES)
def test_a_unit_starts_a_command_that_takes_its_options(service: str) -> None:
    (line,) = read(service)["ExecStart"]
    program, *words = line.split()
    assert program == "/opt/firstvisit/bin/firstvisit"
    command = [word for word in words if not word.startswith(("-", "/"))]
    options = [word for word in words if word.startswith("--")]
    done = subprocess.run(
        [sys.executable, "-c", "from edge.cli import main; main()", *command, "--help"],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "200", "NO_COLOR": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert " ".join(command) in done.stdout, "the help is that of the command itself"
    assert all(option in done.stdout for option in options), done.stdout


def test_nothing_ties_the_node_to_the_kiosk() -> None:
    ties = ("Requires", "Requisite", "BindsTo", "PartOf", "Upholds", "Conflicts", "PropagatesStopTo", "OnFailure")
    for service in ("firstvisit-node", "firstvisit-kiosk"):
        unit = read(service)
        assert not [key for key in ties if key in unit], service
    assert "kiosk" not in " ".join(read("firstvisit-node").get("After", []) + read("firstvisit-node").get("Wants", []))
    assert read("firstvisit-node")["User"] != read("firstvisit-kiosk")["User"]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_watched_and_started_again_for_ever(service: str) -> None:
    unit = read(service)
    assert unit["Type"] == ["notify"]
    assert unit["Restart"] == ["always"]
    assert unit["StartLimitIntervalSec"] == ["0"]
    assert int(unit["WatchdogSec"][0]) >= 30, "loading a large gallery may hold the loop for a while"


@pytest.mark.parametrize("service", ["firstvisit-node", "firstvisit-kiosk"])
def test_faces_in_memory_reach_no_disk(service: str) -> None:
    unit = read(service)
    assert unit["MemorySwapMax"] == ["0"]
    assert unit["LimitCORE"] == ["0"]
    assert f"TMPDIR=/run/{unit['RuntimeDirectory'][0]}" in unit["Environment"]


@pytest.mark.parametrize("service", ["firstvisit-node", "firstvisit-kiosk"])
def test_a_service_that_stamps_records_may_read_the_clock_and_not_set_it(service: str) -> None:
    unit = read(service)
    assert unit["SystemCallFilter"][-1] == "adjtimex clock_adjtime", "allowed again after @privileged was taken away"
    assert "ProtectClock" not in unit, "it would forbid the reading too"
    assert unit["CapabilityBoundingSet"] == [""], "without CAP_SYS_TIME nothing sets the clock"


@pytest.mark.parametrize("service", SERVICES)
def test_onnx_runtime_reports_to_nobody(service: str) -> None:
    """Measured with 1.31.1: unless told not to, it leaves a device id and an event store in ~/.cache and sends them."""
    assert "ORT_DISABLE_TELEMETRY=1" in read(service)["Environment"]


UNDER_REFUSED_EXECUTABLE_MEMORY = """
import ctypes
PR_SET_MDWE, REFUSE_EXEC_GAIN = 65, 1  # linux/prctl.h, Linux 6.3
if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0) != 0:
    raise SystemExit(77)
import mmap
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
except PermissionError:
    pass
else:
    raise SystemExit("memory can still be made executable")
import io
import av, cv2, numpy as np, onnx, onnxruntime
from onnx import TensorProto, helper
graph = helper.make_graph(
    [helper.make_node("Conv", ["x", "w"], ["y"])],
    "conv",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 64, 64])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 62, 62])],
    [helper.make_tensor("w", TensorProto.FLOAT, [8, 3, 3, 3], np.ones(216, np.float32))],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
(y,) = session.run(None, {"x": np.ones((1, 3, 64, 64), np.float32)})
assert float(y[0, 0, 0, 0]) == 27.0
image = np.full((1080, 1920, 3), 90, np.uint8)
small = cv2.warpAffine(cv2.resize(image, (640, 360)), np.eye(2, 3, dtype=np.float32), (112, 112))
assert cv2.imencode(".jpg", small)[0]
file = io.BytesIO()
with av.open(file, "w", format="mp4") as out:
    stream = out.add_stream("mpeg4", rate=10, width=640, height=360)
    for _ in range(3):
        out.mux(stream.encode(av.VideoFrame.from_ndarray(image[:360, :640], format="bgr24")))
    out.mux(stream.encode())
file.seek(0)
with av.open(file) as video:
    assert sum(frame.to_ndarray(format="bgr24").shape == (360, 640, 3) for frame in video.decode(video=0)) == 3
import argon2
from edge.clock import Clock
from nacl.signing import SigningKey
signed = SigningKey.generate().sign(b"x")
assert argon2.PasswordHasher().verify(argon2.PasswordHasher().hash("twelve letters"), "twelve letters")
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
AESGCM(bytes(32)).encrypt(bytes(12), b"x", None)
import shapely, fastapi, uvicorn, paho.mqtt.client
assert Clock().stamp(None).boot_us > 0
"""


def test_everything_runs_where_memory_cannot_be_made_executable() -> None:
    """MemoryDenyWriteExecute= in the units, asked of the kernel itself."""
    done = subprocess.run([sys.executable, "-c", UNDER_REFUSED_EXECUTABLE_MEMORY], capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip("this kernel has no PR_SET_MDWE (Linux 6.3 has)")
    assert done.returncode == 0, done.stderr


def test_sysusers_and_tmpfiles_make_the_users_and_directories_the_units_name(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    users = [tool("systemd-sysusers"), f"--root={tmp_path}", str(UNITS / "firstvisit.sysusers.conf")]
    plan = subprocess.run([*users[:1], "--dry-run", *users[1:]], capture_output=True, text=True)
    assert plan.returncode == 0, plan.stderr
    for service in SERVICES:
        unit = read(service)
        assert f"Creating user '{unit['User'][0]}'" in plan.stderr, plan.stderr
        assert f"Creating group '{unit['Group'][0]}'" in plan.stderr, plan.stderr
    lines = [
        line.split() for line in (UNITS / "firstvisit.tmpfiles.conf").read_text().splitlines() if line[:1] in "dzZ"
    ]
    made = {path for kind, path, *_ in lines if kind == "d"}
    assert {"/var/lib/firstvisit", "/var/lib/firstvisit/models", "/var/lib/firstvisit-central"} <= set(made)
