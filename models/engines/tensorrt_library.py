"""TensorRT, found and made to speak: import, log, and the identity of the machine that an engine belongs to."""

import functools
import sys
from collections import deque
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from models.engines.cuda_runtime import Gpu, find_gpu
from models.engines.engine import EngineError

WORDS_KEPT = 20


class Origin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where an engine was built, and the only place where it may run."""

    gpu: str
    compute_capability: str
    tensorrt: str
    cuda_driver: str


def tensorrt() -> Any:
    """The module. Raises EngineError where it is not installed or its libraries are not."""
    try:
        import tensorrt as module
    except (ImportError, OSError) as error:
        raise EngineError(f'TensorRT cannot be loaded ({error}): pip install "reflexscope[gpu]"') from error
    return module


def find_origin() -> tuple[Origin, Gpu]:
    """Raises EngineError unless a GPU, its driver and TensorRT are here and fit each other."""
    gpu = find_gpu()
    built_for = cuda_of_tensorrt()
    if built_for and built_for > int(gpu.cuda_driver.split(".")[0]):
        raise EngineError(
            f"the installed TensorRT was made for CUDA {built_for}, the NVIDIA driver serves CUDA {gpu.cuda_driver}: "
            'update the driver, or pip install "reflexscope[gpu-cuda12]" into a fresh environment'
        )
    return Origin(gpu.name, gpu.compute_capability, tensorrt().__version__, gpu.cuda_driver), gpu


def cuda_of_tensorrt() -> int | None:
    """12 or 13, if the packages tell."""
    found = [major for major in (12, 13) if _installed(f"tensorrt-cu{major}-libs")]
    return found[0] if len(found) == 1 else None


def logger() -> Any:
    """TensorRT knows one logger a process; ours keeps its last warnings and errors in `words` and prints the errors."""
    return _logger(tensorrt())


def last_words() -> str:
    """What TensorRT said last, for error messages."""
    return " | ".join(logger().words) or "TensorRT gave no reason"


@functools.cache
def _logger(trt: Any) -> Any:
    class Log(trt.ILogger):  # type: ignore[misc]  # the class exists only once TensorRT is loaded
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.words: deque[str] = deque(maxlen=WORDS_KEPT)

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR, trt.ILogger.WARNING):
                self.words.append(msg.strip())
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                print(msg.strip(), file=sys.stderr, flush=True)  # at once: what comes next may be a crash

    return Log()


def _installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True
