"""An installed pack, opened: detector, embedder and thresholds that belong together."""

from dataclasses import dataclass

from models import ModelsError
from models.calibration import Calibration
from models.centerface import CenterFace
from models.embedding import ChipEmbedder
from models.faces import Detector, Embedder, Face, Image
from models.manifest import RECIPE, Manifest
from models.refine import refined
from models.runtime import Network, multiplies_bytes
from models.store import Store
from models.yunet import YuNet


@dataclass(frozen=True, slots=True)
class Pack:
    """Everything recognition needs; `pack_id` tells whose vectors may be compared.

    fine: what finds landmarks best, where the detector itself is the quick one.
    """

    pack_id: str
    name: str
    licence: str
    detector: Detector
    embedder: Embedder
    calibration: Calibration
    fine: Detector | None = None

    def refine(self, image: Image, face: Face) -> Face:
        """Return a face of image (H, W, 3) uint8 BGR with better landmarks, to cut a chip by; costs a small detection.

        Its box and score stay.
        """
        return refined(self.fine or self.detector, image, face)

    def chip(self, image: Image, face: Face) -> Image:
        """Return the chip of a face of image (H, W, 3) uint8 BGR, cut by refined landmarks."""
        return self.embedder.align(image, self.refine(image, face))


def open_pack(store: Store, name: str, *, detect_px: int = 640, threads: int = 1, quick: bool | None = None) -> Pack:
    """Return the installed pack `name`, each of its files verified before it is loaded.

    detect_px: long side, px, to which a frame is shrunk for detection. threads: inside a network's operators. quick:
    whether to find faces with the 8-bit network that the install has made; default: where the processor is made for it.
    Raises ModelsError naming the file that is missing, damaged or cannot be loaded, and on a pack of another recipe.
    """
    manifest = store.manifest(name)
    if manifest.recipe != RECIPE:
        raise ModelsError(
            f"pack {name} was measured with recipe {manifest.recipe}, this program's is {RECIPE}: add the pack again"
        )
    fine, embedder = _adapters(store, manifest, detect_px, threads)
    find = manifest.detector
    detector = fine
    if find is not None and find.quick in manifest.made and (multiplies_bytes() if quick is None else quick):
        network = Network(store.read(name, find.quick), name=find.quick, threads=threads)
        detector = CenterFace(network, detect_px=detect_px, min_score=find.min_score)
    return Pack(manifest.pack_id, manifest.name, manifest.licence, detector, embedder, manifest.calibration, fine)


def _adapters(store: Store, manifest: Manifest, detect_px: int, threads: int) -> tuple[Detector, Embedder]:
    if manifest.insightface is not None:
        from models.insight import open_folder  # insightface is optional, and slow to import

        for file in manifest.files:
            store.read(manifest.name, file.name)
        folder = store.root / manifest.name
        return open_folder(folder, detect_px=detect_px, min_score=manifest.insightface.min_score, threads=threads)
    find, read = manifest.detector, manifest.embedder
    assert find is not None  # Manifest allows no other
    assert read is not None
    network = Network(store.read(manifest.name, find.file), name=find.file, threads=threads)
    kind = CenterFace if find.kind == "centerface" else YuNet
    detector = kind(network, detect_px=detect_px, min_score=find.min_score)
    embedder = ChipEmbedder(
        Network(store.read(manifest.name, read.file), name=read.file, threads=threads),
        chip_px=read.chip_px,
        dim=read.dim,
        template_xy=read.template_xy,
        mean_rgb=read.mean_rgb,
        std_rgb=read.std_rgb,
    )
    return detector, embedder
