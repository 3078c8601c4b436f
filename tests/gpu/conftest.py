"""Tests that need an NVIDIA GPU, its driver and TensorRT; `reflexscope doctor --gpu` runs them on a user's machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from models.engines.cuda_runtime import Gpu
from models.engines.engine import EngineError
from models.engines.tensorrt_library import find_origin


@pytest.fixture(scope="session", autouse=True)
def real_gpu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gpu]:
    """What is there, and engines in a folder of this session; without a GPU every test here skips and says why."""
    try:
        _, gpu = find_origin()
    except EngineError as reason:
        pytest.skip(f"no GPU for TensorRT: {reason}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REFLEXSCOPE_CACHE", str(tmp_path_factory.mktemp("engines", numbered=True)))
        yield gpu


@pytest.fixture(scope="session")
def tests_folder() -> Path:
    return Path(__file__).resolve().parents[1]
