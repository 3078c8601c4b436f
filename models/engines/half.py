"""An ONNX network rewritten to compute in half precision (float16), for engines that take types from the file.

Inputs and outputs stay float32: the GPU converts them faster than the CPU would.
"""

from typing import Any

import numpy as np

from models.engines.engine import EngineError

LARGEST_HALF = float(np.finfo(np.float16).max)
NOT_HALVED = ("DequantizeLinear", "If", "Loop", "QuantizeLinear", "Scan")
"""Quantised networks have their own precision; networks inside of nodes are not looked into."""
FLOAT32_INPUTS = {"Resize": (1, 2), "Upsample": (1,)}
"""Operator → inputs (region, scales) that the ONNX standard wants in float32 whatever the data are."""


def half_precision(network: bytes) -> bytes:
    """The same network in float16. Raises EngineError where a weight or an operator does not fit."""
    try:
        import onnx
    except ImportError as error:
        raise EngineError(
            f'fp16 needs the package onnx ({error}): pip install "reflexscope[gpu]", or set engine.precision = "fp32"'
        ) from error

    model = onnx.load_model_from_string(network)
    graph = model.graph
    if odd := sorted({node.op_type for node in graph.node} & set(NOT_HALVED)):
        raise EngineError(f"this network has {', '.join(odd)} and cannot be turned into fp16; use another precision")
    float32 = _names_kept(graph)
    _halve_weights(graph, float32, onnx)
    _halve_casts(graph, float32, onnx.TensorProto)
    _convert_at_the_ends(graph, onnx)
    del graph.value_info[:]  # types that are no longer true
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise EngineError(f"this network cannot be turned into fp16: {error}") from error
    return bytes(model.SerializeToString())


def _names_kept(graph: Any) -> set[str]:
    return {
        node.input[i]
        for node in graph.node
        for i in FLOAT32_INPUTS.get(node.op_type, ())
        if i < len(node.input) and node.input[i]
    }


def _halve_weights(graph: Any, float32: set[str], onnx: Any) -> None:
    weights = [tensor for tensor in graph.initializer if tensor.name not in float32]
    constants = (node for node in graph.node if node.op_type == "Constant" and node.output[0] not in float32)
    weights += [attribute.t for node in constants for attribute in node.attribute if attribute.name == "value"]
    for tensor in weights:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            values = onnx.numpy_helper.to_array(tensor)
            if values.size and np.abs(values).max() > LARGEST_HALF:
                raise EngineError(f'weights "{tensor.name}" reach beyond {LARGEST_HALF:.0f}, the largest fp16 number')
            tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), tensor.name))


def _halve_casts(graph: Any, float32: set[str], types: Any) -> None:
    for node in graph.node:
        if node.op_type == "Cast" and node.output[0] not in float32:
            for attribute in node.attribute:
                if attribute.name == "to" and attribute.i == types.FLOAT:
                    attribute.i = types.FLOAT16


def _convert_at_the_ends(graph: Any, onnx: Any) -> None:
    """Casts behind each float32 input and before each float32 output; in between, the tensors get new names."""
    types, cast = onnx.TensorProto, onnx.helper.make_node
    weights = {tensor.name for tensor in graph.initializer}
    ends = [end for end in (*graph.input, *graph.output) if end.type.tensor_type.elem_type == types.FLOAT]
    inside = {end.name: f"{end.name}_fp16" for end in ends if end.name not in weights}
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [inside.get(name, name) for name in names]
    inputs = [end.name for end in graph.input if end.name in inside]
    outputs = [end.name for end in graph.output if end.name in inside]
    first = [cast("Cast", [name], [inside[name]], name=f"{name}_to_fp16", to=types.FLOAT16) for name in inputs]
    last = [cast("Cast", [inside[name]], [name], name=f"{name}_to_fp32", to=types.FLOAT) for name in outputs]
    nodes = [*first, *graph.node, *last]
    del graph.node[:]
    graph.node.extend(nodes)
