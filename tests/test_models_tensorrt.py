"""Building, loading and running TensorRT engines on a GPU that is pretended (tests/pretend_gpu), and choosing them.

What NVIDIA's own libraries answer is tested in tests/gpu, on machines that have them.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from models.engines.choose import open_engine
from models.engines.cuda_runtime import find_gpu
from models.engines.engine import EngineError, EngineSettings
from models.engines.tensorrt_build import build_if_needed, main
from models.engines.tensorrt_cache import engine_folder
from models.engines.tensorrt_engine import TensorRTEngine, why_not
from models.engines.tensorrt_library import find_origin, last_words
from models.engines.tensorrt_plans import build_command
from models.manifest import find_model
from tests.pretend_gpu import pretended_gpu

MODEL = find_model(str(Path(__file__).parent / "tiny_model"))
OUTPUT = "deep_watershed"
SHAPE = MODEL.parity()["input"].shape
FP32 = EngineSettings(use="tensorrt", precision="fp32")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    with pretended_gpu(monkeypatch, tmp_path) as runtime:
        yield runtime


def build(shape: tuple[int, ...] = SHAPE, output: str = OUTPUT, precision: str = "fp32") -> int:
    """In this process, which takes no second."""
    return main([str(MODEL.folder), output, "x".join(map(str, shape)), "--precision", precision])


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"PRETEND_DRIVER": "0"}, "no NVIDIA driver is loaded on this machine"),
        (
            {"PRETEND_DRIVER": "12040"},
            r'serves CUDA 12.4, the installed cuda-bindings need 13.0: .*"cuda-bindings==12\.\*"',
        ),
        ({"PRETEND_GPUS": "0"}, "shows no GPU to this process$"),
        ({"PRETEND_GPUS": "0", "CUDA_VISIBLE_DEVICES": ""}, r"no GPU to this process \(CUDA_VISIBLE_DEVICES is ''\)"),
    ],
)
def test_no_usable_gpu_is_said_before_tensorrt_is_touched(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], reason: str
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(EngineError, match=reason):
        find_origin()
    assert "tensorrt" not in sys.modules, "without a driver its objects end the process"


def test_older_bindings_raise_where_no_driver_is(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library() -> None:
        raise RuntimeError("Failed to dlopen libcuda.so.1")

    monkeypatch.setattr(gpu, "cudaDriverGetVersion", no_library)
    with pytest.raises(EngineError, match="no NVIDIA driver is loaded on this machine"):
        find_gpu()


def test_a_tensorrt_for_a_later_cuda_than_the_drivers(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETEND_DRIVER", "12040")
    monkeypatch.setenv("PRETEND_RUNTIME", "12080")
    monkeypatch.setattr("models.engines.tensorrt_library._installed", lambda name: name == "tensorrt-cu13-libs")
    with pytest.raises(
        EngineError, match=r"made for CUDA 13, the NVIDIA driver serves CUDA 12.4.*reflexscope\[gpu-cuda12\]"
    ):
        find_origin()


def test_what_is_found(gpu: ModuleType) -> None:
    origin, found = find_origin()
    assert (origin.gpu, origin.compute_capability, origin.cuda_driver) == ("Pretend 1000", "8.6", "13.0")
    assert found.memory_bytes == 8 << 30


@pytest.mark.parametrize("absent", ["cuda", "tensorrt"])
def test_a_missing_package_is_named(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, absent: str) -> None:
    with monkeypatch.context() as patch:  # undone before the pretended modules go
        for name in [absent, *(name for name in sys.modules if name.startswith(f"{absent}."))]:
            patch.setitem(sys.modules, name, None)
        reason = why_not(MODEL, OUTPUT, SHAPE, EngineSettings())
    assert reason is not None
    assert 'pip install "reflexscope[gpu]"' in reason


@pytest.mark.parametrize("output", ["deep_watershed", "pixel_classes"])
def test_a_built_engine_answers_with_the_wanted_output(gpu: ModuleType, output: str) -> None:
    assert build(output=output) == 0
    engine = TensorRTEngine(MODEL, output, SHAPE, FP32)
    given = MODEL.parity()
    for batch in (given["input"], np.zeros_like(given["input"]), given["input"]):
        answer = engine.infer(batch)
    assert np.abs(answer - given[output]).max() < 1e-4
    assert engine.infer(given["input"]) is answer, "one buffer for all answers"
    assert engine.name == "TensorRT 11.4.0 on Pretend 1000, fp32, 7 layers"
    assert engine.precision == "fp32"
    engine.close()


def test_what_is_held_is_given_back_in_order(gpu: ModuleType) -> None:
    build()
    engine = TensorRTEngine(MODEL, OUTPUT, SHAPE, FP32)
    answer = engine.infer(MODEL.parity()["input"])
    gpu.history.clear()
    engine.close()
    engine.close()
    assert gpu.history == [
        *("cudaGraphExecDestroy", "cudaEventDestroy", "cudaStreamDestroy"),
        *("cudaFree", "cudaFree", "context", "engine", "runtime"),
    ]
    with pytest.raises(EngineError, match="closed"):
        engine.infer(MODEL.parity()["input"])
    assert np.isfinite(answer).all(), "an answer that somebody still holds stays readable"
    del answer, engine
    assert not gpu.memory
    assert not gpu.held


@pytest.mark.parametrize("step", ["context", "bind", "execute", "capture"])
def test_a_failure_half_way_gives_back_what_was_taken(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    build()
    monkeypatch.setenv("PRETEND_FAILURE", step)
    with pytest.raises(EngineError):
        TensorRTEngine(MODEL, OUTPUT, SHAPE, FP32)
    assert not gpu.held
    assert [kind for kind, _, _ in gpu.memory.values() if kind == "device"] == []


def test_engines_of_other_shapes_live_side_by_side(gpu: ModuleType) -> None:
    other = (1, 1, 64, 96)
    build()
    build(other)
    one, two = (TensorRTEngine(MODEL, OUTPUT, shape, FP32) for shape in (SHAPE, other))
    assert two.infer(np.zeros(other, np.float32)).shape == (1, 2, 64, 96)
    two.close()
    assert np.abs(one.infer(MODEL.parity()["input"]) - MODEL.parity()[OUTPUT]).max() < 1e-4
    one.close()


def test_an_engine_is_ready_or_the_command_that_builds_it_is_said(gpu: ModuleType) -> None:
    reason = why_not(MODEL, OUTPUT, SHAPE, FP32)
    assert reason is not None
    command = " ".join(build_command(MODEL, OUTPUT, SHAPE, "fp32"))
    assert (
        reason
        == f"no TensorRT engine has been built here for tiny, {OUTPUT}, 1x1x48x64, fp32; build it before the run: {command}"
    )
    build()
    assert why_not(MODEL, OUTPUT, SHAPE, FP32) is None
    assert why_not(MODEL, OUTPUT, SHAPE, EngineSettings()) is None, "auto takes the precision that was built"
    assert why_not(MODEL, OUTPUT, SHAPE, EngineSettings(precision="bf16")) == (
        'TensorRT engines are built in fp16 or fp32, not in "bf16"'
    )


def test_an_engine_of_an_older_tensorrt_is_refused_and_built_again(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    build()
    import tensorrt

    monkeypatch.setattr(tensorrt, "__version__", "11.5.0")
    reason = why_not(MODEL, OUTPUT, SHAPE, FP32)
    assert reason is not None
    assert "was built by TensorRT 11.4.0; installed is 11.5.0; build it before the run" in reason
    with pytest.raises(EngineError, match="was built by TensorRT 11.4.0"):
        TensorRTEngine(MODEL, OUTPUT, SHAPE, FP32)
    assert build() == 0
    assert why_not(MODEL, OUTPUT, SHAPE, FP32) is None
    assert len(list(engine_folder().glob("*.plan"))) == 1


def test_a_plan_that_tensorrt_itself_refuses(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.engines.tensorrt_build.bytes", lambda plan: b"nonsense", raising=False)
    build()
    with pytest.raises(EngineError, match=r"TensorRT cannot load its own engine .*the plan is not of this version"):
        TensorRTEngine(MODEL, OUTPUT, SHAPE, FP32)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((OUTPUT, "1x1x48"), r'takes "image" of shape 1x1x-1x-1 \(-1: any\), not 1x1x48'),
        ((OUTPUT, "1x3x48x64"), "not 1x3x48x64"),
        (("centres", "1x1x48x64"), 'has no output "centres"; it has deep_watershed, pixel_classes'),
    ],
)
def test_what_cannot_be_built_is_said(
    gpu: ModuleType, capsys: pytest.CaptureFixture[str], arguments: tuple[str, str], error: str
) -> None:
    assert main([str(MODEL.folder), *arguments, "--precision", "fp32"]) == 1
    *_, last = capsys.readouterr().out.splitlines()
    assert last.startswith("error: ")
    assert re.search(error, last)


def test_a_gpu_that_tensorrt_does_not_take(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PRETEND_FAILURE", "builder")
    assert build() == 1
    assert "error: TensorRT cannot use this GPU: TensorRT gave no reason" in capsys.readouterr().out


def test_timings_are_kept_for_the_next_build(gpu: ModuleType) -> None:
    build()
    (path,) = engine_folder().glob("timings-sm86.bin")
    before = path.read_bytes()
    build((1, 1, 64, 64))
    assert path.read_bytes() == before, "what was read is what is extended"


def test_a_build_in_its_own_process_tells_how_it_goes(gpu: ModuleType) -> None:
    shape, lines = (1, 1, 64, 64), []
    build(shape)
    build_if_needed(MODEL, OUTPUT, shape, FP32, lines.append)
    missing = f"no TensorRT engine has been built here for tiny, {OUTPUT}, 1x1x48x64, fp32; building it"
    assert lines[0] == missing, "the fixed image that an engine must answer first has a shape of its own"
    assert "  Tactics: 50 %" in lines
    assert not [line for line in lines if "Inner" in line]
    assert lines[-1].startswith("built in")
    lines.clear()
    build_if_needed(MODEL, OUTPUT, shape, FP32, lines.append)
    assert lines == []


def test_what_is_ready_serves_without_being_named(gpu: ModuleType) -> None:
    shape = (1, 1, 64, 64)
    build()
    build(shape)
    engine = open_engine(MODEL, OUTPUT, shape, EngineSettings())
    assert engine.name.startswith("TensorRT")
    assert "ready" in engine.choice.reason
    engine.close()


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        ("build", r"exit status 1\): TensorRT could not build .*: \[pretended\] no kernel fits"),
        pytest.param(
            "crash",
            r"failed \(signal 9\): \[pretended\] out of everything",
            marks=pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no signals"),
        ),
    ],
)
def test_a_build_that_fails_or_crashes_does_not_take_us_along(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, failure: str, reason: str
) -> None:
    monkeypatch.setenv("PRETEND_FAILURE", failure)
    with pytest.raises(EngineError, match=reason):
        build_if_needed(MODEL, OUTPUT, SHAPE, FP32, lambda line: None)
    assert not list(engine_folder().glob("*.plan"))
    monkeypatch.delenv("PRETEND_FAILURE")
    assert build() == 0, "the lock of a process that died is free"


def test_two_processes_build_one_engine(gpu: ModuleType) -> None:
    command = build_command(MODEL, OUTPUT, SHAPE, "fp32")
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sum("built in" in text for text in said) == 1
    assert sum("is ready" in text for text in said) == 1


def test_half_precision_is_what_auto_takes_first(gpu: ModuleType) -> None:
    pytest.importorskip("onnx", reason='fp16 networks need the package onnx (extra "gpu" or "train")')
    build()
    build(precision="fp16")
    engine = open_engine(MODEL, OUTPUT, SHAPE, EngineSettings(use="tensorrt"))
    assert engine.precision == "fp16"
    assert 0 < engine.choice.difference < 0.01
    engine.close()


def test_an_engine_in_half_precision_is_not_checked_by_one_in_single(gpu: ModuleType) -> None:
    pytest.importorskip("onnx", reason='fp16 networks need the package onnx (extra "gpu" or "train")')
    shape = (1, 1, 64, 64)
    build()
    build(shape, precision="fp16")
    with pytest.raises(EngineError, match=r"no TensorRT engine has been built here for .*1x1x48x64, fp16"):
        open_engine(MODEL, OUTPUT, shape, EngineSettings(use="tensorrt"))


def test_a_class_of_cells_a_batch(gpu: ModuleType) -> None:
    model = find_model(str(Path(__file__).parent / "tiny_classifier"))
    shape = (20, 1, 32, 32)
    assert main([str(model.folder), "logits", "20x1x32x32", "--precision", "fp32"]) == 0
    engine = open_engine(model, "logits", shape, FP32)
    assert engine.infer(np.zeros(shape, np.float32)).shape == (20, 4)
    engine.close()


def test_tensorrt_is_named_and_refused_never_replaced(gpu: ModuleType) -> None:
    with pytest.raises(EngineError, match="no TensorRT engine has been built here"):
        open_engine(MODEL, OUTPUT, SHAPE, EngineSettings(use="tensorrt"))


def test_what_tensorrt_said_is_kept(gpu: ModuleType) -> None:
    assert last_words() == "TensorRT gave no reason"
