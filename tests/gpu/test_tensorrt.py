"""TensorRT on a real GPU: engines answer like the reference, for long, side by side, and give everything back."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from models.engines.choose import open_engine
from models.engines.cuda_runtime import call, cudart
from models.engines.engine import Array, EngineError, EngineSettings
from models.engines.tensorrt_build import build_if_needed
from models.engines.tensorrt_cache import TimingKey, engine_folder, read_timings
from models.engines.tensorrt_engine import TensorRTEngine, why_not
from models.engines.tensorrt_library import find_origin
from models.manifest import Model, find_model

# What NVIDIA's packages warn of while they are loaded is not for us to mend.
pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]

SHAPE = (1, 1, 256, 320)
OUTPUT = "deep_watershed"
FP16, FP32 = (EngineSettings(use="tensorrt", precision=each) for each in ("fp16", "fp32"))
N_LONG = 2000
MIB = 1 << 20
Open = Callable[..., TensorRTEngine]


@pytest.fixture(scope="session")
def tiny(tests_folder: Path) -> Model:
    return find_model(str(tests_folder / "tiny_model"))


@pytest.fixture
def opened(tiny: Model) -> Iterator[Open]:
    """Opens engines, built if need be, and closes them."""
    engines: list[TensorRTEngine] = []

    def open_one(
        shape: tuple[int, ...] = SHAPE, settings: EngineSettings = FP16, output: str = OUTPUT
    ) -> TensorRTEngine:
        build_if_needed(tiny, output, shape, settings, print)
        engines.append(TensorRTEngine(tiny, output, shape, settings))
        return engines[-1]

    yield open_one
    for engine in engines:
        engine.close()


def image(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> Array:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def free_bytes() -> int:
    call(cudart().cudaDeviceSynchronize)
    error, free, _ = cudart().cudaMemGetInfo()
    assert error == 0
    return int(free)


@pytest.mark.parametrize("settings", [FP16, FP32], ids=["fp16", "fp32"])
@pytest.mark.parametrize("output", ["deep_watershed", "pixel_classes"])
def test_engines_answer_like_the_reference(tiny: Model, output: str, settings: EngineSettings) -> None:
    build_if_needed(tiny, output, SHAPE, settings, print)
    engine = open_engine(tiny, output, SHAPE, settings)  # raises beyond the tolerance
    assert engine.precision == settings.precision
    assert engine.choice.difference > 0, "the same to the last bit: is this the GPU's answer?"
    engine.close()


def test_fp32_is_not_tf32(tiny: Model) -> None:
    """TF32 keeps 10 bits of mantissa; its answers would differ from the reference like those of fp16."""
    differences = {}
    for settings in (FP16, FP32):
        build_if_needed(tiny, OUTPUT, SHAPE, settings, print)
        engine = open_engine(tiny, OUTPUT, SHAPE, settings)
        differences[engine.precision] = engine.choice.difference
        engine.close()
    assert differences["fp32"] < 0.1 * differences["fp16"], differences


def test_a_batch_of_cells(tests_folder: Path) -> None:
    model = find_model(str(tests_folder / "tiny_classifier"))
    build_if_needed(model, "logits", (100, 1, 32, 32), FP16, print)
    engine = open_engine(model, "logits", (100, 1, 32, 32), FP16)
    assert engine.infer(image((100, 1, 32, 32))).shape == (100, 4)
    engine.close()


def test_the_graph_gives_the_answer_of_each_batch_again_and_again(opened: Open) -> None:
    engine = opened()
    batches = [image(seed=seed) for seed in range(3)]
    first = [engine.infer(batch).copy() for batch in batches]
    assert not np.array_equal(first[0], first[1])
    for i in range(N_LONG):
        assert np.array_equal(engine.infer(batches[i % 3]), first[i % 3]), f"answer {i} differs"


def test_memory_does_not_grow(opened: Open) -> None:
    engine, batch = opened(), image()
    engine.infer(batch)
    before = free_bytes()
    for _ in range(N_LONG):
        engine.infer(batch)
    assert free_bytes() >= before - MIB


def test_what_is_closed_is_given_back(opened: Open) -> None:
    opened().close()  # the first one also loads TensorRT's kernels, which stay
    before = free_bytes()
    for _ in range(10):
        engine = opened()
        answer = engine.infer(image())
        engine.close()
    assert np.isfinite(answer).all(), "an answer that somebody still holds stays readable"
    assert free_bytes() >= before - 4 * MIB
    with pytest.raises(EngineError, match="closed"):
        engine.infer(image())


def test_engines_do_not_disturb_each_other(opened: Open) -> None:
    small = (1, 1, 128, 128)
    one, two = opened(), opened(small)
    expected = one.infer(image()).copy(), two.infer(image(small)).copy()
    for _ in range(100):
        assert np.array_equal(one.infer(image()), expected[0])
        assert np.array_equal(two.infer(image(small)), expected[1])
    two.close()
    assert np.array_equal(one.infer(image()), expected[0])


def test_capturing_survives_another_threads_allocations(opened: Open) -> None:
    """Torch or a second engine may allocate while this one is captured."""
    opened().close()
    stop = threading.Event()

    def allocate() -> None:
        while not stop.is_set():
            call(cudart().cudaFree, call(cudart().cudaMalloc, MIB))

    thread = threading.Thread(target=allocate)
    thread.start()
    try:
        for _ in range(5):
            assert np.isfinite(opened().infer(image())).all()
    finally:
        stop.set()
        thread.join()


def test_an_engine_serves_the_thread_that_calls_it(opened: Open) -> None:
    engine, answers = opened(), []
    expected = engine.infer(image()).copy()
    thread = threading.Thread(target=lambda: answers.append(engine.infer(image()).copy()))
    thread.start()
    thread.join()
    assert np.array_equal(answers[0], expected)


def test_waiting_for_the_gpu_leaves_the_cpu_alone(opened: Open) -> None:
    """The copy into pinned memory is work; waiting is not. With spinning, CPU time equals wall time."""
    shape = (1, 1, 2048, 2048)
    engine, batch = opened(shape), image(shape)
    engine.infer(batch)
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    for _ in range(50):
        engine._work.run()  # without the copy, which alone may take as long as a small network
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    assert cpu_s < 0.5 * wall_s, f"{cpu_s:.3f} s of CPU time in {wall_s:.3f} s"


def test_the_inspector_names_layers(opened: Open) -> None:
    engine = opened()
    assert '"Layers"' in engine.layers
    assert "layers" in engine.name


def test_a_damaged_plan_is_built_again(tiny: Model, opened: Open) -> None:
    opened().close()
    for path in engine_folder().glob("*.plan"):
        path.write_bytes(path.read_bytes()[:-1])
    reason = why_not(tiny, OUTPUT, SHAPE, FP16)
    assert reason is not None
    assert "is damaged" in reason
    assert np.isfinite(opened().infer(image())).all()


def test_timings_of_one_build_help_the_next(opened: Open) -> None:
    opened().close()
    assert read_timings(TimingKey(find_origin()[0]))
    for path in engine_folder().glob("*.plan"):
        path.unlink()
    opened().close()


@pytest.mark.parametrize("shape", [(1, 1, 4, 4), (1, 1, 1536, 2048), (1, 1, 300, 412)])
def test_any_shape(opened: Open, shape: tuple[int, ...]) -> None:
    assert opened(shape).infer(image(shape)).shape == (1, 2, *shape[2:])
