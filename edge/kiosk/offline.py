"""What a tablet shows while the node is away: a service worker that keeps files alike for everybody, never a page."""

import hashlib
import json
from pathlib import Path

from starlette.responses import Response

from edge.kiosk.shell import Shell
from sync.web.pages import SHARED_STATIC

_HERE = Path(__file__).parent
_FOLDERS = {"/static/": _HERE / "static", "/shared/": SHARED_STATIC}


def mount(shell: Shell) -> None:
    """Add /sw.js: at the root, for a worker may answer for no address above its own."""
    script = worker()

    @shell.app.get("/sw.js")
    def service_worker() -> Response:
        return Response(script, media_type="text/javascript")


def worker() -> str:
    """The worker's script, which names what it keeps; it is another one as soon as any of that is another."""
    files = {
        f"{prefix}{file.relative_to(folder).as_posix()}": file
        for prefix, folder in _FOLDERS.items()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    source = (_HERE / "worker.js").read_text(encoding="utf-8")
    version = hashlib.sha256(source.encode())
    for name, file in files.items():
        version.update(name.encode() + hashlib.sha256(file.read_bytes()).digest())
    return f'const KEPT = "firstvisit-{version.hexdigest()[:16]}";\nconst FILES = {json.dumps([*files])};\n{source}'
