"""Whether recognition is still as right as it was measured to be, on a few real people."""

from pathlib import Path

import cv2
import numpy as np

from models.pack import Pack, open_pack
from models.store import Store

EVERY_NTH = 8  # of the people with two images and more: 74 of them


def vector(pack: Pack, path: Path) -> np.ndarray:
    image = np.asarray(cv2.imread(str(path)), dtype=np.uint8)
    middle = np.array(image.shape[1::-1]) / 2
    faces = pack.detector.detect(image)
    face = min(faces, key=lambda face: float(np.linalg.norm(face.box_xyxy.reshape(2, 2).mean(axis=0) - middle)))
    return pack.embedder.embed(pack.chip(image, face)[np.newaxis])[0]


def test_mobilefacenet_tells_74_people_apart_as_well_as_it_was_measured_to(
    shared: Path, store_with_mobilefacenet: Store
) -> None:
    pack = open_pack(store_with_mobilefacenet, "mobilefacenet")
    people = [sorted(folder.iterdir()) for folder in sorted((shared / "data" / "lfw-dev").iterdir())]
    chosen = [images[:2] for images in people if len(images) > 1][::EVERY_NTH]
    first, second = (np.stack([vector(pack, images[number]) for images in chosen]) for number in (0, 1))
    similarities = first @ second.T
    own, others = np.diag(similarities), similarities[~np.eye(len(chosen), dtype=bool)]
    # measured: 2 missed, the most similar strangers at 0.366, d' 6.47; 6.29 without mirrored chips. With the first look
    # in 8 bits: 4 missed (two within 0.01 of the threshold), 0.358, 6.38; of 1,000 people the two miss as many
    eight_bits = pack.fine is not None
    assert (own < pack.calibration.threshold(0.01, 1000)).sum() <= (4 if eight_bits else 3)
    assert others.max() < pack.calibration.threshold(0.10, 1000)
    assert (own.mean() - others.mean()) / np.sqrt((own.var() + others.var()) / 2) > (6.33 if eight_bits else 6.38)
