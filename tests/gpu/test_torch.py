"""The torch engine on a real GPU: the contract's promises there, in every precision that the GPU computes."""

from pathlib import Path

import numpy as np
import pytest

from models.engines.choose import open_engine
from models.engines.engine import EngineSettings, Precision
from models.manifest import find_model

torch = pytest.importorskip("torch", reason="the extra train")
pytest.importorskip("onnx", reason="the extra train")

pytestmark = pytest.mark.gpu


@pytest.fixture(params=["fp16", "bf16", "fp32"])
def precision(request: pytest.FixtureRequest) -> Precision:
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    if request.param == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        pytest.skip("this GPU computes no bf16")
    return request.param  # type: ignore[no-any-return]


@pytest.mark.parametrize("shape", [(1, 1, 48, 64), (1, 1, 512, 512)])
def test_passes_the_parity_check_and_repeats_itself(
    precision: Precision, shape: tuple[int, ...], tests_folder: Path
) -> None:
    settings = EngineSettings(use="torch", precision=precision)
    engine = open_engine(find_model(str(tests_folder / "tiny_model")), "deep_watershed", shape, settings)
    batch = np.random.default_rng(0).random(shape, np.float32)
    first = engine.infer(batch).copy()
    engine.infer(np.zeros_like(batch))
    assert np.array_equal(engine.infer(batch), first)
    assert torch.cuda.get_device_name() in engine.name
    engine.close()
