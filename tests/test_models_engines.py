"""Which engine is picked, what it is told, and what the parity check lets through. The engines' own promises: contracts/."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.engines import choose, openvino_engine, parity, tensorrt_engine
from models.engines.choose import open_engine
from models.engines.engine import Array, EngineError, EngineSettings, thread_budget
from models.engines.parity import ParityError, answers, difference, needed_shapes
from models.manifest import Model, ModelError, find_model

TESTS = Path(__file__).resolve().parent
SEGMENTER = find_model(str(TESTS / "tiny_model"))
CLASSIFIER = find_model(str(TESTS / "tiny_classifier"))
SHAPE = (1, 1, 48, 64)
ONE = EngineSettings(threads=1)


def with_parity(folder: Path, **changed: Array) -> Model:
    """The tiny segmenter with another fixed input or other answers to it."""
    folder.mkdir()
    for name in ("model.onnx", "manifest.toml"):
        (folder / name).write_bytes((SEGMENTER.folder / name).read_bytes())
    np.savez(folder / "parity.npz", **{**SEGMENTER.parity(), **changed})
    return find_model(str(folder))


def without(monkeypatch: pytest.MonkeyPatch, *absent: str) -> None:
    """As if these modules were not installed."""
    found = choose.find_spec
    monkeypatch.setattr(choose, "find_spec", lambda name: None if name in absent else found(name))


def with_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it were installed."""
    found = choose.find_spec
    monkeypatch.setattr(choose, "find_spec", lambda name: found("numpy" if name == "tensorrt" else name))


# --- the choice -------------------------------------------------------------------------------------------------


def test_auto_takes_openvino_and_says_why_not_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    with_tensorrt(monkeypatch)
    monkeypatch.setattr(tensorrt_engine, "why_not", lambda *request: "no GPU to be seen")
    engine = open_engine(SEGMENTER, "deep_watershed", SHAPE, ONE)
    engine.close()
    assert engine.name.startswith("OpenVINO")
    assert engine.choice.reason == "picked, without TensorRT: no GPU to be seen"


def test_a_machine_without_tensorrt_hears_that_it_misses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "tensorrt")
    _, reason = choose.chosen(SEGMENTER, "deep_watershed", SHAPE, ONE)
    assert reason == "picked, without TensorRT: not installed, and of use only with an NVIDIA GPU"


def test_auto_takes_onnx_runtime_where_openvino_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "openvino")
    engine = open_engine(SEGMENTER, "deep_watershed", SHAPE, ONE)
    engine.close()
    assert engine.name.startswith("ONNX Runtime")
    assert "OpenVINO, which is not installed" in engine.choice.reason


def test_without_any_engine_auto_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "openvino", "onnxruntime")
    with pytest.raises(EngineError, match=r"pip install openvino"):
        open_engine(SEGMENTER, "deep_watershed", SHAPE, ONE)


def test_a_ready_tensorrt_engine_is_taken_and_its_failure_is_not_covered_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def ready(model: Model, output: str, shape: tuple[int, ...], settings: EngineSettings) -> None:
        asked.append(shape)

    def broken(*request: Any) -> None:
        raise EngineError("the GPU is gone")

    with_tensorrt(monkeypatch)
    monkeypatch.setattr(tensorrt_engine, "why_not", ready)
    monkeypatch.setattr(tensorrt_engine, "TensorRTEngine", broken)
    with pytest.raises(EngineError, match="the GPU is gone"):
        open_engine(SEGMENTER, "deep_watershed", (1, 1, 64, 64), ONE)
    assert asked == [(1, 1, 64, 64), SHAPE], "an engine for the fixed image must be ready, too"


@pytest.mark.parametrize(
    ("use", "module", "extra"), [("onnxruntime", "onnxruntime", "onnx"), ("torch", "torch", "train"), ("torch", "onnx", "train")]
)  # fmt: skip
def test_a_named_engine_is_never_replaced(monkeypatch: pytest.MonkeyPatch, use: Any, module: str, extra: str) -> None:
    without(monkeypatch, module)
    with pytest.raises(EngineError, match=rf'"{use}" needs .*{module}.*pip install "reflexscope\[{extra}\]"'):
        open_engine(SEGMENTER, "deep_watershed", SHAPE, EngineSettings(use=use))


def test_a_broken_installation_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ImportError("libopenvino.so: cannot open shared object file")

    monkeypatch.setattr(openvino_engine, "openvino", broken)
    with pytest.raises(EngineError, match=r'engine "openvino" is installed and cannot be loaded \(libopenvino.so'):
        open_engine(SEGMENTER, "deep_watershed", SHAPE, ONE)


@pytest.mark.parametrize(("use", "precision"), [("onnxruntime", "bf16"), ("onnxruntime", "fp16"), ("openvino", "int8")])
def test_a_named_precision_is_never_replaced(use: Any, precision: Any) -> None:
    with pytest.raises(EngineError, match=rf'{use} computes .*fp32 natively on this machine, not "{precision}"'):
        open_engine(SEGMENTER, "deep_watershed", SHAPE, EngineSettings(use=use, precision=precision))


def test_auto_precision_goes_on_to_the_next_if_parity_fails_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_engine, "precisions", lambda: ("bf16", "fp32"))
    monkeypatch.setitem(parity.TOLERANCES, "bf16", -1.0)
    engine = open_engine(SEGMENTER, "deep_watershed", SHAPE, ONE)
    engine.close()
    assert engine.precision == "fp32"
    assert "bf16, 1 thread is refused" in engine.choice.words
    with pytest.raises(ParityError, match="more than -1"):
        open_engine(SEGMENTER, "deep_watershed", SHAPE, EngineSettings(precision="bf16", threads=1))


@pytest.mark.parametrize(
    ("model", "output", "shape", "words"),
    [
        (SEGMENTER, "outlines", SHAPE, 'model "tiny" has no output "outlines"; it has deep_watershed, pixel_classes'),
        (SEGMENTER, "deep_watershed", (1, 1, 50, 64), "multiples of 4, not [1, 1, 50, 64]"),
        (SEGMENTER, "deep_watershed", (2, 1, 48, 64), "shape [1, 1, H, W]"),
        (SEGMENTER, "deep_watershed", (1, 1, 0, 64), "not [1, 1, 0, 64]"),
        (SEGMENTER, "deep_watershed", (48, 64), "not [48, 64]"),
        (CLASSIFIER, "deep_watershed", (1, 1, 32, 32), "it has logits"),
        (CLASSIFIER, "logits", (4, 1, 64, 64), "shape [N, 1, 32, 32], not [4, 1, 64, 64]"),
        (CLASSIFIER, "logits", (0, 1, 32, 32), "not [0, 1, 32, 32]"),
    ],
)
def test_requests_that_fit_no_network(model: Model, output: str, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(EngineError) as refusal:
        open_engine(model, output, shape, ONE)
    assert words in str(refusal.value)


def test_an_exchanged_network_is_not_run(tmp_path: Path) -> None:
    model = with_parity(tmp_path / "model")
    model.onnx_path.write_bytes(model.onnx_path.read_bytes()[:-1])
    with pytest.raises(ModelError, match="damaged or was exchanged"):
        open_engine(model, "deep_watershed", SHAPE, ONE)


def test_weights_that_are_not_the_described_networks_are_refused_by_torch() -> None:
    pytest.importorskip("torch", reason="the extra train")
    pytest.importorskip("onnx", reason="the extra train")
    described = msgspec.structs.replace(SEGMENTER.manifest, network=SEGMENTER.manifest.network | {"widths": [8, 16]})
    for manifest in (
        described,
        msgspec.structs.replace(described, network=described.network | {"widths": [8, 12, 16]}),
    ):
        with pytest.raises(
            EngineError, match="does not hold the weights of a torch network that its manifest describes"
        ):
            open_engine(
                Model(SEGMENTER.folder, manifest), "deep_watershed", SHAPE, EngineSettings(use="torch", threads=1)
            )


# --- the check --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["deep_watershed", "pixel_classes"])
@pytest.mark.parametrize("shape", [SHAPE, (1, 1, 64, 64)])
def test_beyond_the_tolerance_an_engine_is_refused_by_name(tmp_path: Path, output: str, shape: tuple[int, ...]) -> None:
    wrong = SEGMENTER.parity()[output].copy()
    wrong[0, 1, 20:22, 30:32] += 2.0
    model = with_parity(tmp_path / "model", **{output: wrong})
    with pytest.raises(
        ParityError, match=rf'OpenVINO .* is refused for "{output}" of model "tiny": .* by 0\.\d+, more than 0'
    ):
        open_engine(model, output, shape, EngineSettings(use="openvino", threads=1))


def test_not_a_number_passes_no_check(tmp_path: Path) -> None:
    wrong = SEGMENTER.parity()["deep_watershed"].copy()
    wrong[0, 1, 20, 30] = np.nan
    with pytest.raises(ParityError, match="by nan, more than"):
        open_engine(with_parity(tmp_path / "model", deep_watershed=wrong), "deep_watershed", SHAPE, ONE)


@pytest.mark.parametrize("content", [b"", b"no archive", "half", "one byte"])
def test_a_damaged_reference_is_named(tmp_path: Path, content: bytes | str) -> None:
    model = with_parity(tmp_path / "model")
    whole = (model.folder / "parity.npz").read_bytes()
    damage = {"half": whole[: len(whole) // 2], "one byte": whole[:500] + bytes([whole[500] ^ 255]) + whole[501:]}
    (model.folder / "parity.npz").write_bytes(damage[content] if isinstance(content, str) else content)
    with pytest.raises(ModelError, match=r"parity.npz cannot be read \(.*\); export the model again"):
        open_engine(model, "deep_watershed", SHAPE, ONE)


def test_without_a_reference_there_is_no_engine(tmp_path: Path) -> None:
    model = with_parity(tmp_path / "model")
    np.savez(model.folder / "parity.npz", input=SEGMENTER.parity()["input"])
    with pytest.raises(EngineError, match='parity.npz of model "tiny" has no "pixel_classes"'):
        open_engine(model, "pixel_classes", SHAPE, ONE)


def test_a_refused_engine_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []

    class Off:
        name, precision = "off", "fp32"

        def __init__(self, model: Model, output: str, shape: tuple[int, ...], settings: EngineSettings) -> None:
            self.shape = shape

        def infer(self, batch: Array) -> Array:
            return np.zeros((1, 2, *self.shape[2:]), np.float32)

        def close(self) -> None:
            closed.append(self.shape)

    with_tensorrt(monkeypatch)
    monkeypatch.setattr(tensorrt_engine, "why_not", lambda *request: None)
    monkeypatch.setattr(tensorrt_engine, "TensorRTEngine", Off)
    with pytest.raises(ParityError, match="off is refused"):
        open_engine(SEGMENTER, "deep_watershed", (1, 1, 64, 64), ONE)
    assert closed == [SHAPE, (1, 1, 64, 64)]


def test_what_is_saturated_counts_as_it_is_used() -> None:
    sure, surer = np.full((1, 2, 4, 4), 12.0, np.float32), np.full((1, 2, 4, 4), 13.0, np.float32)
    assert difference(SEGMENTER, "deep_watershed", sure, surer) < 1e-5
    assert difference(SEGMENTER, "deep_watershed", sure, np.zeros_like(sure)) == 1.0
    assert difference(SEGMENTER, "deep_watershed", sure, sure[:, :1]) == np.inf


def test_shapes_for_which_engines_must_be_built() -> None:
    assert needed_shapes(SEGMENTER, SHAPE) == (SHAPE,)
    assert needed_shapes(SEGMENTER, (1, 1, 512, 512)) == ((1, 1, 512, 512), SHAPE)
    assert needed_shapes(CLASSIFIER, (16, 1, 32, 32)) == ((16, 1, 32, 32),)


class Doubling:
    """An engine that is easy to predict and keeps its buffer."""

    name, precision = "doubling", "fp32"

    def __init__(self, size: int) -> None:
        self.shape = (size, 3)
        self._buffer = np.empty(self.shape, np.float32)

    def infer(self, batch: Array) -> Array:
        assert batch.shape == self.shape
        return np.multiply(batch, 2, out=self._buffer)

    def close(self) -> None: ...


@given(st.integers(1, 9), st.integers(1, 30))
def test_any_number_of_inputs_goes_through_batches_of_any_size(size: int, n: int) -> None:
    inputs = np.arange(n * 3, dtype=np.float32).reshape(n, 3)
    assert np.array_equal(answers(Doubling(size), inputs), 2 * inputs)  # type: ignore[arg-type]  # a class of its own


# --- manners ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "given_to_process", "threads"), [(0, "3", 3), (2, "3", 2), (0, "", 1), (0, "many", 1), (0, "0", 1)]
)
def test_threads_are_what_was_set_or_given_or_one(
    monkeypatch: pytest.MonkeyPatch, setting: int, given_to_process: str, threads: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", given_to_process)
    assert thread_budget(EngineSettings(threads=setting)) == threads


def test_choosing_loads_no_library() -> None:
    code = (
        "import sys, models.engines.choose, realtime.doctor\n"
        "print(*[m for m in ('openvino', 'onnxruntime', 'onnx', 'torch', 'tensorrt', 'cuda') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=TESTS.parent, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == ""


def test_openvino_sends_no_reports_and_leaves_no_files(tmp_path: Path) -> None:
    code = (
        "import sys, threading\n"
        "from models.engines.choose import open_engine\n"
        "from models.engines.engine import EngineSettings\n"
        "from models.manifest import find_model\n"
        f"model = find_model({str(SEGMENTER.folder)!r})\n"
        f"open_engine(model, 'deep_watershed', {SHAPE}, EngineSettings(use='openvino')).close()\n"
        "print(sys.modules['openvino_telemetry'], threading.active_count())"
    )
    home = {name: str(tmp_path) for name in ("HOME", "USERPROFILE", "LOCALAPPDATA", "XDG_CACHE_HOME", "TMPDIR", "TEMP")}
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | home
    environment |= {"PYTHONPATH": str(TESTS.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert answer.stdout.split() == ["None", "1"]
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.skipif(sys.platform != "linux", reason="alternate signal stacks are kept on Linux only")
def test_an_engine_leaves_signals_the_stack_they_had() -> None:
    code = f"""
import ctypes, signal
from models.engines.choose import open_engine
from models.engines.engine import EngineSettings
from models.engines.signal_stack import SignalStack
from models.manifest import find_model

def size():
    stack = SignalStack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
    return stack.size

before = size()
engine = open_engine(find_model({str(SEGMENTER.folder)!r}), "deep_watershed", (1, 1, 64, 64), EngineSettings(use="openvino"))
assert size() == before, (before, size())
engine.close()
signal.signal(signal.SIGTERM, lambda number, frame: print("heard"))
signal.raise_signal(signal.SIGTERM)
"""
    answer = subprocess.run([sys.executable, "-X", "faulthandler", "-c", code], capture_output=True, text=True)
    assert (answer.stdout.strip(), answer.returncode) == ("heard", 0), answer.stderr
