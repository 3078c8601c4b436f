"""Networks to ONNX and back: every engine computes the same, at any size and for any single output."""

from pathlib import Path

import numpy as np
import onnxruntime
import openvino
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from models.manifest import Model, SegmenterManifest, find_model  # noqa: E402
from models.networks.fusing import fused  # noqa: E402
from models.networks.unet import UNet, UNetSettings  # noqa: E402
from models.training.exporting import onnx_bytes  # noqa: E402
from models.training.pretrained import pretrained_unet, recentre, start_from, weights_of  # noqa: E402
from models.training.recipe import RecipeError, checked  # noqa: E402
from models.training.segmenter import SegmenterRecipe  # noqa: E402
from models.training.shipping import write_network, write_parity  # noqa: E402

SETTINGS = UNetSettings(widths=(4, 6, 8))
METHODS = SETTINGS.methods
FREE = {2: "height", 3: "width"}


def with_statistics(settings: UNetSettings = SETTINGS, seed: int = 0) -> UNet:
    """A network that has seen something: no statistic is 0 or 1."""
    torch.manual_seed(seed)
    network = UNet(settings).train()
    for _ in range(3):
        network(torch.rand(2, 1, 48, 64) * 3)
    return network.eval()


@pytest.fixture(scope="module")
def network() -> UNet:
    return with_statistics()


@pytest.fixture(scope="module")
def content(network: UNet) -> bytes:
    return onnx_bytes(network, torch.zeros(1, 1, 16, 24), "image", METHODS, dict.fromkeys(("image", *METHODS), FREE))


@pytest.fixture(scope="module")
def model(network: UNet, tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("tiny")
    recipe = checked(
        {"kind": "segmenter", "name": "tiny", "training": {"network": {"widths": [4, 6, 8]}}}, SegmenterRecipe, "tiny"
    )
    from models.label_rules import LabelRules

    rules = {"deep_watershed": LabelRules(), "pixel_classes": LabelRules(method="pixel_classes")}
    write_network(network, recipe, [], rules, folder)
    write_parity(network, np.random.default_rng(0).random((16, 24), np.float32), folder)
    return find_model(str(folder))


def answers(network: UNet, image: np.ndarray) -> dict[str, np.ndarray]:
    with torch.no_grad():
        return {method: maps.numpy() for method, maps in network(torch.from_numpy(image)).items()}


def test_folding_the_normalisation_changes_nothing(network: UNet) -> None:
    image = torch.rand(1, 1, 32, 40)
    with torch.no_grad():
        for method, maps in fused(network)(image).items():
            torch.testing.assert_close(maps, network(image)[method], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("shape", [(8, 8), (64, 40), (512, 512)])
def test_any_size_in_onnx_runtime_and_openvino(network: UNet, content: bytes, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).random((1, 1, *shape), np.float32)
    expected = answers(network, image)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    core = openvino.Core()
    for method in METHODS:
        np.testing.assert_allclose(session.run([method], {"image": image})[0], expected[method], atol=1e-4, rtol=1e-4)
        network_ir = core.read_model(content)
        for result in network_ir.get_results():
            if method not in result.input(0).get_tensor().names:
                network_ir.remove_result(result)
        network_ir.reshape([1, 1, *shape])
        compiled = core.compile_model(
            network_ir, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
        )
        np.testing.assert_allclose(compiled(image)[method], expected[method], atol=1e-4, rtol=1e-4)


def test_the_file_names_axes_and_weights_and_nothing_of_this_machine(network: UNet, content: bytes) -> None:
    graph = onnx.load_from_string(content).graph
    axes = {
        each.name: [side.dim_param or side.dim_value for side in each.type.tensor_type.shape.dim]
        for each in (*graph.input, *graph.output)
    }
    assert axes == {
        "image": [1, 1, "height", "width"],
        "deep_watershed": [1, 2, "height", "width"],
        "pixel_classes": [1, 3, "height", "width"],
    }
    weights = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    for name, expected in fused(network).state_dict().items():
        np.testing.assert_array_equal(weights[name], expected.numpy())
    assert str(Path(__file__).parents[1]).encode() not in content
    assert b".py" not in content


def test_weights_come_back_exactly(network: UNet, model: Model) -> None:
    image = np.random.default_rng(1).random((1, 1, 32, 24), np.float32)
    back = pretrained_unet(str(model.folder))
    for method, maps in answers(network, image).items():
        np.testing.assert_allclose(answers(back, image)[method], maps, atol=1e-5, rtol=1e-4)
    assert isinstance(model.manifest, SegmenterManifest)
    assert weights_of(model).keys() >= fused(network).state_dict().keys()


def test_new_statistics_leave_the_network_as_it_is_and_training_near_it(model: Model) -> None:
    batch = np.random.default_rng(2).random((4, 1, 32, 32), np.float32) * 2
    back = pretrained_unet(str(model.folder))
    before = answers(back, batch)
    bare = answers(back.train(), batch)
    again = recentre(pretrained_unet(str(model.folder)), torch.from_numpy(batch))
    for method in METHODS:
        np.testing.assert_allclose(answers(again.eval(), batch)[method], before[method], atol=1e-5, rtol=1e-3)
    for method, maps in answers(again.train(), batch).items():
        assert np.abs(maps - before[method]).max() < 0.1 * np.abs(bare[method] - before[method]).max()


def test_only_heads_may_differ_from_the_model_that_is_started_from(model: Model) -> None:
    source = pretrained_unet(str(model.folder))
    one_head = start_from(UNet(UNetSettings(widths=(4, 6, 8), methods=("pixel_classes",))), "tiny", source, "heads.")
    assert torch.equal(one_head.down[0][0].enter[0].weight, source.down[0][0].enter[0].weight)
    with pytest.raises(RecipeError, match=r"not that of \"tiny\".*\[training.network\]"):
        start_from(UNet(UNetSettings(widths=(4, 8, 8))), "tiny", source, "heads.")
