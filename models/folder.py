"""A folder that insightface accepts, described as a pack."""

import json
import stat
import zipfile
from pathlib import Path, PurePosixPath

from models import ModelsError
from models.calibration import CAUTIOUS, Calibration
from models.download import sha256_of
from models.insight import files_of, open_folder
from models.manifest import RECIPE

MIN_SCORE = 0.5  # insightface's own default, FaceAnalysis.prepare(det_thresh)
UNPACKED_LIMIT_BYTES = 2 << 30  # the largest known pack unpacks to 0.5 GB


def describe(folder: Path) -> str:
    """Return the TOML tables [insightface] and [[files]] for what a pack needs of `folder`.

    Loads the networks to learn their shapes. Raises ModelsError where insightface cannot.
    """
    _, embedder = open_folder(folder, detect_px=640, min_score=MIN_SCORE, threads=1)
    lines = ["[insightface]", f"chip_px = {embedder.chip_px}", f"dim = {embedder.dim}", f"min_score = {MIN_SCORE}"]
    for name in files_of(folder):
        path = folder / name
        lines += ["", "[[files]]", f"name = {_quoted(name)}", f"sha256 = {_quoted(sha256_of(path))}"]
        lines.append(f"size_bytes = {path.stat().st_size}")
    return "\n".join([*lines, ""])


def as_pack(folder: Path, name: str, calibration: Calibration | None) -> str:
    """Return a whole manifest for a folder somebody brought along."""
    head = [
        f"name = {_quoted(name)}",
        f"about = {_quoted(f'added from the folder {folder.resolve().name}')}",
        'licence = "not stated: ask whoever trained it"',
        "commercial_use = false",
        f"recipe = {RECIPE}",
        "",
        describe(folder),
        calibration_toml(calibration or CAUTIOUS),
    ]
    return "\n".join(head)


def calibration_toml(calibration: Calibration) -> str:
    """Return the [calibration] table of a manifest."""
    lines = ["[calibration]", f"measured = {_quoted(calibration.measured)}"]
    for name, points in (("points", calibration.points), ("track_points", calibration.track_points)):
        if points:
            listed = ", ".join(f"[{fmr:.0e}, {similarity:.4f}]" for fmr, similarity in points)
            lines.append(f"{name} = [{listed}]")
    return "\n".join([*lines, ""])


def unpack(archive: Path, folder: Path) -> None:
    """Write the networks of a zip, and what describes them, into `folder`, without the zip's one outer folder, if any.

    Raises ModelsError on a member that would land outside, and on more than 2 GB.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            members = [member for member in zipped.infolist() if not member.is_dir() and _is_wanted(member.filename)]
            paths = [PurePosixPath(member.filename) for member in members]
            for member, path in zip(members, paths, strict=True):
                if path.is_absolute() or ".." in path.parts or "\\" in member.filename:
                    raise ModelsError(f"{archive.name}: {member.filename} would land outside the pack")
                if stat.S_ISLNK(member.external_attr >> 16):
                    raise ModelsError(f"{archive.name}: {member.filename} is a link")
            if sum(member.file_size for member in members) > UNPACKED_LIMIT_BYTES:
                raise ModelsError(f"{archive.name}: unpacks to more than 2 GB")
            outer = {path.parts[0] for path in paths if len(path.parts) > 1}
            nested = len(outer) == 1 and all(len(path.parts) > 1 for path in paths)
            for member, path in zip(members, paths, strict=True):
                target = folder.joinpath(*path.parts[1:] if nested else path.parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(zipped.read(member))
    except (zipfile.BadZipFile, OSError) as error:
        raise ModelsError(f"{archive.name}: cannot be unpacked: {error}") from error


def _is_wanted(name: str) -> bool:
    return name.endswith((".onnx", "manifest.json", "MODEL.LICENSE"))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
