"""A file from one of several addresses: resumable, verified, never half-written."""

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from models import ModelsError

if TYPE_CHECKING:  # at run time it is imported where something is fetched: opening a pack need not wait for it
    import httpx

log = logging.getLogger(__name__)

# GitHub is often unreachable in China and then hangs rather than refuses.
TIMEOUT_S, CONNECT_TIMEOUT_S = 30.0, 5.0

Progress = Callable[[str, int, int], None]  # label, bytes done, bytes in all


class SourceError(ModelsError):
    """A file could be had from none of its sources."""


class _WrongFileError(Exception):
    """What an address answered is not the file."""


def sha256_of(path: Path) -> str:
    """Return the hex sha256 of the file at `path`."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def with_mirror(urls: list[str]) -> list[str]:
    """Return `urls` behind the mirror that FIRSTVISIT_MIRROR names, if any.

    The variable holds either an address with `{url}` in it, where the original address is put in, or the address of a
    folder that holds the files by their names.
    """
    mirror = os.environ.get("FIRSTVISIT_MIRROR", "")
    if not mirror:
        return urls
    if "{url}" in mirror:
        return [mirror.replace("{url}", url) for url in urls] + urls
    names = dict.fromkeys(url.rsplit("/", 1)[-1] for url in urls)
    return [f"{mirror.rstrip('/')}/{name}" for name in names] + urls


def download(urls: list[str], target: Path, *, sha256: str, size_bytes: int | None, progress: Progress) -> None:
    """Fetch the file with this sha256 to `target` from the first of `urls` that has it.

    A part already fetched (`target` + .part) is continued. `target` appears only when whole and verified.
    Raises SourceError with what each address answered.
    """
    import httpx

    part = target.with_name(target.name + ".part")
    hosts_by_reason: dict[str, list[str]] = {}
    timeout = httpx.Timeout(TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    with httpx.Client(timeout=timeout, follow_redirects=True, headers={"Accept-Encoding": "identity"}) as client:
        for url in urls:
            try:
                _fetch(client, url, part, sha256=sha256, size_bytes=size_bytes, progress=progress)
            except (httpx.HTTPError, httpx.InvalidURL, _WrongFileError) as error:
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                log.debug("download failed url=%s reason=%s", url, reason)
                hosts_by_reason.setdefault(reason, []).append(urlsplit(url).hostname or url)
            else:
                part.replace(target)
                return
    failures = "; ".join(f"{', '.join(hosts)}: {reason}" for reason, hosts in hosts_by_reason.items())
    raise SourceError(f"{target.name} could not be fetched ({failures or 'no address known'})")


def _fetch(
    client: "httpx.Client", url: str, part: Path, *, sha256: str, size_bytes: int | None, progress: Progress
) -> None:
    """Complete `part` from one address; a broken connection is resumed as long as each try brings something."""
    import httpx

    while True:
        had = part.stat().st_size if part.exists() else 0
        try:
            _receive(client, url, part, size_bytes=size_bytes, progress=progress)
        except httpx.TransportError:
            if part.exists() and part.stat().st_size > had:
                continue
            raise
        if sha256_of(part) == sha256:
            return
        part.unlink()
        if not had:
            raise _WrongFileError("another file than expected (wrong sha256)")
        # what was there before did not belong to this file: once more from the start


def _receive(client: "httpx.Client", url: str, part: Path, *, size_bytes: int | None, progress: Progress) -> None:
    import httpx

    have = part.stat().st_size if part.exists() else 0
    if size_bytes is not None and have >= size_bytes:
        return
    headers = {"Range": f"bytes={have}-"} if have else {}
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return
        response.raise_for_status()
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        if resumed and not response.headers.get("content-range", "").startswith(f"bytes {have}-"):
            raise _WrongFileError("answers another range than asked for")
        done = have if resumed else 0
        total = done + int(response.headers.get("content-length", 0))
        if size_bytes is not None and total not in (done, size_bytes):
            raise _WrongFileError(f"{total} bytes, expected {size_bytes}")
        with part.open("ab" if resumed else "wb") as stream:
            for chunk in response.iter_bytes():
                stream.write(chunk)
                done += len(chunk)
                if size_bytes is not None and done > size_bytes:
                    raise _WrongFileError(f"more than the expected {size_bytes} bytes")
                progress(part.name.removesuffix(".part"), done, size_bytes or total)
