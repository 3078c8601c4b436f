"""The one face of all engines: a batch of fixed shape in, maps out."""

import os
from typing import Annotated, Literal, Protocol

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

Array = npt.NDArray[np.float32]
EngineName = Literal["auto", "openvino", "onnxruntime", "torch", "tensorrt"]
Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]


class EngineError(RuntimeError):
    """An engine that cannot be had, or whose answers are not the network's; the message says which and why."""


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who runs the network, and how."""

    use: EngineName = "auto"
    """`auto`: TensorRT where an engine for this GPU is ready, else OpenVINO. A named one is used or refused, never replaced."""
    precision: Precision = "auto"
    """`auto`: the fastest that this machine computes natively and that passes the parity check. Others are refused.

    `int8` is no setting of an engine: int8 networks are models of their own, see models/engines/int8.py.
    """
    threads: Annotated[int, Meta(ge=0, le=64)] = 0
    """0: as many as the run allows (`inference.threads`), and one outside of a run."""


class Engine(Protocol):
    """A network made ready for one input shape and one output. Not thread-safe.

    A class of engines is called with (model, output, shape, settings) and has warmed up when it is there. Only
    `open_engine` (choose.py) calls it: what it gives out has passed the parity check and refuses wrong batches.
    """

    name: str
    """For people: library, version, device, precision."""
    precision: Precision
    """What it computes in, never "auto": how far answers may differ from the reference depends on it."""
    shape: tuple[int, ...]
    """Of the batch, fixed."""

    def infer(self, batch: Array) -> Array:
        """The output for `batch` (float32, C-contiguous, of `shape`), in a buffer that the next call overwrites."""

    def close(self) -> None:
        """Give back what the library holds."""


def thread_budget(settings: EngineSettings) -> int:
    """Threads to use: the setting, else what the supervisor gave this process, else one."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return settings.threads or (int(given) if given.isdigit() and int(given) > 0 else 1)


def in_words(library: str, version: str, device: str, precision: Precision, threads: int) -> str:
    """`OpenVINO 2026.4.1, CPU, bf16, 1 thread`"""
    return f"{library} {version}, {device}, {precision}, {threads} thread{'s' if threads > 1 else ''}"
