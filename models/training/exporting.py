"""A trained network → ONNX: one file for all engines, any height and width, weights under the network's own names."""

import warnings
from collections.abc import Sequence
from tempfile import TemporaryDirectory

import onnx
import torch
from torch import Tensor, nn

from models.networks.fusing import fused

OPSET = 17
Axes = dict[int, str]
"""Axis → name, of those that may have any length."""


def onnx_bytes(
    network: nn.Module, example: Tensor, source: str, outputs: Sequence[str], free: dict[str, Axes]
) -> bytes:
    """The network for inference, with normalisation folded into convolutions, as float32.

    `source` and `outputs` name its input and outputs, `free` their axes of any length. Initializers are named like
    the parameters of `fused(network)`, so that torch can have them back.
    """
    ready = fused(network)
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        # The tracing exporter is announced to go; the new one computes every reshape from the input's shape with a
        # dozen more nodes, and needs onnxscript.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            ready, (example,), f"{folder}/model.onnx", opset_version=OPSET, dynamo=False,
            input_names=[source], output_names=list(outputs), dynamic_axes=free,
        )  # fmt: skip
        model = onnx.load(f"{folder}/model.onnx")
    _name_axes(model, free, example)
    onnx.checker.check_model(model, full_check=True)
    found = {each.name for each in model.graph.initializer}
    if missing := sorted(set(ready.state_dict()) - found):
        raise RuntimeError(f"the exporter renamed {missing[0]}: this version of torch folds weights in another way")
    return bytes(model.SerializeToString())


def _name_axes(model: onnx.ModelProto, free: dict[str, Axes], example: Tensor) -> None:
    """Outputs as long as the input along every axis that the tracer gave a name of its own."""
    for output in model.graph.output:
        for axis, length in enumerate(output.type.tensor_type.shape.dim):
            name = free.get(output.name, {}).get(axis)
            if name:
                length.dim_param = name
            elif length.dim_param:
                length.dim_value = example.shape[axis]
