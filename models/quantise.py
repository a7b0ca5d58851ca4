"""A network's convolutions in 8 bits: half the time on processors that multiply bytes, for landmarks slightly off.

Activations become unsigned bytes by ranges measured beforehand (`centerface_ranges.py`), weights signed bytes by their
own largest value, channel by channel. Written as QuantizeLinear and DequantizeLinear around each layer, which ONNX
Runtime turns into layers of bytes. What gives the network's outputs stays in floats.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models import ModelsError

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

OPSET, IR_VERSION = 13, 8  # the first in which a scale may differ by channel; what it means for OPERATORS is as in 9
OPERATORS = frozenset({"Conv", "ConvTranspose", "Relu", "Add", "Sigmoid", "BatchNormalization"})
PIXELS = (0.0, 255.0)  # the input's range, so that a picture loses nothing
LEVELS, WEIGHT_LEVELS = 255, 127


def quantised(network: bytes, ranges: Mapping[str, tuple[float, float]]) -> bytes:
    """Return the ONNX file `network` with its convolutions and sums in 8 bits; deterministic.

    ranges: low and high by tensor, for each of `tensors`. Raises ModelsError on a network of other operators, and on a
    tensor without a range.
    """
    from onnx import load_model_from_string  # needed at install only, and large

    model = load_model_from_string(network)
    others = {node.op_type for node in model.graph.node} - OPERATORS
    if others:
        raise ModelsError(f"a network with {', '.join(sorted(others))} cannot be quantised")
    model.opset_import[0].version, model.ir_version = OPSET, IR_VERSION
    _Rewriting(model.graph, ranges).rewrite()
    return bytes(model.SerializeToString(deterministic=True))


def tensors(network: bytes) -> list[str]:
    """Return the tensors that `quantised` wants the ranges of."""
    from onnx import load_model_from_string

    graph = load_model_from_string(network).graph
    return list(dict.fromkeys(name for node in _in_bytes(graph) for name in _activations(node)))


def _in_bytes(graph: GraphProto) -> Iterator[NodeProto]:
    """The layers that are computed in bytes."""
    last = {value.name for value in graph.output}
    last |= {node.input[0] for node in graph.node if node.op_type == "Sigmoid"}
    for node in graph.node:
        if node.op_type == "Add" or (node.op_type == "Conv" and node.output[0] not in last):
            yield node


def _activations(node: NodeProto) -> list[str]:
    return list(node.input) if node.op_type == "Add" else [node.input[0]]


class _Rewriting:
    """One graph being rewritten, node by node in its order."""

    def __init__(self, graph: GraphProto, ranges: Mapping[str, tuple[float, float]]) -> None:
        from onnx import numpy_helper

        self._graph = graph
        self._ranges = {**ranges, graph.input[0].name: PIXELS}
        self._weights = {weight.name: numpy_helper.to_array(weight) for weight in graph.initializer}
        self._constants: dict[str, NDArray[np.generic]] = {}
        self._nodes: list[NodeProto] = []
        self._scales: dict[str, np.float32] = {}

    def rewrite(self) -> None:
        from onnx import NodeProto, numpy_helper

        in_bytes = {node.output[0] for node in _in_bytes(self._graph)}
        for node in self._graph.node:
            written = NodeProto()
            written.CopyFrom(node)
            if node.output[0] in in_bytes:
                for place, name in enumerate(_activations(node)):
                    written.input[place] = self._bytes_and_back(name)
                if node.op_type == "Conv":
                    self._weigh(written, node)
            self._nodes.append(written)
        read = {name for node in self._nodes for name in node.input}
        kept = [weight for weight in self._graph.initializer if weight.name in read]
        made = [numpy_helper.from_array(value, name) for name, value in self._constants.items()]
        for field, values in ((self._graph.initializer, [*kept, *made]), (self._graph.node, self._nodes)):
            del field[:]
            field.extend(values)

    def _bytes_and_back(self, name: str) -> str:
        """Put a tensor through bytes once, however many layers read it; returns what it comes back as."""
        if name not in self._scales:
            if name not in self._ranges:
                raise ModelsError(f"tensor {name}: no range was measured")
            low, high = min(0.0, self._ranges[name][0]), max(0.0, self._ranges[name][1])
            scale = np.float32(max(high - low, 1e-6) / LEVELS)
            self._scales[name] = scale
            zero = np.uint8(round(-low / float(scale)))
            self._node("QuantizeLinear", [name], f"{name}_bytes", scale, zero)
            self._node("DequantizeLinear", [f"{name}_bytes"], f"{name}_back", scale, zero)
        return f"{name}_back"

    def _weigh(self, written: NodeProto, node: NodeProto) -> None:
        """Give a convolution weights of bytes, and a bias in units of what it adds up."""
        name = node.input[1]
        weight = self._weights[name]
        largest = np.abs(weight).max(axis=tuple(range(1, weight.ndim)))
        scale = (np.maximum(largest, 1e-8) / WEIGHT_LEVELS).astype(np.float32)
        levels = np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1)))
        self._constants[f"{name}_bytes"] = levels.astype(np.int8)
        self._node("DequantizeLinear", [f"{name}_bytes"], f"{name}_back", scale, np.zeros(len(scale), np.int8), axis=0)
        written.input[1] = f"{name}_back"
        if len(node.input) > 2:
            bias, unit = node.input[2], scale * self._scales[node.input[0]]
            self._constants[f"{bias}_sum"] = np.rint(self._weights[bias] / unit.astype(np.float64)).astype(np.int32)
            zero = np.zeros(len(unit), np.int32)
            self._node("DequantizeLinear", [f"{bias}_sum"], f"{bias}_back", unit, zero, axis=0)
            written.input[2] = f"{bias}_back"

    def _node(
        self,
        kind: str,
        inputs: list[str],
        output: str,
        scale: np.generic | NDArray[np.generic],
        zero: np.generic | NDArray[np.generic],
        axis: int | None = None,
    ) -> None:
        from onnx import helper

        self._constants[f"{output}_scale"] = np.asarray(scale)
        self._constants[f"{output}_zero"] = np.asarray(zero)
        node = helper.make_node(kind, [*inputs, f"{output}_scale", f"{output}_zero"], [output], name=output)
        if axis is not None:
            node.attribute.append(helper.make_attribute("axis", axis))
        self._nodes.append(node)
