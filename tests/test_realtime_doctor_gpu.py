"""`reflexscope doctor --gpu` where there is no GPU, and on a pretended one (tests/pretend_gpu)."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from models import manifest
from realtime import doctor_gpu
from realtime.cli import app, main
from tests.pretend_gpu import pretended_gpu

TINY = Path(__file__).parent / "tiny_model"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """One shipped model, tiny, in sizes that cost nothing; no tests to run."""
    shutil.copytree(TINY, tmp_path / "shipped" / "tiny")
    monkeypatch.setattr(manifest, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setattr(doctor_gpu, "SIDES_PX", (48,))
    monkeypatch.setattr(doctor_gpu, "QUICK", doctor_gpu.EngineSettings(use="tensorrt", precision="fp32"))
    monkeypatch.setattr(doctor_gpu, "ROOT", tmp_path)
    with pretended_gpu(monkeypatch, tmp_path / "cache") as runtime:
        yield runtime


def test_without_a_gpu_it_says_so_in_one_line_and_fails(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PRETEND_DRIVER", "0")
    monkeypatch.setattr("sys.argv", ["reflexscope", "doctor", "--gpu"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code
    assert capfd.readouterr().err == "error: no NVIDIA driver is loaded on this machine\n"


def test_with_a_gpu_every_shipped_model_is_built_checked_and_timed(gpu: ModuleType) -> None:
    lines: list[str] = []
    assert doctor_gpu.examine(lines.append) == []
    said = "\n".join(lines)
    for part in (
        "GPU: Pretend 1000, compute capability 8.6, 8.6 GB",
        "CUDA 13.0; TensorRT 11.4.0",
        "tiny, deep_watershed, 1x1x48x48",
        "built in",
        "TensorRT 11.4.0 on Pretend 1000, fp32, 7 layers",
        "the reference by",
        "median",
        "in the source code only",
    ):
        assert part in said
    assert not gpu.held
    assert list((doctor_gpu.engine_folder()).glob("*.layers.json"))


def test_what_fails_is_counted_and_what_to_send_is_said(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETEND_FAILURE", "build")
    result = CliRunner().invoke(app, ["doctor", "--gpu"])
    assert result.exit_code == 1
    assert "1 failed:" in result.output
    assert "no kernel fits" in result.output
    assert "please open an issue with all of the lines above" in result.output


def test_failing_gpu_tests_are_a_failure(gpu: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "tests" / "gpu").mkdir(parents=True)
    (tmp_path / "tests" / "gpu" / "test_it.py").write_text("def test_it():\n    raise ValueError('not like this')\n")
    lines: list[str] = []
    assert doctor_gpu._tests(lines.append) == ["tests/gpu (see above)"]
    assert any("not like this" in line for line in lines)


def test_all_well() -> None:
    assert list(doctor_gpu.advice([])) == ["everything that was tried on this GPU works"]
