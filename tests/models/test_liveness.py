"""A network against photographs held up is installed whole, verified, and says how likely a face is live."""

import re
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from models import ModelsError
from models.cli import app
from models.faces import Face
from models.liveness import FOLDER, add_liveness, open_liveness
from models.pack import open_pack
from models.store import Store

SPEC = {"crop": 1.5, "side_px": 64, "live_index": 0}
FACE = Face(
    np.array([60, 50, 100, 100], np.float32),
    np.array([[70, 65], [90, 65], [80, 75], [72, 88], [88, 88]], np.float32),
    0.9,
)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A real network that calls what is redder than it is blue live."""
    return made(tmp_path / "redder.onnx", [[8, -8], [0, 0], [-8, 8]])


def made(path: Path, of_colours: list[list[float]]) -> Path:
    """A network whose two answers are sums of what a picture has of red, green and blue."""
    weights = numpy_helper.from_array(np.array(of_colours, np.float32), "weights")
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 64, 64])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 2])
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["out"]),
    ]
    graph = helper.make_graph(nodes, "redder", [image], [out], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return path


def failing_on_white(path: Path) -> Path:
    """A network that runs on black, as it is tried at installation, and fails on white: no row 255 of its table."""
    table = numpy_helper.from_array(np.array([[0.5, 0.5]], np.float32), "table")
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 64, 64])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 2])
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["most"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Cast", ["most"], ["row"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "row"], ["out"]),
    ]
    graph = helper.make_graph(nodes, "failing", [image], [out], [table])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


def picture(bgr: tuple[int, int, int]) -> np.ndarray:
    return np.full((150, 160, 3), bgr, np.uint8)


def test_an_installed_network_says_how_likely_a_face_is_live(tmp_path: Path, network: Path) -> None:
    spec = add_liveness(tmp_path / "models", network, {**SPEC, "licence": "MIT"})
    assert (spec.file, spec.licence, spec.channels) == ("redder.onnx", "MIT", "rgb")
    judge = open_liveness(tmp_path / "models")
    assert judge is not None
    assert judge.live(picture((0, 0, 255)), FACE) > 0.99
    assert judge.live(picture((255, 0, 0)), FACE) < 0.01
    assert judge.live(picture((90, 90, 90)), FACE) == pytest.approx(0.5)


def test_channels_and_the_live_output_are_as_installed(tmp_path: Path, network: Path) -> None:
    for more, red_is_live in (({"channels": "bgr"}, False), ({"live_index": 1}, False), ({}, True)):
        add_liveness(tmp_path, network, {**SPEC, **more})
        judge = open_liveness(tmp_path)
        assert judge is not None
        assert (judge.live(picture((0, 0, 255)), FACE) > 0.5) is red_is_live


def test_it_looks_at_the_square_around_the_face_and_at_black_beyond_the_picture(tmp_path: Path, network: Path) -> None:
    add_liveness(tmp_path, network, SPEC)
    judge = open_liveness(tmp_path)
    assert judge is not None
    blue = picture((255, 0, 0))
    blue[30:120, 30:130] = (0, 0, 255)  # the face is 50 px high: the square reaches 38 px from its middle
    assert judge.live(blue, FACE) > 0.99
    corner = Face(FACE.box_xyxy - 50, FACE.landmarks_xy - 50, 0.9)
    assert 0.5 < judge.live(picture((0, 0, 60)), corner) < judge.live(picture((0, 0, 60)), FACE)


def test_without_one_there_is_none(tmp_path: Path) -> None:
    assert open_liveness(tmp_path) is None


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"crop": 4.0}, "crop"), ({"side_px": 0}, "side"), ({"live_index": 2}, "live_index"), ({"side_px": 96}, "96 px")],
)
def test_what_cannot_be_is_refused_and_nothing_is_installed(
    tmp_path: Path, network: Path, wrong: dict[str, object], said: str
) -> None:
    with pytest.raises(ModelsError, match=said):
        add_liveness(tmp_path / "models", network, {**SPEC, **wrong})
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("--live-index", "2"), "--live-index"),
        (("--channels", "grb"), "--channels"),
        (("--crop", "9"), "--crop"),
        (("--side", "0"), "--side"),
    ],
)
def test_what_cannot_be_is_named_by_its_option(
    tmp_path: Path, network: Path, monkeypatch: pytest.MonkeyPatch, wrong: tuple[str, str], said: str
) -> None:
    monkeypatch.setenv("FIRSTVISIT_MODELS", str(tmp_path / "models"))
    given = {"--crop": "1.5", "--side": "64", "--live-index": "0", **dict([wrong])}
    arguments = ["add-liveness", str(network), *(word for pair in given.items() for word in pair)]
    ended = CliRunner().invoke(app, arguments)
    assert ended.exit_code != 0
    assert said in re.sub(r"\x1b\[[0-9;]*m", "", ended.output + str(ended.exception))


def test_another_file_in_its_place_is_not_run(tmp_path: Path, network: Path) -> None:
    add_liveness(tmp_path, network, SPEC)
    (tmp_path / FOLDER / "redder.onnx").write_bytes(network.read_bytes() + b"\0")
    with pytest.raises(ModelsError, match="not what was installed"):
        open_liveness(tmp_path)


def test_a_network_that_runs_over_says_nothing_of_that_face(tmp_path: Path) -> None:
    add_liveness(tmp_path, made(tmp_path / "hot.onnx", [[3e38, 0], [3e38, 0], [3e38, 1]]), SPEC)
    judge = open_liveness(tmp_path)
    assert judge is not None
    assert judge.live(picture((255, 255, 255)), FACE) is None
    assert judge.live(picture((0, 0, 0)), FACE) == pytest.approx(0.5)


def test_a_network_that_fails_is_given_up_with_one_line_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add_liveness(tmp_path, failing_on_white(tmp_path / "failing.onnx"), SPEC)
    judge = open_liveness(tmp_path)
    assert judge is not None
    assert judge.live(picture((0, 0, 0)), FACE) == pytest.approx(0.5)
    assert judge.live(picture((255, 255, 255)), FACE) is None
    assert judge.live(picture((255, 255, 255)), FACE) is None
    assert judge.live(picture((0, 0, 0)), FACE) is None
    assert caplog.text.count("liveness network given up") == 1


def test_a_network_may_not_take_the_place_of_what_is_to_be_known_of_it(tmp_path: Path, network: Path) -> None:
    with pytest.raises(ModelsError, match="file name"):
        add_liveness(tmp_path / "models", network.rename(tmp_path / f"{FOLDER}.toml"), SPEC)
    assert not (tmp_path / "models").exists()


def test_a_network_that_answers_with_no_numbers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelsError, match="no numbers"):
        add_liveness(tmp_path / "models", made(tmp_path / "nan.onnx", [[np.nan, 0], [0, 0], [0, 0]]), SPEC)
    assert not (tmp_path / "models").exists()


def test_what_is_no_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(ModelsError, match=r"text\.onnx"):
        add_liveness(tmp_path / "models", tmp_path / "text.onnx", SPEC)


def test_a_real_network_tells_a_face_from_two_photographs_of_one(
    shared: Path, tmp_path: Path, store_with_mobilefacenet: Store
) -> None:
    add_liveness(
        tmp_path, shared / "models" / "liveness" / "AntiSpoofing_bin_1.5_128.onnx", {**SPEC, "side_px": 128}
    )  # fmt: skip
    judge = open_liveness(tmp_path)
    assert judge is not None
    pack = open_pack(store_with_mobilefacenet, "mobilefacenet")
    said = {}
    for name in ("live-1", "spoof-1", "spoof-2"):
        image = np.asarray(cv2.imread(str(shared / "data" / "spoof" / f"{name}.jpg")), np.uint8)
        said[name] = judge.live(image, pack.refine(image, pack.detector.detect(image)[0]))
    assert said["live-1"] > 0.9
    assert max(said["spoof-1"], said["spoof-2"]) < 0.1
