"""ONNX Runtime sessions as this appliance wants them: few threads, CPU, no spinning."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort  # type: ignore[import-untyped]  # it ships no types

from models import ModelsError
from models.faces import Float32

CPU_INFO = Path("/proc/cpuinfo")
# Intel's VNNI in both encodings, and Arm's dot product: four products of bytes a lane and step. Without, bytes are
# multiplied in pairs that overflow 16 bits (x86), or no faster than floats.
BYTE_PRODUCTS = frozenset({"avx512_vnni", "avx_vnni", "asimddp"})


def multiplies_bytes(cpu_info: Path = CPU_INFO) -> bool:
    """Return whether this processor runs 8-bit networks fast and right; False where nothing says so."""
    try:
        lines = cpu_info.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return not BYTE_PRODUCTS.isdisjoint(flags.lower().split())


def session_options(threads: int) -> ort.SessionOptions:
    """Return options for `threads` threads inside an operator and none between operators."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Idle workers that spin would take the cores that decode the cameras.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A plan of the memory is kept for every shape of input, and regions of pictures come in hundreds: 45 MB a node.
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    return options


class Network:
    """One network with one image input; safe to call from several threads."""

    def __init__(self, model: bytes, *, name: str, threads: int) -> None:
        """Load `model`, the bytes of an ONNX file called `name` in errors; raises ModelsError where it is none."""
        try:
            self._session = ort.InferenceSession(model, session_options(threads), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises a private class for each of its status codes
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ModelsError(f"{name}: not a network that ONNX Runtime can load ({reason})") from error
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            raise ModelsError(f"{name}: its inputs are {[value.shape for value in inputs]}, expected one image")
        self.name = name
        self._input = inputs[0].name
        self.output_names: tuple[str, ...] = tuple(output.name for output in self._session.get_outputs())
        height, width = inputs[0].shape[2:]
        fixed = isinstance(height, int) and isinstance(width, int)
        self.input_hw: tuple[int, int] | None = (height, width) if fixed else None

    def run(self, blob: npt.NDArray[np.float32]) -> list[Float32]:
        """Return the outputs, in the order of `output_names`, for blob (N, 3, H, W) float32."""
        return list(self._session.run(None, {self._input: blob}))
