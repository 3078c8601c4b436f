"""CUDA's runtime over ordinary memory: each call returns (error, values…) like the real one."""

import ctypes
import os
from collections.abc import Callable
from enum import IntEnum
from typing import Any

cudaHostAllocDefault = 0
cudaStreamNonBlocking = 1
cudaEventBlockingSync = 1
cudaEventDisableTiming = 2


class cudaError_t(IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100
    cudaErrorInvalidResourceHandle = 400
    cudaErrorStreamCaptureUnsupported = 900


class cudaMemcpyKind(IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class cudaStreamCaptureMode(IntEnum):
    cudaStreamCaptureModeThreadLocal = 1


class cudaDeviceProp:
    def __init__(self) -> None:
        self.name = os.environ.get("PRETEND_GPU", "Pretend 1000").encode() + b"\0" * 8
        self.major, self.minor = map(int, os.environ.get("PRETEND_CAPABILITY", "8.6").split("."))
        self.totalGlobalMem = 8 << 30


class _Handle:
    """Something that must be destroyed once, and not be used after that."""

    n = 0

    def __init__(self) -> None:
        _Handle.n += 1
        self.number, self.alive = _Handle.n, True
        held.append(self)

    def __int__(self) -> int:
        return self.number


Work = tuple[Callable[[], None], set[int]]
"""What is to be done, and the addresses it touches."""


class cudaStream_t(_Handle):
    queue: list[Work]
    capturing = False


class cudaEvent_t(_Handle):
    recorded_on: cudaStream_t | None = None


class cudaGraph_t(_Handle):
    work: list[Work]


class cudaGraphExec_t(_Handle):
    work: list[Work]


memory: dict[int, tuple[str, Any, int]] = {}
"""Address → (host | device, the bytes, their number)."""
held: list[_Handle] = []
"""Handles that were not destroyed yet."""
history: list[str] = []
"""Names of the calls that destroy or free, in order."""

OK = (cudaError_t.cudaSuccess,)
INVALID = cudaError_t.cudaErrorInvalidValue
DEAD = cudaError_t.cudaErrorInvalidResourceHandle


def cudaDriverGetVersion() -> tuple[Any, ...]:
    return *OK, int(os.environ.get("PRETEND_DRIVER", "13000"))


def cudaRuntimeGetVersion() -> tuple[Any, ...]:
    return *OK, int(os.environ.get("PRETEND_RUNTIME", "13000"))


def cudaGetDeviceCount() -> tuple[Any, ...]:
    if int(os.environ.get("PRETEND_DRIVER", "13000")) // 1000 < int(os.environ.get("PRETEND_RUNTIME", "13000")) // 1000:
        return cudaError_t.cudaErrorInsufficientDriver, None
    n = int(os.environ.get("PRETEND_GPUS", "1"))
    return (*OK, n) if n else (cudaError_t.cudaErrorNoDevice, None)


def cudaGetDeviceProperties(device: int) -> tuple[Any, ...]:
    assert device == 0
    return *OK, cudaDeviceProp()


def cudaGetErrorString(error: cudaError_t) -> tuple[Any, ...]:
    return *OK, error.name.encode()


def cudaDeviceSynchronize() -> tuple[Any, ...]:
    return OK


def cudaMemGetInfo() -> tuple[Any, ...]:
    total = cudaDeviceProp().totalGlobalMem
    return *OK, total - sum(size for kind, _, size in memory.values() if kind == "device"), total


def cudaMalloc(size: int) -> tuple[Any, ...]:
    return _allocate("device", size)


def cudaFree(devPtr: int) -> tuple[Any, ...]:
    return _free("device", devPtr, "cudaFree")


def cudaHostAlloc(size: int, flags: int) -> tuple[Any, ...]:
    assert flags == cudaHostAllocDefault
    return _allocate("host", size)


def cudaFreeHost(ptr: int) -> tuple[Any, ...]:
    return _free("host", ptr, "cudaFreeHost")


def cudaMemcpyAsync(dst: int, src: int, count: int, kind: cudaMemcpyKind, stream: cudaStream_t) -> tuple[Any, ...]:
    if not stream.alive:
        return (DEAD,)
    ends = ("host", "device") if kind == cudaMemcpyKind.cudaMemcpyHostToDevice else ("device", "host")
    if not all(memory.get(at, ("", None, 0))[::2] == (end, count) for at, end in zip((src, dst), ends, strict=True)):
        return (INVALID,)
    enqueue(stream, lambda: ctypes.memmove(dst, src, count), dst, src)
    return OK


def cudaStreamCreateWithFlags(flags: int) -> tuple[Any, ...]:
    assert flags == cudaStreamNonBlocking
    stream = cudaStream_t()
    stream.queue = []
    return *OK, stream


def cudaStreamDestroy(stream: cudaStream_t) -> tuple[Any, ...]:
    return _destroy(stream, "cudaStreamDestroy")


def cudaStreamBeginCapture(stream: cudaStream_t, mode: cudaStreamCaptureMode) -> tuple[Any, ...]:
    assert mode == cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    if os.environ.get("PRETEND_FAILURE") == "capture":
        return (cudaError_t.cudaErrorStreamCaptureUnsupported,)
    assert not stream.queue, "work that nobody waited for"
    stream.capturing = True
    return OK


def cudaStreamEndCapture(stream: cudaStream_t) -> tuple[Any, ...]:
    assert stream.capturing
    graph = cudaGraph_t()
    graph.work, stream.queue, stream.capturing = stream.queue, [], False
    return *OK, graph


def cudaGraphInstantiate(graph: cudaGraph_t, flags: int) -> tuple[Any, ...]:
    assert flags == 0
    executable = cudaGraphExec_t()
    executable.work = list(graph.work)
    return *OK, executable


def cudaGraphUpload(graphExec: cudaGraphExec_t, stream: cudaStream_t) -> tuple[Any, ...]:
    return OK if graphExec.alive and stream.alive else (DEAD,)


def cudaGraphLaunch(graphExec: cudaGraphExec_t, stream: cudaStream_t) -> tuple[Any, ...]:
    if not (graphExec.alive and stream.alive):
        return (DEAD,)
    stream.queue.extend(graphExec.work)
    return OK


def cudaGraphDestroy(graph: cudaGraph_t) -> tuple[Any, ...]:
    return _destroy(graph, "cudaGraphDestroy")


def cudaGraphExecDestroy(graphExec: cudaGraphExec_t) -> tuple[Any, ...]:
    return _destroy(graphExec, "cudaGraphExecDestroy")


def cudaEventCreateWithFlags(flags: int) -> tuple[Any, ...]:
    assert flags == cudaEventBlockingSync | cudaEventDisableTiming, "waiting would spin"
    return *OK, cudaEvent_t()


def cudaEventRecord(event: cudaEvent_t, stream: cudaStream_t) -> tuple[Any, ...]:
    if not (event.alive and stream.alive):
        return (DEAD,)
    event.recorded_on = stream
    return OK


def cudaEventSynchronize(event: cudaEvent_t) -> tuple[Any, ...]:
    assert event.recorded_on is not None, "an event that was never recorded is over at once"
    work, event.recorded_on.queue = event.recorded_on.queue, []
    for step, addresses in work:
        assert addresses <= set(memory), "the memory of this work was freed"
        step()
    return OK


def cudaEventDestroy(event: cudaEvent_t) -> tuple[Any, ...]:
    return _destroy(event, "cudaEventDestroy")


def enqueue(stream: cudaStream_t, work: Callable[[], None], *addresses: int) -> None:
    """Nothing runs before somebody waits for it."""
    stream.queue.append((work, set(addresses)))


def _allocate(kind: str, size: int) -> tuple[Any, ...]:
    content = (ctypes.c_char * size)()
    ctypes.memset(content, 0xFF, size)  # not-a-number, as float32
    address = ctypes.addressof(content)
    memory[address] = (kind, content, size)
    return *OK, address


def _free(kind: str, address: int, name: str) -> tuple[Any, ...]:
    if memory.get(address, ("",))[0] != kind:
        return (INVALID,)
    graphs = (each for each in held if isinstance(each, cudaGraphExec_t))
    assert not any(address in used for graph in graphs for _, used in graph.work), "a graph still uses it"
    del memory[address]
    history.append(name)
    return OK


def _destroy(handle: _Handle, name: str) -> tuple[Any, ...]:
    if not handle.alive:
        return (DEAD,)
    handle.alive = False
    vars(handle).pop("work", None)
    held.remove(handle)
    history.append(name)
    return OK
