"""Networks on the CPU by OpenVINO, in bf16 where the processor computes it."""

import sys
from typing import Any

import numpy as np

from models.engines.engine import Array, EngineError, EngineSettings, Precision, in_words, thread_budget
from models.engines.signal_stack import kept_signal_stack
from models.manifest import Model

HINTS: dict[Precision, str] = {"bf16": "bf16", "fp16": "f16", "fp32": "f32"}
"""Our names and OpenVINO's, the fastest first."""


def openvino() -> Any:
    """The module, without its companion that reports every import to a server and leaves an identity in the user's folder."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # as if it were not installed
    import openvino as module

    return module


def precisions() -> tuple[Precision, ...]:
    """What this processor computes natively, the fastest first. OpenVINO would replace others without a word."""
    able = openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return tuple(name for name in HINTS if name.upper() in able)


class OpenVINOEngine:
    """One stream; its request works on two arrays that live as long as the engine.

    Reading and compiling take a fraction of a second, so nothing is kept on disk.
    """

    def __init__(self, model: Model, output: str, shape: tuple[int, ...], settings: EngineSettings) -> None:
        ov, threads = openvino(), thread_budget(settings)
        self.shape, self.precision = shape, settings.precision
        self.name = in_words("OpenVINO", ov.__version__.split("-")[0], "CPU", self.precision, threads)
        self._batch = np.zeros(shape, np.float32)
        try:
            with kept_signal_stack():
                compiled = ov.Core().compile_model(
                    _part(model, output, shape), "CPU", _options(self.precision, threads)
                )
            self._maps = np.zeros(tuple(compiled.output(0).shape), np.float32)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot prepare {model.onnx_path} for shape {shape}: {error}") from error
        self._request = compiled.create_infer_request()
        self._request.set_input_tensor(ov.Tensor(self._batch, shared_memory=True))
        self._request.set_output_tensor(ov.Tensor(self._maps, shared_memory=True))
        self._request.infer(share_outputs=True)

    def infer(self, batch: Array) -> Array:
        np.copyto(self._batch, batch)
        self._request.infer(share_outputs=True)
        return self._maps

    def close(self) -> None:
        del self._request


def _part(model: Model, output: str, shape: tuple[int, ...]) -> Any:
    """The network up to one output, for one input shape."""
    ov = openvino()
    network = ov.Core().read_model(model.onnx_bytes(), b"")
    wanted = [result for result in network.get_results() if output in result.input_value(0).names]
    part = ov.Model(wanted, network.get_parameters(), output)
    part.reshape(list(shape))
    return part


def _options(precision: Precision, threads: int) -> dict[str, object]:
    return {
        "INFERENCE_PRECISION_HINT": HINTS[precision],
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # other processes of the run need the cores, too
    }
