"""Networks rewritten to float16: same answers within its 11 bits, and nothing turned that must not be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from models.engines.engine import EngineError
from models.engines.half import half_precision
from models.manifest import Model, find_model

onnx = pytest.importorskip("onnx", reason='fp16 networks need the package onnx (extra "gpu" or "train")')
HERE = Path(__file__).parent
FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


def answers(network: bytes, batch: Any) -> dict[str, Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(network, options, ["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: batch}), strict=True))


@pytest.mark.parametrize("model", [find_model(str(HERE / name)) for name in ("tiny_model", "tiny_classifier")], ids=str)
def test_a_halved_network_answers_like_the_reference(model: Model) -> None:
    given = model.parity()
    network = half_precision(model.onnx_bytes())
    assert len(network) < 0.7 * len(model.onnx_bytes())
    for name, answer in answers(network, given["input"]).items():
        assert answer.dtype == np.float32, "inputs and outputs stay as they were"
        assert 0 < np.abs(answer - given[name]).max() < 2e-3 * np.abs(given[name]).max()


def test_weights_and_sums_are_half() -> None:
    graph = onnx.load_model_from_string(half_precision(find_model(str(HERE / "tiny_model")).onnx_bytes())).graph
    kept = {name for node in graph.node if node.op_type == "Resize" for name in node.input[1:3]}
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert HALF in types.values()
    assert [name for name, kind in types.items() if kind == FLOAT and name not in kept] == []
    assert [end.type.tensor_type.elem_type for end in (*graph.input, *graph.output)] == [FLOAT] * 3


def network(*nodes: Any, weights: tuple[Any, ...] = ()) -> bytes:
    def values(name: str) -> Any:
        return onnx.helper.make_tensor_value_info(name, FLOAT, [1, 4])

    graph = onnx.helper.make_graph(list(nodes), "graph", [values("x")], [values("y")], list(weights))
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def weight(name: str, *values: float) -> Any:
    return onnx.numpy_helper.from_array(np.array(values, np.float32), name)


node = onnx.helper.make_node
BATCH = np.array([[0.5, -1.25, 3.0, 100.0]], np.float32)


def test_an_output_that_is_used_again_and_a_cast_in_the_middle() -> None:
    turned = half_precision(
        network(
            node("Add", ["x", "w"], ["y"]),
            node("Greater", ["y", "w"], ["above"]),
            node("Cast", ["above"], ["z"], to=FLOAT),
            node("Mul", ["z", "y"], ["unused"]),
            weights=(weight("w", 0.1, 0.2, 0.3, 0.4),),
        )
    )
    assert np.allclose(answers(turned, BATCH)["y"], BATCH + np.array([0.1, 0.2, 0.3, 0.4]), rtol=1e-3)


def test_constants_are_turned_like_weights() -> None:
    turned = half_precision(network(node("Constant", [], ["w"], value=weight("", 2.0)), node("Mul", ["x", "w"], ["y"])))
    assert np.array_equal(answers(turned, BATCH)["y"], 2 * BATCH)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: network(node("Mul", ["x", "w"], ["y"]), weights=(weight("w", 1e5),)), '"w" reach beyond 65504'),
        (
            lambda: network(
                node("QuantizeLinear", ["x", "s"], ["q"]),
                node("DequantizeLinear", ["q", "s"], ["y"]),
                weights=(weight("s", 1.0),),
            ),
            "has DequantizeLinear, QuantizeLinear",
        ),
        (
            lambda: network(node("Constant", [], ["w"], value_float=2.0), node("Mul", ["x", "w"], ["y"])),
            "cannot be turned into fp16: ",
        ),
    ],
)
def test_what_cannot_be_halved_is_said(make: Callable[[], bytes], reason: str) -> None:
    with pytest.raises(EngineError, match=reason):
        half_precision(make())
