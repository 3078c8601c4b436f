"""Networks on the CPU by ONNX Runtime."""

import numpy as np
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import (
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    NotImplemented,
    RuntimeException,
)

from models.engines.engine import Array, EngineError, EngineSettings, Precision, in_words, thread_budget
from models.manifest import Model

FAILURES = (Fail, InvalidArgument, InvalidGraph, InvalidProtobuf, NotImplemented, RuntimeException)
ERRORS_ONLY = 3


def precisions() -> tuple[Precision, ...]:
    """What its convolutions on the CPU compute."""
    return ("fp32",)


class ONNXRuntimeEngine:
    """Input and output are bound to two arrays that live as long as the engine.

    Outputs that nobody wants are computed, too: ONNX Runtime cannot leave them out of a loaded network.
    """

    def __init__(self, model: Model, output: str, shape: tuple[int, ...], settings: EngineSettings) -> None:
        threads = thread_budget(settings)
        self.shape, self.precision = shape, settings.precision
        self.name = in_words("ONNX Runtime", ort.__version__, "CPU", self.precision, threads)
        self._batch = np.zeros(shape, np.float32)
        try:
            self._session = ort.InferenceSession(model.onnx_bytes(), _options(threads), ["CPUExecutionProvider"])
            source = self._session.get_inputs()[0].name
            (answer,) = self._session.run([output], {source: self._batch})
        except FAILURES as error:
            raise EngineError(f"ONNX Runtime cannot prepare {model.onnx_path} for shape {shape}: {error}") from error
        self._maps = np.ascontiguousarray(answer)
        self._binding = self._session.io_binding()
        self._binding.bind_input(source, "cpu", 0, np.float32, shape, self._batch.ctypes.data)
        self._binding.bind_output(output, "cpu", 0, np.float32, self._maps.shape, self._maps.ctypes.data)

    def infer(self, batch: Array) -> Array:
        np.copyto(self._batch, batch)
        self._session.run_with_iobinding(self._binding)
        return self._maps

    def close(self) -> None:
        del self._binding, self._session


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other processes need the cores, too
    options.log_severity_level = ERRORS_ONLY
    return options
