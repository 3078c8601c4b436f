"""An int8 network made from the tiny one: still finds discs, runs on both CPU engines, and says what it is."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from models.engines import int8
from models.engines.choose import open_engine
from models.engines.engine import EngineError, EngineSettings
from models.manifest import Model, find_model
from models.segmenter import NetworkSegmenter
from tests.contracts.test_segmenter_contract import discs

onnx = pytest.importorskip("onnx", reason="the extra train")

TESTS = Path(__file__).resolve().parent
TINY = find_model(str(TESTS / "tiny_model"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for seed in range(6):
        cv2.imwrite(str(folder / f"{seed}.png"), discs((120, 150), seed=seed).astype(np.uint16))
    return folder


@pytest.fixture(scope="module")
def made(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("models") / "tiny-int8"
    int8.main([str(TINY.folder), str(images), str(folder)])
    return find_model(str(folder))


@pytest.mark.parametrize("method", ["deep_watershed", "pixel_classes"])
@pytest.mark.parametrize("use", ["openvino", "onnxruntime"])
def test_finds_the_same_discs(made: Model, method: str, use: str) -> None:
    image = discs((128, 128), seed=9)
    found = []
    for folder in (TINY.folder, made.folder):
        segmenter = NetworkSegmenter(model_path=str(folder), method=method, engine=EngineSettings(use=use, threads=1))  # type: ignore[arg-type]
        found.append(segmenter.label(segmenter.infer(image)))
        segmenter.close()
    assert found[0].max() == found[1].max() == 9
    assert np.mean((found[0] > 0) != (found[1] > 0)) < 0.01


def test_most_weights_take_one_byte_and_the_ends_keep_four(made: Model) -> None:
    graph = onnx.load(made.onnx_path).graph
    types = {each.name: each.data_type for each in graph.initializer if len(each.dims) == 4}
    bytes_each = {name: 1 if kind == onnx.TensorProto.INT8 else 4 for name, kind in types.items()}
    assert sorted(bytes_each.values()) == [1] * 6 + [4] * 3, bytes_each


def test_the_ends_are_the_first_and_last_convolutions() -> None:
    graph = onnx.load(TINY.onnx_path).graph
    weights = {node.name: node.input[1] for node in graph.node if node.op_type == "Conv"}
    assert [weights[name] for name in int8.ends(graph)] == [
        "down.0.0.enter.0.weight", "heads.deep_watershed.weight", "heads.pixel_classes.weight"
    ]  # fmt: skip


def test_the_manifest_says_what_it_is_and_torch_refuses_it(made: Model) -> None:
    pytest.importorskip("torch", reason="the extra train")
    assert made.manifest.name == "tiny-int8"
    assert made.manifest.network == {"int8_of": TINY.manifest.sha256}
    with pytest.raises(EngineError, match="does not hold the weights of a torch network"):
        open_engine(made, "deep_watershed", (1, 1, 48, 64), EngineSettings(use="torch", threads=1))


def test_at_most_so_many_images_evenly_chosen(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "MOST_IMAGES", 3)
    inputs = list(int8.inputs_from(images, TINY.manifest))  # type: ignore[arg-type]  # it is a segmenter
    assert [each.shape for each in inputs] == [(1, 1, 120, 152)] * 3


@pytest.mark.parametrize(
    ("model", "images_in", "out", "words"),
    [
        (TESTS, TINY.folder, "out", "neither shipped nor a folder"),
        (TINY.folder, TINY.folder, "out", "holds no image"),
        (TESTS / "tiny_classifier", TINY.folder, "out", "a segmenter is needed"),
        (TINY.folder, TINY.folder, TINY.folder, "the float32 model's own folder"),
    ],
)
def test_mistakes_are_one_line(
    model: Path, images_in: Path, out: Path | str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_status:
        int8.main([str(model), str(images_in), str(tmp_path / out)])
    assert exit_status.value.code == 2
    assert words in capsys.readouterr().err.splitlines()[-1]
