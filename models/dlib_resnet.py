"""dlib's face ResNet, read out of its .dat file and written as ONNX, so that dlib itself is not needed.

The network (dlib's `anet_type`, examples/dnn_face_recognition_ex.cpp): a 7x7 convolution of stride 2, a 3x3 pool of
stride 2, 14 residual blocks of two 3x3 convolutions, the mean over all pixels, 128 weighted sums without bias. Every
convolution is followed by an affine layer, which folds into it.
"""

import struct
from dataclasses import dataclass

import numpy as np

from models import ModelsError
from models.faces import Float32

CHIP_PX = 150
DIM = 128
# (filters, halves the map) of each residual block, in the order of the forward pass
BLOCKS: tuple[tuple[int, bool], ...] = (
    *[(32, False)] * 3,
    *[(64, True), (64, False), (64, False), (64, False)],
    *[(128, True), (128, False), (128, False)],
    *[(256, True), (256, False), (256, False)],
    (256, True),
)
FEATURES = "features"  # (N, 1280): the last map (256, 2, 2), flattened, and the mean over the one before (256, 4, 4)
OPSET = 13
IR_VERSION = 8


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """The network's numbers: 29 convolutions in the order of the forward pass, and the last layer.

    convolutions: (weights (filters, channels, side, side), biases (filters,)) each, the affine layer folded in.
    matrix: (256, 128) float32, from the mean over all pixels to the vector.
    """

    convolutions: tuple[tuple[Float32, Float32], ...]
    matrix: Float32


@dataclass(frozen=True, slots=True, eq=False)
class Taught:
    """A second reading of the network's last maps, beside dlib's own.

    matrix: (1280, 128) float32, from `FEATURES`. biases: (128,) float32. own_weight: what dlib's own vector of norm 1
    is multiplied by before it is put behind the taught one of norm 1.
    """

    matrix: Float32
    biases: Float32
    own_weight: float


def converted(dat: bytes) -> bytes:
    """Return the ONNX file of the network in `dat`: chips (N, 3, 150, 150) RGB float32, prepared, to (N, 128).

    Deterministic. Raises ModelsError where `dat` is not dlib_face_recognition_resnet_model_v1.
    """
    return written(read(dat))


def read(dat: bytes) -> Weights:
    """Return the weights in `dat`; raises ModelsError where it is not dlib_face_recognition_resnet_model_v1."""
    reader = _Reader(dat)
    convolutions = [reader.convolution(3, 32, 7)]
    channels = 32
    for filters, _halves in BLOCKS:
        convolutions += [reader.convolution(channels, filters, 3), reader.convolution(filters, filters, 3)]
        channels = filters
    matrix = reader.fully_connected(channels, DIM)
    reader.check_end()
    return Weights(tuple(convolutions), matrix)


def written(weights: Weights, taught: Taught | None = None) -> bytes:
    """Return the ONNX file of the network: chips to (N, 128), with `taught` to (N, 256), taught part first.

    Deterministic.
    """
    import onnx  # needed at install only, and large
    from onnx import TensorProto, helper

    graph = _Graph()
    first, *rest = weights.convolutions
    value = graph.node("Conv", ["chips", *graph.weights(*first)], strides=[2, 2])
    value = graph.node("MaxPool", [graph.node("Relu", [value])], kernel_shape=[3, 3], strides=[2, 2])
    maps = [value]
    channels, side_px = 32, 35
    for number, (filters, halves) in enumerate(BLOCKS):
        pair = rest[2 * number : 2 * number + 2]
        value, side_px = _block(graph, maps[-1], pair, filters - channels, halves, side_px)
        maps.append(value)
        channels = filters
    value = graph.node("Flatten", [graph.node("GlobalAveragePool", [maps[-1]])])
    if taught is None:
        graph.node("MatMul", [value, graph.constant(weights.matrix)], output="vectors")
    else:
        own = graph.node("LpNormalization", [graph.node("MatMul", [value, graph.constant(weights.matrix)])], axis=1)
        own = graph.node("Mul", [own, graph.constant(np.array(taught.own_weight, dtype=np.float32))])
        before = graph.node("Flatten", [graph.node("GlobalAveragePool", [maps[-2]])])
        features = graph.node("Concat", [graph.node("Flatten", [maps[-1]]), before], output=FEATURES, axis=1)
        value = graph.node("MatMul", [features, graph.constant(taught.matrix)])
        value = graph.node("Add", [value, graph.constant(taught.biases)])
        value = graph.node("LpNormalization", [value], axis=1)
        graph.node("Concat", [value, own], output="vectors", axis=1)
    dim = DIM if taught is None else 2 * DIM
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "dlib_face_recognition_resnet_model_v1",
            [helper.make_tensor_value_info("chips", TensorProto.FLOAT, ["batch", 3, CHIP_PX, CHIP_PX])],
            [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["batch", dim])],
            graph.initializers,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="firstvisit",
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _block(
    graph: "_Graph",
    value: str,
    convolutions: list[tuple[Float32, Float32]],
    more_channels: int,
    halves: bool,
    side_px: int,
) -> tuple[str, int]:
    """Add one residual block on `value`, a map of `side_px`, and return its output and the side of that."""
    first, second = (graph.weights(*convolution) for convolution in convolutions)
    # dlib pads a convolution only where its stride is 1
    if halves:
        inner = graph.node("Conv", [value, *first], strides=[2, 2])
    else:
        inner = graph.node("Conv", [value, *first], pads=[1, 1, 1, 1])
    inner = graph.node("Conv", [graph.node("Relu", [inner]), *second], pads=[1, 1, 1, 1])
    if halves:
        value = graph.node("AveragePool", [value], kernel_shape=[2, 2], strides=[2, 2])
        skip_px, inner_px = side_px // 2, (side_px - 3) // 2 + 1
        # dlib adds tensors of unequal size as if the smaller went on in zeros
        side_px = max(skip_px, inner_px)
        value = graph.pad(value, more_channels, side_px - skip_px)
        inner = graph.pad(inner, 0, side_px - inner_px)
    return graph.node("Relu", [graph.node("Add", [inner, value])]), side_px


class _Reader:
    """Reads dlib's serialised layers one after another."""

    def __init__(self, dat: bytes) -> None:
        self._dat = dat
        self._at = 0

    def convolution(self, channels: int, filters: int, side: int) -> tuple[Float32, Float32]:
        """Return weights (filters, channels, side, side) and biases (filters,) with the affine layer folded in."""
        values = self._tensor("con_4", filters * channels * side * side + filters)
        weights = values[:-filters].reshape(filters, channels, side, side)
        scale, shift = self._tensor("affine_", 2 * filters).reshape(2, filters)
        return weights * scale[:, None, None, None], values[-filters:] * scale + shift

    def fully_connected(self, inputs: int, outputs: int) -> Float32:
        """Return the weights (inputs, outputs) of the last layer."""
        return self._tensor("fc_2", inputs * outputs).reshape(inputs, outputs)

    def check_end(self) -> None:
        """Raise ModelsError if a layer is left that has not been read."""
        if any(self._dat.find(_tag(layer), self._at) >= 0 for layer in ("con_4", "affine_", "fc_2")):
            raise ModelsError("dlib .dat file: has more layers than the face ResNet")

    def _tensor(self, layer: str, count: int) -> Float32:
        """Return the parameters of the next layer of this kind: a tensor of version 2 follows its name.

        dlib/matrix/../cuda/tensor.h serialize(): version, four sizes, then the values as 4-byte little-endian floats.
        """
        found = self._dat.find(_tag(layer), self._at)
        if found < 0:
            raise ModelsError(f"dlib .dat file: no layer {layer} after byte {self._at}")
        self._at = found + len(_tag(layer))
        if layer == "fc_2":
            self._integer(), self._integer()  # outputs and inputs come before the tensor
        version, *sizes = (self._integer() for _ in range(5))
        if version != 2 or int(np.prod(sizes)) != count or self._at + 4 * count > len(self._dat):
            raise ModelsError(f"dlib .dat file: layer {layer} at byte {found} is {sizes}, expected {count} values")
        values = np.frombuffer(self._dat, dtype="<f4", count=count, offset=self._at).astype(np.float32)
        self._at += 4 * count
        return values

    def _integer(self) -> int:
        """Return one integer: a byte with the length (and the sign in bit 7), then that many bytes, lowest first."""
        try:
            (control,) = struct.unpack_from("B", self._dat, self._at)
        except struct.error as error:
            raise ModelsError("dlib .dat file: ends inside a layer") from error
        length = control & 0x0F
        self._at += 1 + length
        magnitude = int.from_bytes(self._dat[self._at - length : self._at], "little")
        return -magnitude if control & 0x80 else magnitude


def _tag(layer: str) -> bytes:
    return bytes([1, len(layer)]) + layer.encode()


class _Graph:
    """The ONNX nodes and constants made so far; names are numbered, so equal input gives equal bytes."""

    def __init__(self) -> None:
        from onnx import NodeProto, TensorProto

        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []

    def node(self, operator: str, inputs: list[str], output: str = "", **attributes: int | list[int]) -> str:
        """Append one node and return the name of its output."""
        from onnx import helper

        output = output or f"v{len(self.nodes)}"
        node = helper.make_node(operator, inputs, [output], name=f"n{len(self.nodes)}")
        node.attribute.extend(helper.make_attribute(key, value) for key, value in sorted(attributes.items()))
        self.nodes.append(node)
        return output

    def constant(self, values: np.ndarray[tuple[int, ...], np.dtype[np.float32 | np.int64]]) -> str:
        """Add a constant and return its name."""
        from onnx import numpy_helper

        name = f"w{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(values, name))
        return name

    def weights(self, weights: Float32, biases: Float32) -> tuple[str, str]:
        """Add a convolution's two constants and return their names."""
        return self.constant(weights), self.constant(biases)

    def pad(self, value: str, channels: int, pixels: int) -> str:
        """Append zeros at the end of the channels and of both sides, where there is anything to append."""
        if not channels and not pixels:
            return value
        pads = np.array([0, 0, 0, 0, 0, channels, pixels, pixels], dtype=np.int64)
        return self.node("Pad", [value, self.constant(pads)])
