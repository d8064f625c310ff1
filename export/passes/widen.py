"""A half-precision graph in float32, for engines that keep precision to themselves."""

from __future__ import annotations

import onnx
from onnx import TensorProto

from .edit import set_nodes, to_float32

_HALF = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


def widen(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model``, changed: its half-precision inputs, outputs and constants are float32, and no cast between float types
    is left but one that makes an output. A float32 graph stays as it is."""
    graph = model.graph
    if not any(tensor.data_type in _HALF for tensor in graph.initializer):
        return model
    to_float32(graph, _HALF)
    outputs = {value.name for value in graph.output}
    same: dict[str, str] = {}
    kept = []
    for node in graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
        if node.op_type == "Cast" and node.attribute[0].i == TensorProto.FLOAT and node.output[0] not in outputs:
            same[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    set_nodes(graph, kept)
    return model
