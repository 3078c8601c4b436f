"""What every engine promises (models/engines/engine.py), as code, on networks small enough to travel with the tests.

A new engine is one more line in ENGINES.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import psutil
import pytest

from acquisition.clock import NS_PER_S, SystemClock
from models.engines.choose import CheckedEngine, missing, open_engine
from models.engines.engine import Array, EngineError, EngineSettings
from models.engines.parity import TOLERANCES, answers, difference
from models.manifest import Model, find_model

TESTS = Path(__file__).resolve().parents[1]
ENGINES = {
    "openvino": EngineSettings(use="openvino", threads=1),
    "openvino-fp32": EngineSettings(use="openvino", precision="fp32", threads=1),
    "onnxruntime": EngineSettings(use="onnxruntime", threads=1),
    "torch": EngineSettings(use="torch", threads=1),
    "torch-fp32": EngineSettings(use="torch", precision="fp32", threads=1),
}
NETWORKS: dict[str, tuple[Model, str, tuple[int, ...]]] = {
    "deep_watershed": (find_model(str(TESTS / "tiny_model")), "deep_watershed", (1, 1, 48, 64)),
    "deep_watershed-wide": (find_model(str(TESTS / "tiny_model")), "deep_watershed", (1, 1, 64, 252)),
    "pixel_classes": (find_model(str(TESTS / "tiny_model")), "pixel_classes", (1, 1, 128, 96)),
    "pixel_classes-least": (find_model(str(TESTS / "tiny_model")), "pixel_classes", (1, 1, 4, 4)),
    "logits": (find_model(str(TESTS / "tiny_classifier")), "logits", (16, 1, 32, 32)),
    "logits-few": (find_model(str(TESTS / "tiny_classifier")), "logits", (3, 1, 32, 32)),
}
MANY = 100
GROWTH_BYTES = 1_000_000


@pytest.fixture(params=ENGINES, scope="module")
def settings(request: pytest.FixtureRequest) -> EngineSettings:
    asked = ENGINES[request.param]
    if absent := missing(asked.use):
        pytest.skip(f"{' and '.join(absent)} not installed: the extra train")
    return asked


@pytest.fixture(params=NETWORKS, scope="module")
def network(request: pytest.FixtureRequest) -> tuple[Model, str, tuple[int, ...]]:
    return NETWORKS[request.param]


@pytest.fixture(scope="module")
def engine(settings: EngineSettings, network: tuple[Model, str, tuple[int, ...]]) -> Iterator[CheckedEngine]:
    opened = open_engine(*network, settings)
    yield opened
    opened.close()


def noise(shape: tuple[int, ...], seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0.3, 0.3, shape).astype(np.float32)


def test_answers_like_the_reference_on_the_fixed_input(
    settings: EngineSettings, network: tuple[Model, str, tuple[int, ...]]
) -> None:
    model, output, _ = network
    given = model.parity()
    engine = open_engine(model, output, given["input"].shape, settings)
    found = difference(model, output, answers(engine, given["input"]), given[output])
    engine.close()
    assert found == engine.choice.difference
    assert found <= TOLERANCES[engine.precision]


def test_answers_like_onnx_runtime_at_any_shape(
    engine: CheckedEngine, network: tuple[Model, str, tuple[int, ...]]
) -> None:
    model, output, shape = network
    session = onnxruntime.InferenceSession(model.onnx_bytes(), providers=["CPUExecutionProvider"])
    (expected,) = session.run([output], {session.get_inputs()[0].name: noise(shape)})
    found = engine.infer(noise(shape))
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    assert difference(model, output, found, expected) <= TOLERANCES[engine.precision]


def test_same_input_same_output(engine: CheckedEngine) -> None:
    first = engine.infer(noise(engine.shape)).copy()
    other = engine.infer(noise(engine.shape, seed=1)).copy()
    assert not np.array_equal(first, other)
    assert np.array_equal(engine.infer(noise(engine.shape)), first)


def test_the_answer_lies_in_one_buffer_and_memory_does_not_grow(engine: CheckedEngine) -> None:
    batch, process = noise(engine.shape), psutil.Process()
    first = engine.infer(batch)
    for _ in range(MANY):
        engine.infer(batch)
    before = process.memory_info().rss
    for _ in range(MANY):
        assert np.shares_memory(engine.infer(batch), first)
    assert process.memory_info().rss - before < GROWTH_BYTES


def test_the_batch_is_not_changed_and_may_be_read_only(engine: CheckedEngine) -> None:
    batch = noise(engine.shape)
    batch.flags.writeable = False
    engine.infer(batch)
    assert np.array_equal(batch, noise(engine.shape))


def test_what_it_was_not_opened_for_is_refused(engine: CheckedEngine) -> None:
    longer = (*engine.shape[:-1], engine.shape[-1] + 4)
    for batch in (noise(longer), noise(engine.shape).astype(np.float64), noise(longer)[..., :-4], noise(longer)[0]):
        with pytest.raises(ValueError, match="was opened for C-contiguous float32 batches of shape"):
            engine.infer(batch)


def test_not_a_number_and_infinity_neither_hang_nor_stay(engine: CheckedEngine) -> None:
    before = engine.infer(noise(engine.shape)).copy()
    for value in (np.nan, np.inf, -np.inf, 3e38):
        batch = noise(engine.shape)
        batch[..., 1::3] = value
        engine.infer(batch)
    assert np.array_equal(engine.infer(noise(engine.shape)), before)


def test_close_twice_is_close_once(settings: EngineSettings, network: tuple[Model, str, tuple[int, ...]]) -> None:
    engine = open_engine(*network, settings)
    kept = engine.infer(noise(engine.shape))
    expected = kept.copy()
    engine.close()
    engine.close()
    assert np.array_equal(kept, expected), "an answer stays readable"
    with pytest.raises(EngineError, match="was closed"):
        engine.infer(noise(engine.shape))


def test_one_thread_is_one_thread(settings: EngineSettings) -> None:
    process, clock = psutil.Process(), SystemClock()
    before = process.num_threads()
    engine = open_engine(*NETWORKS["pixel_classes"], settings)
    if "CPU" not in engine.name:
        engine.close()
        pytest.skip(f"{engine.name} has threads of its own")
    batch = noise(engine.shape)
    cpu_s, begin_ns = sum(process.cpu_times()[:2]), clock.now_ns()
    for _ in range(MANY):
        engine.infer(batch)
    wall_s = (clock.now_ns() - begin_ns) / NS_PER_S
    assert process.num_threads() - before <= 2, "besides the caller's: one that works, one that waits"
    assert sum(process.cpu_times()[:2]) - cpu_s <= 1.25 * wall_s + 0.05, "somebody spins"
    engine.close()
    assert process.num_threads() <= before + 1


def test_the_name_tells_library_precision_and_threads(engine: CheckedEngine) -> None:
    assert engine.name.endswith(f"{engine.precision}, 1 thread")
    assert engine.name in engine.choice.words
