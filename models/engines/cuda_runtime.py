"""CUDA in a few words: checked calls, the GPU of this machine, pinned memory, and work captured once as a graph.

Names and results are those of `cuda.bindings.runtime`: each call returns a tuple of an error code and its values.
"""

import ctypes
import math
import os
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.engines.engine import Array, EngineError

INSUFFICIENT_DRIVER, NO_DEVICE = 35, 100
"""cudaErrorInsufficientDriver and cudaErrorNoDevice."""
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Gpu:
    """The first GPU that CUDA shows this process."""

    name: str
    compute_capability: str
    """`8.6`"""
    cuda_driver: str
    """The newest CUDA that the driver serves, `13.0`."""
    memory_bytes: int


def cudart() -> Any:
    """The module `cuda.bindings.runtime`. Raises EngineError where it is not installed."""
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise EngineError(f'the package cuda-bindings is missing ({error}): pip install "reflexscope[gpu]"') from error
    return runtime


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """The value of one CUDA call, None if it has none. Raises EngineError with CUDA's own words."""
    error, *values = function(*arguments)
    if error != 0:
        words = cudart().cudaGetErrorString(error)[1]
        raise EngineError(f"{function.__name__} failed with CUDA error {int(error)}: {words.decode()}")
    return values[0] if values else None


def find_gpu() -> Gpu:
    """Raises EngineError: no cuda-bindings, no driver, a driver too old for them, or no GPU.

    Ask this before TensorRT: without a usable driver its Runtime and Builder are made of a null pointer and end the
    process when they are touched.
    """
    driver = _driver_version()
    needed = _version(call(cudart().cudaRuntimeGetVersion))
    error, count = cudart().cudaGetDeviceCount()
    if error == INSUFFICIENT_DRIVER:
        raise EngineError(
            f"the NVIDIA driver serves CUDA {driver}, the installed cuda-bindings need {needed}: update the driver, or "
            f'pip install "cuda-bindings=={driver.split(".")[0]}.*"'
        )
    if error == NO_DEVICE or not count:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        hint = "" if visible is None else f" (CUDA_VISIBLE_DEVICES is {visible!r})"
        raise EngineError(f"the NVIDIA driver shows no GPU to this process{hint}")
    properties = call(cudart().cudaGetDeviceProperties, 0)
    return Gpu(
        name=properties.name.split(b"\0")[0].decode(),
        compute_capability=f"{properties.major}.{properties.minor}",
        cuda_driver=driver,
        memory_bytes=int(properties.totalGlobalMem),
    )


def pinned_array(shape: tuple[int, ...]) -> tuple[Array, int]:
    """Float32 zeros in page-locked memory, and their address.

    The GPU copies from and to such memory without the CPU's help. It is freed with the last array that lies on it.
    """
    n = math.prod(shape)
    address = int(call(cudart().cudaHostAlloc, n * FLOAT_BYTES, cudart().cudaHostAllocDefault))
    memory = (ctypes.c_float * n).from_address(address)
    weakref.finalize(memory, cudart().cudaFreeHost, address)
    array: Array = np.ctypeslib.as_array(memory).reshape(shape)
    array[...] = 0
    return array, address


def device_memory(n_bytes: int, release: ExitStack) -> int:
    """Address of memory on the GPU, freed by `release`."""
    address = int(call(cudart().cudaMalloc, n_bytes))
    release.callback(call, cudart().cudaFree, address)
    return address


class CapturedWork:
    """GPU work on a stream of its own, captured once as a CUDA graph: one launch starts all of it."""

    def __init__(self, enqueue: Callable[[Any], None]) -> None:
        """`enqueue(stream)` puts the work on the stream: once to run, since libraries finish their set-up then, and once
        to be captured. It may neither allocate nor wait."""
        cuda = cudart()
        with ExitStack() as release:
            self._stream = call(cuda.cudaStreamCreateWithFlags, cuda.cudaStreamNonBlocking)
            release.callback(call, cuda.cudaStreamDestroy, self._stream)
            # Waiting for an event of this kind sleeps. Waiting for the stream would spin on a core that the camera
            # needs, or change a flag of the whole process (cudaDeviceScheduleBlockingSync) under other libraries.
            self._done = call(cuda.cudaEventCreateWithFlags, cuda.cudaEventBlockingSync | cuda.cudaEventDisableTiming)
            release.callback(call, cuda.cudaEventDestroy, self._done)
            enqueue(self._stream)
            self._wait()
            self._graph = _captured(enqueue, self._stream)
            release.callback(call, cuda.cudaGraphExecDestroy, self._graph)
            call(cuda.cudaGraphUpload, self._graph, self._stream)
            self._wait()
            self._release = release.pop_all()
        self._closed = False

    def run(self) -> None:
        """Launch the graph and sleep until the GPU has finished."""
        if self._closed:
            raise EngineError("this engine is closed")
        call(cudart().cudaGraphLaunch, self._graph, self._stream)
        self._wait()

    def close(self) -> None:
        """Destroy graph, event and stream, in this order."""
        self._closed = True
        self._release.close()

    def _wait(self) -> None:
        call(cudart().cudaEventRecord, self._done, self._stream)
        call(cudart().cudaEventSynchronize, self._done)


def _captured(enqueue: Callable[[Any], None], stream: Any) -> Any:
    """Only this thread is watched while capturing: another thread's allocation shall not spoil it."""
    cuda = cudart()
    call(cuda.cudaStreamBeginCapture, stream, cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
    try:
        enqueue(stream)
    except EngineError:
        cuda.cudaStreamEndCapture(stream)  # fails, too; the first error is the reason
        raise
    graph = call(cuda.cudaStreamEndCapture, stream)
    try:
        return call(cuda.cudaGraphInstantiate, graph, 0)
    finally:
        call(cuda.cudaGraphDestroy, graph)


def _driver_version() -> str:
    """Older cuda-bindings raise RuntimeError where no driver is, newer ones call its version 0."""
    ask = cudart().cudaDriverGetVersion
    try:
        number = call(ask)
    except RuntimeError as error:
        raise EngineError(f"no NVIDIA driver is loaded on this machine ({error})") from error
    if not number:
        raise EngineError("no NVIDIA driver is loaded on this machine")
    return _version(number)


def _version(number: int) -> str:
    """13020 → 13.2"""
    return f"{number // 1000}.{number % 1000 // 10}"
