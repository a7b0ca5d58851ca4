"""Whether a face is no photograph or screen held up: any binary anti-spoofing network over a square around a face.

None comes with the program: those there are state no licence, or one for research. `firstvisit models add-liveness`
keeps one that a site has obtained, and what is to be known of it, beside the packs.
"""

import hashlib
import logging
import os
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import tomlkit
from pydantic import ConfigDict, TypeAdapter, ValidationError

from models import ModelsError
from models.align import square, to_square
from models.faces import Face, Image
from models.manifest import SHA256, STRICT
from models.runtime import Network

log = logging.getLogger(__name__)

FOLDER = "liveness"  # under the models folder; a pack has a pack.toml, this has none
_MANIFEST = "liveness.toml"
MAX_CROP = 2.5  # of the face's longer side: what is kept of a frame around a face reaches no further


@dataclass(frozen=True, slots=True)
class LivenessSpec:
    """How a network's file is used: a square of `crop` times the face's longer side, `side_px` px, RGB or BGR, 0..1.

    live_index: which of its two outputs says "live". licence: as whoever installed it states it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    file: str
    sha256: str
    crop: float
    side_px: int
    live_index: Literal[0, 1]
    channels: Literal["rgb", "bgr"] = "rgb"
    licence: str = "not stated"

    def __post_init__(self) -> None:
        if not SHA256.fullmatch(self.sha256) or Path(self.file).name != self.file or self.file in ("", _MANIFEST):
            raise ModelsError("a liveness network needs a file name and a sha256")
        if not 1.0 <= self.crop <= MAX_CROP:
            raise ModelsError(f"--crop must be 1..{MAX_CROP} times the face, not {self.crop}")
        if not 32 <= self.side_px <= 512:
            raise ModelsError(f"--side must be 32..512 px, not {self.side_px}")


class Liveness:
    """An installed anti-spoofing network."""

    def __init__(self, network: Network, spec: LivenessSpec) -> None:
        """Raises ModelsError where the network does not answer with two numbers for a picture of this size."""
        self._network = network
        self._spec = spec
        self._failed = False
        if self._answer(np.zeros((spec.side_px, spec.side_px, 3), np.uint8)) is None:
            raise ModelsError(f"{network.name}: answers with no numbers")

    @property
    def spec(self) -> LivenessSpec:
        """What it is."""
        return self._spec

    def live(self, image: Image, face: Face) -> float | None:
        """Return how likely a face of image (H, W, 3) uint8 BGR is no photograph or screen, 0..1.

        None where the network cannot say: infinite, or not a number; and from the first picture on that it fails at.
        """
        if self._failed:
            return None
        side_px = self._spec.side_px
        try:
            return self._answer(square(image, to_square(face.box_xyxy, self._spec.crop, side_px), side_px))
        except ModelsError as error:  # it says nothing of who came in: that goes on being recorded, with a lower grade
            self._failed = True
            log.error("liveness network given up until the next start: %s", error)
            return None

    def _answer(self, square: Image) -> float | None:
        picture = square[:, :, ::-1] if self._spec.channels == "rgb" else square
        blob = np.ascontiguousarray(picture.transpose(2, 0, 1)[np.newaxis], dtype=np.float32) / np.float32(255)
        try:
            scores = np.asarray(self._network.run(blob)[0], np.float64).reshape(-1)
        except Exception as error:  # onnxruntime raises a private class for each of its status codes
            raise ModelsError(f"{self._network.name}: does not run on {self._spec.side_px} px ({error})") from error
        if scores.size != 2:
            raise ModelsError(f"{self._network.name}: answers with {scores.size} numbers, expected two")
        if not np.isfinite(scores).all():
            return None
        if not (scores >= 0).all() or abs(float(scores.sum()) - 1) > 1e-3:  # no probabilities yet
            scores = np.exp(scores - scores.max())
            scores /= scores.sum()
        return float(scores[self._spec.live_index])


def add_liveness(root: Path, file: Path, spec_of: dict[str, object]) -> LivenessSpec:
    """Install a network's file under the models folder `root`, in the place of one that was there.

    spec_of: what LivenessSpec holds, without file and sha256. Raises ModelsError in one line; nothing has changed then.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ModelsError(f"{file}: cannot be read: {error.strerror}") from error
    spec = _parsed({**spec_of, "file": file.name, "sha256": hashlib.sha256(content).hexdigest()}, str(file))
    Liveness(Network(content, name=file.name, threads=1), spec)
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / spec.file, content)
    document = {name: getattr(spec, name) for name in LivenessSpec.__slots__}
    _write(folder / _MANIFEST, tomlkit.dumps(document).encode())
    return spec


def open_liveness(root: Path) -> Liveness | None:
    """Return the installed network, verified, or None where there is none; raises ModelsError where it is damaged."""
    path = root / FOLDER / _MANIFEST
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ModelsError(f"{path}: cannot be read: {error}") from error
    try:
        spec = _parsed(tomllib.loads(text), str(path))
        content = (path.parent / spec.file).read_bytes()
    except (tomllib.TOMLDecodeError, OSError) as error:
        raise ModelsError(f"{path}: {error}: firstvisit models add-liveness") from error
    if hashlib.sha256(content).hexdigest() != spec.sha256:
        raise ModelsError(f"{path.parent / spec.file}: is not what was installed: firstvisit models add-liveness")
    return Liveness(Network(content, name=spec.file, threads=1), spec)


_ADAPTER: TypeAdapter[LivenessSpec] = TypeAdapter(LivenessSpec)


def _parsed(values: dict[str, object], where: str) -> LivenessSpec:
    try:
        return _ADAPTER.validate_python(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ModelsError(f"{where}: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from error


def _write(path: Path, content: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as scratch:
        scratch.write(content)
        scratch.flush()
        os.fsync(scratch.fileno())
    Path(scratch.name).chmod(0o644)
    Path(scratch.name).replace(path)
