"""Where packs live on this machine: fetched, verified, installed whole or not at all."""

import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import platformdirs

from models import ModelsError, manifest
from models.calibration import Calibration
from models.centerface import RANGES, quick
from models.download import Progress, SourceError, sha256_of
from models.fetch import Fetcher
from models.folder import as_pack, describe, unpack
from models.manifest import ArchiveSpec, Manifest, shipped_file

log = logging.getLogger(__name__)

RECOMMENDED = "mobilefacenet"
LAST_RESORT = "dlib-distilled"  # all of it comes through a package mirror, or with the program
RANK = (RECOMMENDED, LAST_RESORT, "dlib")  # of several that are installed, the first of these is used
Names = list[str]  # Store.list hides the built-in inside its class
DOWNLOADS = ".downloads"  # parts of files, kept for the next try


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

    def __init__(self, root: Path, shipped: dict[str, str] | None = None) -> None:
        """root: the folder, made when first needed; shipped: manifests by name, default those of the program."""
        self.root = root
        self._shipped = manifest.shipped() if shipped is None else shipped

    def installed(self) -> Names:
        """Return the names of the packs that are installed, sorted."""
        if not self.root.is_dir():
            return []
        return sorted(path.parent.name for path in self.root.glob("[!.]*/pack.toml"))

    def manifest(self, name: str) -> Manifest:
        """Return an installed pack's manifest; raises ModelsError that says how to install it where it is not.

        What a shipped pack's files are used for, and how well that was measured, is the program's to say: it may be
        newer than the install.
        """
        if name not in self.installed():
            if name in self._shipped:
                raise ModelsError(f"pack {name} is not installed under {self.root}: firstvisit models install {name}")
            raise ModelsError(f"unknown pack {name!r}: known are {', '.join(self._known())}")
        found = manifest.load(self.root / name / "pack.toml")
        if found.name != name or not found.installed:
            raise ModelsError(f"{self.root / name / 'pack.toml'}: is not the manifest of an installed {name}")
        text = self._shipped.get(name)
        wanted = manifest.parse(text, f"packs/{name}.toml") if text else None
        if wanted is None or not _same_files(found, wanted):
            return found
        return replace(found, recipe=wanted.recipe, calibration=wanted.calibration, accuracy=wanted.accuracy)

    def list(self) -> tuple[Status, ...]:
        """Return every shipped and every installed pack."""
        return tuple(self._status(name) for name in self._known())

    def verify(self, name: str) -> Names:
        """Return one line for each file of an installed pack that is missing or not what was installed."""
        found = self.manifest(name)
        return [fault for file in found.sha256 if (fault := self._fault(found, file))]

    def read(self, name: str, file: str) -> bytes:
        """Return the bytes of one file of an installed pack; raises ModelsError unless they are what was installed."""
        found = self.manifest(name)
        path = self.root / name / file
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise ModelsError(f"{path}: is missing{self._repair(name)}") from None
        except OSError as error:
            raise ModelsError(f"{path}: cannot be read: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != found.sha256[file]:
            raise ModelsError(f"{path}: is not the file that was installed (wrong sha256){self._repair(name)}")
        return content

    def pick(self, name: str | None) -> str:
        """Return the pack to use: `name`, else the only one installed, else the first of RANK."""
        if name is not None:
            return self.manifest(name).name
        there = self.installed()
        if len(there) == 1:
            return there[0]
        for preferred in RANK:
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
            try:
                return self._install(name, from_dir, accept_licence, progress)
            except SourceError as error:
                raise SourceError(f"{error}; from a folder: firstvisit models install {name} --from DIR") from error
        try:
            return self._install(RECOMMENDED, from_dir, accept_licence, progress)
        except SourceError as error:
            log.info("pack unreachable pack=%s reason=%s", RECOMMENDED, error)
            reason = str(error)
        try:
            done = self._install(LAST_RESORT, from_dir, accept_licence, progress)
        except SourceError as error:
            raise SourceError(f"{RECOMMENDED}: {reason}; {LAST_RESORT}: {error}") from error
        return Installation(done.name, done.already, self._fallback_warning(reason))

    def add(self, folder: Path, name: str | None = None, *, calibration: Calibration | None = None) -> Manifest:
        """Install a folder that insightface's FaceAnalysis accepts, in place of an added pack of that name.

        name: default is the folder's. calibration: default is a cautious table that says it is uncalibrated.
        """
        name = name or folder.resolve().name.lower()
        if name in self._shipped:
            raise ModelsError(f"pack {name} is shipped with the program: choose another --name")
        if not manifest.PACK_NAME.fullmatch(name):
            raise ModelsError(f"{name!r} is no name for a pack (lower-case letters, digits, . _ -): choose a --name")
        text = as_pack(folder, name, calibration)
        wanted = manifest.parse(text, f"manifest for {folder}")
        with self._staging() as staging:
            hashes = _copy_verified(wanted, folder, staging)
            self._publish(name, staging, _installed_text(text, hashes))
        return self.manifest(name)

    def _install(self, name: str, from_dir: Path | None, accept_licence: bool, progress: Progress) -> Installation:
        text = self._shipped.get(name)
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
                here = (self.root / name / "pack.toml").read_text("utf-8")
                if wanted.archive is not None or _installed_text(text, already.installed, already.made) == here:
                    return Installation(name, already=True)
                # the same files under a newer manifest, such as thresholds measured anew
                for file in already.files:
                    _copy(self.root / name / file.name, staging / file.name)
                hashes = already.installed
            elif wanted.archive is not None:
                unpacked = self._unpack(wanted.archive, from_dir, progress, staging)
                text += "\n" + describe(unpacked)
                wanted = manifest.parse(text, f"packs/{name}.toml")
                hashes = _copy_verified(wanted, unpacked, staging)
            else:
                fetcher = Fetcher(self.root / DOWNLOADS, from_dir, progress)
                hashes = {file.name: fetcher.fetch(file, staging / file.name) for file in wanted.files}
            self._publish(name, staging, _installed_text(text, hashes, _made(wanted, staging)))
            shutil.rmtree(self.root / DOWNLOADS, ignore_errors=True)
        return Installation(name, already=False)

    def _unpack(self, archive: ArchiveSpec, from_dir: Path | None, progress: Progress, staging: Path) -> Path:
        fetched = Fetcher(self.root / DOWNLOADS, from_dir, progress).fetch_archive(archive)
        unpacked = staging.with_name("unpacked")
        unpack(fetched, unpacked)
        return unpacked

    def _fallback_warning(self, reason: str) -> str:
        packs = {name: manifest.parse(self._shipped[name], name) for name in (RECOMMENDED, LAST_RESORT)}
        missed = {name: pack.accuracy.fnir_fpir1pct_n1000 for name, pack in packs.items() if pack.accuracy}
        return (
            f"{RECOMMENDED} could not be had: {reason}. Installed {LAST_RESORT} instead. It calls "
            f"{missed[LAST_RESORT]:.0%} of returning visitors new where {RECOMMENDED} misses {missed[RECOMMENDED]:.0%} "
            f"(FNIR at FPIR 1%, 1,000 people). Better: firstvisit models install {RECOMMENDED} --from DIR"
        )

    def _known(self) -> Names:
        first = [name for name in RANK if name in self._shipped]
        return [*dict.fromkeys([*first, *self._shipped, *self.installed()])]

    def _status(self, name: str) -> Status:
        text = self._shipped.get(name)
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
        if sha256_of(path) != found.sha256[file]:
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
        return _same_files(found, wanted) and not self.verify(wanted.name)

    def _repair(self, name: str) -> str:
        return f": firstvisit models install {name} repairs it" if name in self._shipped else ": add the pack again"

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


def _same_files(found: Manifest, wanted: Manifest) -> bool:
    """Whether an installed pack is made of the very files that a manifest lists."""
    if wanted.archive is not None:
        return found.archive is not None and found.archive.sha256 == wanted.archive.sha256
    made_of = {(file.name, file.sha256, file.convert) for file in found.files}
    return made_of == {(file.name, file.sha256, file.convert) for file in wanted.files}


def _installed_text(text: str, hashes: dict[str, str], made: dict[str, str] | None = None) -> str:
    lines = [text.rstrip("\n")]
    for table, of in (("installed", hashes), ("made", made)):
        if of:
            lines += ["", f"[{table}]", *(f'"{name}" = "{sha256}"' for name, sha256 in sorted(of.items()))]
    return "\n".join([*lines, ""])


def _made(wanted: Manifest, staging: Path) -> dict[str, str]:
    """Make the files that a pack can do without; return their sha256."""
    find = wanted.detector
    if find is None or not find.quick:
        return {}
    target = staging / find.quick
    try:
        target.write_bytes(quick((staging / find.file).read_bytes(), shipped_file(RANGES)))
    except ModelsError as error:
        log.warning("no 8-bit detector, faces are found at half the speed: %s", error)
        return {}
    return {find.quick: sha256_of(target)}


def _copy_verified(wanted: Manifest, folder: Path, staging: Path) -> dict[str, str]:
    """Copy the files that `wanted` lists and return their sha256, which is the manifest's."""
    for file in wanted.files:
        _copy(folder / file.name, staging / file.name)
        if sha256_of(staging / file.name) != file.sha256:
            raise ModelsError(f"{folder / file.name}: changed while it was copied")
    return {file.name: file.sha256 for file in wanted.files}


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
