import subprocess
import sys
import threading
from pathlib import Path

import pytest

from models import ModelsError
from models.download import SourceError
from models.store import LAST_RESORT, Installation, Store, default_root

FILES = {"net.onnx": b"a net", "more.onnx": b"more of it"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The pack's files, as somebody would bring them on a stick."""
    folder = tmp_path / "stick"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def store(tmp_path: Path, make_manifest) -> Store:
    return Store(tmp_path / "models", {"tiny": make_manifest("tiny", FILES)})


def test_a_pack_is_installed_from_a_folder_and_again_is_a_success(store: Store, folder: Path) -> None:
    assert store.install("tiny", from_dir=folder) == Installation("tiny", already=False)
    assert store.install("tiny", from_dir=folder) == Installation("tiny", already=True)
    assert store.installed() == ["tiny"]
    assert store.verify("tiny") == []
    assert store.read("tiny", "net.onnx") == b"a net"
    left = {path.name for path in store.root.iterdir()}
    assert left == {"tiny", ".lock"}


def test_a_pack_comes_over_http(server, make_manifest, tmp_path: Path) -> None:
    server.files |= FILES
    store = Store(tmp_path / "models", {"tiny": make_manifest("tiny", FILES, server.address)})
    store.install("tiny")
    assert store.verify("tiny") == []


def test_the_mirror_is_asked_first(server, make_manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files |= {f"mirror/{name}": content for name, content in FILES.items()}
    monkeypatch.setenv("FIRSTVISIT_MIRROR", server.url("mirror"))
    store = Store(tmp_path / "models", {"tiny": make_manifest("tiny", FILES, server.url("origin"))})
    store.install("tiny")
    assert {path for path, _ in server.requests} == {"/mirror/net.onnx", "/mirror/more.onnx"}


def test_a_half_fetched_pack_is_not_installed_and_goes_on_where_it_was(server, make_manifest, tmp_path: Path) -> None:
    files = {"net.onnx": b"n" * 300_000, "more.onnx": b"m" * 300_000}
    store = Store(tmp_path / "models", {"tiny": make_manifest("tiny", files, server.address)})
    server.files["net.onnx"] = files["net.onnx"]
    with pytest.raises(SourceError, match=r"more\.onnx"):
        store.install("tiny")
    assert store.installed() == []
    (store.root / ".downloads" / "more.onnx.part").write_bytes(b"m" * 100_000)
    server.files |= files
    store.install("tiny")
    assert ("/more.onnx", "bytes=100000-") in server.requests
    assert store.verify("tiny") == []


def test_a_wrong_file_in_the_folder_is_named_and_nothing_is_installed(store: Store, folder: Path) -> None:
    (folder / "more.onnx").write_bytes(b"something else")
    with pytest.raises(ModelsError, match=r"stick/more\.onnx: is not the file this pack needs"):
        store.install("tiny", from_dir=folder)
    assert store.installed() == []


def test_a_file_that_can_be_had_nowhere_is_named(store: Store, folder: Path) -> None:
    (folder / "more.onnx").unlink()
    with pytest.raises(SourceError, match=r"stick does not hold more\.onnx"):
        store.install("tiny", from_dir=folder)
    with pytest.raises(ModelsError, match="is not a folder"):
        store.install("tiny", from_dir=folder / "nowhere")


def test_damage_is_found_refused_and_repaired(store: Store, folder: Path) -> None:
    store.install("tiny", from_dir=folder)
    damaged = store.root / "tiny" / "net.onnx"
    damaged.write_bytes(b"a bet")
    (store.root / "tiny" / "more.onnx").unlink()
    assert [fault.split(": ")[0] for fault in store.verify("tiny")] == [
        str(damaged),
        str(store.root / "tiny" / "more.onnx"),
    ]
    with pytest.raises(ModelsError, match=r"net\.onnx: is not the file that was installed.*install tiny repairs"):
        store.read("tiny", "net.onnx")
    with pytest.raises(ModelsError, match=r"more\.onnx: is missing.*install tiny repairs"):
        store.read("tiny", "more.onnx")
    assert not store.install("tiny", from_dir=folder).already
    assert store.verify("tiny") == []


def test_a_damaged_manifest_is_listed_as_a_fault_and_repaired(store: Store, folder: Path) -> None:
    store.install("tiny", from_dir=folder)
    (store.root / "tiny" / "pack.toml").write_text("name = ")
    with pytest.raises(ModelsError, match=r"tiny/pack\.toml: not TOML"):
        store.manifest("tiny")
    (status,) = store.list()
    assert status.installed
    assert "pack.toml" in status.fault
    store.install("tiny", from_dir=folder)
    assert store.list()[0].fault == ""


def test_new_thresholds_reach_an_installed_pack_without_fetching(store: Store, folder: Path) -> None:
    store.install("tiny", from_dir=folder)
    text = store._shipped["tiny"] + '[calibration]\nmeasured = "anew"\npoints = [[0.1, 0.2], [0.01, 0.3]]\n'
    newer = Store(store.root, {"tiny": text})
    before = store.manifest("tiny").pack_id
    assert newer.manifest("tiny").calibration.measured == "anew"
    assert not newer.install("tiny").already
    assert newer.manifest("tiny").calibration.measured == "anew"
    assert newer.manifest("tiny").pack_id == before
    assert newer.install("tiny").already


def test_an_unknown_pack_is_refused_with_the_known_ones(store: Store) -> None:
    for name in ("nope", "../tiny", ""):
        with pytest.raises(ModelsError, match=r"unknown pack.*known are tiny"):
            store.install(name)
        with pytest.raises(ModelsError, match=r"unknown pack.*known are tiny"):
            store.verify(name)


def test_a_licence_against_commercial_use_must_be_accepted(tmp_path: Path, folder: Path, make_manifest) -> None:
    store = Store(tmp_path / "models", {"tiny": make_manifest("tiny", FILES, commercial_use=False)})
    with pytest.raises(ModelsError, match=r"For tests only\..*--accept-licence"):
        store.install("tiny", from_dir=folder)
    assert store.installed() == []
    store.install("tiny", from_dir=folder, accept_licence=True)
    assert store.installed() == ["tiny"]


def test_where_the_recommended_pack_is_unreachable_the_last_resort_comes_with_a_warning(
    tmp_path: Path, folder: Path, make_manifest
) -> None:
    unreachable = make_manifest("mobilefacenet", {"far.onnx": b"far"}, "http://127.0.0.1:1", fnir=0.073)
    last_resort = make_manifest(LAST_RESORT, FILES, fnir=0.46)
    store = Store(tmp_path / "models", {"mobilefacenet": unreachable, LAST_RESORT: last_resort})
    done = store.install(from_dir=folder)
    assert done.name == LAST_RESORT
    assert "46%" in done.warning
    assert "7%" in done.warning
    assert "127.0.0.1" in done.warning
    assert store.install(from_dir=folder).already
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(SourceError, match=rf"mobilefacenet: .*{LAST_RESORT}: "):
        Store(tmp_path / "empty", store._shipped).install(from_dir=folder)


def test_a_wrong_file_for_the_recommended_pack_is_an_error_and_no_reason_to_fall_back(
    tmp_path: Path, folder: Path, make_manifest
) -> None:
    packs = {
        "mobilefacenet": make_manifest("mobilefacenet", {"net.onnx": b"!"}),
        LAST_RESORT: make_manifest(LAST_RESORT, FILES),
    }
    store = Store(tmp_path / "models", packs)
    with pytest.raises(ModelsError, match=r"stick/net\.onnx"):
        store.install(from_dir=folder)
    assert store.installed() == []


def test_the_pack_is_picked_by_name_or_alone_or_by_rank(tmp_path: Path, folder: Path, make_manifest) -> None:
    packs = {name: make_manifest(name, FILES) for name in ("mobilefacenet", "dlib-distilled", "dlib", "aaa", "bbb")}
    store = Store(tmp_path / "models", packs)
    with pytest.raises(ModelsError, match="firstvisit models install"):
        store.pick(None)
    store.install("bbb", from_dir=folder)
    assert store.pick(None) == "bbb"
    store.install("aaa", from_dir=folder)
    with pytest.raises(ModelsError, match=r"--pack aaa \| bbb"):
        store.pick(None)
    store.install("dlib", from_dir=folder)
    assert store.pick(None) == "dlib"
    store.install("dlib-distilled", from_dir=folder)
    assert store.pick(None) == "dlib-distilled"
    store.install("mobilefacenet", from_dir=folder)
    assert store.pick(None) == "mobilefacenet"
    assert store.pick("aaa") == "aaa"
    with pytest.raises(ModelsError, match="unknown pack"):
        store.pick("ccc")


def test_installs_at_the_same_time_do_not_disturb_each_other(tmp_path: Path, folder: Path, make_manifest) -> None:
    packs = {"tiny": make_manifest("tiny", FILES)}
    failures: list[BaseException] = []
    done: list[bool] = []

    def install() -> None:
        try:
            done.append(Store(tmp_path / "models", packs).install("tiny", from_dir=folder).already)
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=install) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(done) == [False] + [True] * 7
    assert Store(tmp_path / "models", packs).verify("tiny") == []


def test_a_killed_install_leaves_no_pack_and_the_next_one_cleans_up(
    server, store: Store, folder: Path, make_manifest
) -> None:
    script = """
import os, sys
from pathlib import Path
from models.store import Store
root, text, folder = sys.argv[1:]
def die(*_): os._exit(9)
Store(Path(root), {"tiny": text}).install("tiny", from_dir=Path(folder), progress=die)
"""
    server.files |= FILES
    (folder / "more.onnx").unlink()  # the second file has to be fetched: the process dies while it is
    text = make_manifest("tiny", FILES, server.address)
    run = subprocess.run([sys.executable, "-c", script, str(store.root), text, str(folder)], check=False)
    assert run.returncode == 9
    assert list(store.root.glob(".staging-*"))
    assert store.installed() == []
    again = Store(store.root, {"tiny": text})
    again.install("tiny", from_dir=folder)
    assert again.verify("tiny") == []
    assert not list(store.root.glob(".staging-*"))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, folder: Path, make_manifest) -> None:
    (tmp_path / "file").write_text("not a folder")
    store = Store(tmp_path / "file" / "models", {"tiny": make_manifest("tiny", FILES)})
    with pytest.raises(ModelsError, match="file/models"):
        store.install("tiny", from_dir=folder)


def test_packs_live_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRSTVISIT_MODELS", str(tmp_path))
    assert default_root() == tmp_path
    monkeypatch.delenv("FIRSTVISIT_MODELS")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert default_root() == tmp_path / "data" / "firstvisit" / "models"
