"""`reflexscope doctor --gpu`: does the GPU half work on this machine? It was written on machines without a GPU.

In order: what is installed, which GPU and driver; then for every shipped model an engine is built, compared with the
reference and timed; then the tests that need a GPU.
"""

import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil

from acquisition.clock import NS_PER_MS, NS_PER_S, SystemClock
from models.engines.choose import open_engine
from models.engines.engine import Array, Engine, EngineError, EngineSettings
from models.engines.tensorrt_build import build_if_needed
from models.engines.tensorrt_cache import engine_folder, times
from models.engines.tensorrt_engine import TensorRTEngine
from models.engines.tensorrt_library import find_origin
from models.manifest import PARITY_INPUT, ClassifierManifest, Model, ModelError, find_model, shipped_names

Tell = Callable[[str], None]
PACKAGES = (
    *("reflexscope", "numpy", "onnx", "cuda-bindings", "tensorrt", "tensorrt-cu12", "tensorrt-cu13"),
    *("tensorrt-cu12-libs", "tensorrt-cu13-libs"),
)
SIDES_PX = (512, 2048)
N_WARM, N_TIMED = 20, 300
QUICK = EngineSettings(use="tensorrt")
ROOT = Path(__file__).resolve().parents[1]
TESTS = ("tests/gpu", "tests/test_models_tensorrt_names.py")


@dataclass(frozen=True)
class Timing:
    """Of one engine, input and output on the CPU's side included."""

    median_ms: float
    p99_ms: float
    busy: float
    """Share of one CPU core that the process used; waiting for the GPU should use none."""

    @property
    def words(self) -> str:
        return f"median {self.median_ms:.2f} ms, p99 {self.p99_ms:.2f} ms, {self.busy:.0%} of a core"


def examine(tell: Tell) -> list[str]:
    """Tell what is found, line by line; gives back what failed, one line each. Raises EngineError without a GPU."""
    for line in _installed():
        tell(line)
    origin, gpu = find_origin()
    tell(f"GPU: {gpu.name}, compute capability {gpu.compute_capability}, {gpu.memory_bytes / 1e9:.1f} GB")
    tell(f"its driver serves CUDA {gpu.cuda_driver}; TensorRT {origin.tensorrt}; engines in {engine_folder()}")
    failures = [failure for name in shipped_names() if (failure := _of_model(name, tell))]
    return failures + _tests(tell)


def advice(failures: list[str]) -> Iterator[str]:
    """What people shall do now."""
    if not failures:
        yield "everything that was tried on this GPU works"
        return
    yield f"{len(failures)} failed:"
    yield from (f"  {failure}" for failure in failures)
    yield "please open an issue with all of the lines above"
    if found := sorted(engine_folder().glob("*.layers.json")):
        yield f"if it is about speed or wrong answers, add what TensorRT made of the layers: {found[0].parent / '*.layers.json'}"


def timing(engine: Engine, batch: Array) -> Timing:
    """Of one call after the other."""
    clock, process = SystemClock(), psutil.Process()
    for _ in range(N_WARM):
        engine.infer(batch)
    before, stamps = process.cpu_times(), [clock.now_ns()]
    for _ in range(N_TIMED):
        engine.infer(batch)
        stamps.append(clock.now_ns())
    after, spans_ms = process.cpu_times(), np.diff(stamps) / NS_PER_MS
    busy_s = after.user + after.system - before.user - before.system
    return Timing(
        float(np.median(spans_ms)),
        float(np.percentile(spans_ms, 99)),
        busy_s / max((stamps[-1] - stamps[0]) / NS_PER_S, 1e-9),
    )


def _of_model(name: str, tell: Tell) -> str:
    """Why it failed, empty if it did not."""
    try:
        model = find_model(name)
        output = _output(model)
        for shape in _shapes(model):
            tell(f"{name}, {output}, {times(shape)}")
            build_if_needed(model, output, shape, QUICK, lambda line: tell(f"  {line}"))
            _write_layers(model, output, shape)
            engine = open_engine(model, output, shape, QUICK)
            batch = np.random.default_rng(1).random(shape, dtype=np.float32)
            try:
                tell(f"  {engine.choice.words}")
                tell(f"  {timing(engine, batch).words}")
            finally:
                engine.close()
    except (EngineError, ModelError) as error:
        tell(f"  failed: {error}")
        return f"{name}: {error}"
    return ""


def _output(model: Model) -> str:
    manifest = model.manifest
    return "logits" if isinstance(manifest, ClassifierManifest) else next(iter(manifest.methods))


def _shapes(model: Model) -> list[tuple[int, ...]]:
    if isinstance(model.manifest, ClassifierManifest):
        return [model.parity()[PARITY_INPUT].shape]
    return [(1, 1, side, side) for side in SIDES_PX]


def _write_layers(model: Model, output: str, shape: tuple[int, ...]) -> None:
    engine = TensorRTEngine(model, output, shape, QUICK)
    path = engine_folder() / f"{model.manifest.name}-{output}-{times(shape)}.layers.json"
    path.write_text(engine.layers, encoding="utf-8")
    engine.close()


def _installed() -> Iterator[str]:
    yield f"Python {platform.python_version()}, {platform.platform()}"
    for name in PACKAGES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        said = subprocess.run(query, capture_output=True, text=True, errors="replace", check=False)
        yield f"nvidia-smi: {said.stdout.strip() or said.stderr.strip()}"


def _tests(tell: Tell) -> list[str]:
    """Run what of TESTS this checkout has; a failure is one line, the details are told."""
    found = [path for path in TESTS if (ROOT / path).exists()]
    if not found or not find_spec("pytest"):
        tell("the tests that need a GPU are in the source code only (tests/gpu, with pytest): not run")
        return []
    tell("tests that need a GPU")
    command = [sys.executable, "-m", "pytest", "-rs", *found]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            tell(f"  {line.rstrip()}")
    return ["tests/gpu (see above)"] if process.returncode else []
