"""What stays in float, stored smaller: most of an int8 package otherwise."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_LARGE, _HALF_END = 4096, 65504  # bytes; where float16 ends
_LEVELS = 254  # between -127 and 127


def shrink_constants(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Large float32 constants of ``graph`` replaced; the nodes that make them again, to be put before the others.

    A table whose rows are picked by a Gather (the time embedding's) becomes int8 with a scale and a middle a column: a
    column is one channel's shift over time, whose values lie close together. onnxruntime makes all of it anew at every
    step, 1.3 % of one: only constants under a DequantizeLinear are int8 for every engine. Others become float16 with a
    Cast, which engines compute once, when they load the graph.
    """
    tables = {node.input[0] for node in graph.node if node.op_type == "Gather"}
    nodes: list[onnx.NodeProto] = []
    for tensor in list(graph.initializer):
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.nbytes < _LARGE:
            continue
        name = tensor.name
        if name in tables and values.ndim == 2:
            nodes += _by_column(graph, tensor, values)
        elif np.abs(values).max() < _HALF_END:
            stored = f"{name}_half"
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), stored))
            nodes.append(helper.make_node("Cast", [stored], [name], name=f"{name}_float", to=TensorProto.FLOAT))
    return nodes


def _by_column(graph: onnx.GraphProto, tensor: onnx.TensorProto, values: np.ndarray) -> list[onnx.NodeProto]:
    """values: (rows, columns)."""
    name, stored, spread = tensor.name, f"{tensor.name}_int8", f"{tensor.name}_spread"
    low, high = values.min(axis=0), values.max(axis=0)
    middle, scale = (low + high) / 2, np.maximum((high - low) / _LEVELS, np.finfo(low.dtype).tiny)
    levels = np.clip(np.rint((values - middle) / scale), -127, 127).astype(np.int8)
    tensor.CopyFrom(numpy_helper.from_array(levels, stored))
    added = {"scale": scale, "zero_point": np.zeros_like(levels[0]), "middle": middle}
    graph.initializer.extend(numpy_helper.from_array(array, f"{name}_{suffix}") for suffix, array in added.items())
    return [
        helper.make_node(
            "DequantizeLinear", [stored, f"{name}_scale", f"{name}_zero_point"], [spread], name=spread, axis=1
        ),
        helper.make_node("Add", [spread, f"{name}_middle"], [name], name=f"{name}_float"),
    ]
