"""Two faces in one picture are two people, however alike: a real face twice in one film is never one identity."""

from contextlib import closing
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from edge.home import create_home
from edge.node import RunOptions, run
from edge.settings import new_config
from edge.visits.visit_log import visit_log
from models.pack import Pack


@pytest.fixture
def twins(tmp_path: Path) -> Path:
    """Two seconds of the astronaut beside her own picture, a little darker."""
    data = pytest.importorskip("skimage.data", reason="scikit-image is not installed")
    face = np.ascontiguousarray(data.astronaut()[:400, 60:400, ::-1])
    darker = np.clip(face * 0.85 + 8, 0, 255).astype(np.uint8)
    picture = np.hstack([face, darker])
    path = tmp_path / "twins.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "12", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = picture.shape[1], picture.shape[0], "yuv420p"
        stream.time_base = Fraction(1, 10)
        for _ in range(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode())
    return path


def test_one_face_twice_in_one_picture_is_two_people_each_time(twins: Path, tmp_path: Path, pack: Pack) -> None:
    config = new_config(
        site="s", node="gate", place={"datum": "wgs84"}, capture={"mode": "ephemeral", "legal_basis": "test"}
    )
    home = create_home(tmp_path / "home", config, None)
    for _ in range(2):
        assert run(home, RunOptions(sources=(str(twins),), visit_gap_s=0, until_end=True, fast=True, pack=pack.name))
        with closing(home.open_ledger()) as ledger:
            pair = visit_log(ledger)[-2:]
        assert len({visit.person_id for visit in pair}) == 2
        assert pair[1].record.fields["company"] == [pair[0].visit_id]
