import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import beta

from models import ModelsError
from models.calibrate import calibrate, fused_tracks, measure_folder
from models.face_set import FaceSet
from models.folder import calibration_toml
from models.pairs import BINS, NonMated, Pairs
from models.store import Store, no_progress
from models.tail import fit_tail


def strangers(people: int, images: int, dim: int, noise: float, own_dim: int | None = None) -> FaceSet:
    """Unit vectors around one random direction a person, which lies within the first `own_dim` dimensions."""
    rng = np.random.default_rng(7)
    centres = rng.normal(size=(people, 1, dim))
    centres[:, :, own_dim or dim :] = 0
    vectors = (centres + noise * rng.normal(size=(people, images, dim))).reshape(-1, dim)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    whose, count = np.repeat(np.arange(people), images), people * images
    names = tuple(map(str, range(people)))
    paths = tuple(Path(str(number)) for number in range(count))
    return FaceSet(
        vectors.astype(np.float32), whose, np.ones(count, np.bool_), np.ones(count, np.float32), names, paths
    )


def test_the_table_gives_back_the_rates_it_was_measured_at() -> None:
    faces = strangers(people=400, images=2, dim=16, noise=0.05)
    table = calibrate(faces, "made up")
    similarities = faces.vectors @ faces.vectors.T
    apart = faces.people[:, None] < faces.people[None, :]
    counted = [point for point in table.points if point[0] >= 3e-4]
    assert len(counted) == 6
    for fmr, similarity in counted:
        assert (similarities[apart] >= similarity).mean() == pytest.approx(fmr, rel=0.1)
    assert "400 people" in table.measured


def test_beyond_the_pairs_that_can_be_counted_the_tail_errs_on_the_side_of_fewer_false_returns() -> None:
    faces = strangers(people=800, images=1, dim=16, noise=0.05)
    fitted = [point for point in calibrate(faces, "made up").points if point[0] < 3e-4]
    assert fitted[-1][0] <= 1e-6
    for fmr, similarity in fitted:
        # of two random directions in 16 dimensions (1 + cosine) / 2 follows a beta distribution
        truly = beta.sf((1 + similarity) / 2, 7.5, 7.5)
        assert truly < 1.5 * fmr, (fmr, similarity)
        assert truly > fmr / 100 or fmr < 1e-5  # a bounded quantity and an unbounded tail part in the end


def test_a_heavy_tail_is_followed_to_rates_that_were_never_counted() -> None:
    rng = np.random.default_rng(3)
    people, pairs = 500, 124_750
    one, other = np.triu_indices(people, 1)
    excess = 0.04 * (rng.random(pairs) ** -0.1 - 1) / 0.1  # a generalised Pareto distribution: shape 0.1, scale 0.04
    order = np.argsort(-excess)[:200]
    highest = Pairs(excess[order].astype(np.float32), one[order], other[order])
    whole = NonMated(np.histogram(excess.clip(-1, 1), BINS, (-1, 1))[0], np.ones(people, np.int64))
    tail = fit_tail(whole, highest)
    for fmr, within in ((1e-4, 2), (1e-5, 4), (1e-6, 10)):
        assert fmr / within < tail(0.04 * (fmr**-0.1 - 1) / 0.1) < within * fmr


def test_too_few_people_are_refused_by_name(shared: Path, tmp_path: Path) -> None:
    pytest.importorskip("insightface", reason="insightface is not installed")
    (tmp_path / "faces" / "one").mkdir(parents=True)
    with pytest.raises(ModelsError, match=r"faces: holds images of 0 people.*at least 20"):
        measure_folder(shared / "models" / "insightface-pack", tmp_path / "faces", no_progress)


def test_a_folder_of_networks_is_measured_on_a_folder_of_faces(shared: Path, tmp_path: Path) -> None:
    pytest.importorskip("insightface", reason="insightface is not installed")
    people = sorted(path for path in (shared / "data" / "lfw-dev").iterdir() if len(list(path.iterdir())) > 1)[:25]
    for person in people:
        shutil.copytree(person, tmp_path / "faces" / person.name)
    (tmp_path / "faces" / people[0].name / "note.jpg").write_text("no image")
    networks = shared / "models" / "insightface-pack"
    measured = measure_folder(networks, tmp_path / "faces", no_progress)
    assert "25 people" in measured.measured
    assert "files that are no image: 1" in measured.measured
    store = Store(tmp_path / "models")
    added = store.add(networks, "mine", calibration=measured)
    assert added.calibration == measured
    assert 0.2 < added.calibration.threshold(0.1, 1000) < 0.7


def test_templates_fused_from_three_images_have_a_table_of_their_own_further_out(tmp_path: Path) -> None:
    faces = strangers(people=150, images=3, dim=64, noise=0.5, own_dim=16)
    found = calibrate(faces, "made up")
    tracks = fused_tracks(faces)
    similarities = tracks.vectors @ tracks.vectors.T
    apart = tracks.people[:, None] < tracks.people[None, :]
    of_tracks = found.of_tracks()
    for fmr, similarity in of_tracks.points[:4]:
        assert (similarities[apart] >= similarity).mean() == pytest.approx(fmr, rel=0.1)
    assert of_tracks.threshold(0.003, 1000) > found.threshold(0.003, 1000) + 0.02
    pack = tmp_path / "pack.toml"
    pack.write_text(calibration_toml(found))
    assert tomllib.loads(pack.read_text())["calibration"]["track_points"] == [list(one) for one in found.track_points]


def test_where_few_people_have_three_images_tracks_are_held_to_the_table_of_images() -> None:
    found = calibrate(strangers(people=90, images=3, dim=64, noise=0.8), "made up")
    assert found.track_points == ()
    assert found.of_tracks() == found
