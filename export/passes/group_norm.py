"""Graphs for TensorRT before 10.9, whose parser does not read opset 21's GroupNormalization (JetPack 6 has 10.3)."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .edit import with_nodes

_READABLE_OPSET = 20  # what the 10.3 parser was written for; the operators left in our graphs are the same there


def rewrite_group_norm(content: bytes) -> bytes:
    """Every GroupNormalization as Reshape, InstanceNormalization, Reshape, Mul, Add; scale and bias a channel.

    The result computes the same in the same dtypes: InstanceNormalization over (B, groups, rest) is the
    normalisation of a group, what follows is the scale and shift of its channels.
    """
    model = onnx.load_from_string(content)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    added: dict[str, np.ndarray] = {}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type != "GroupNormalization":
            nodes.append(node)
            continue
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        source, scale, bias = node.input
        (result,) = node.output
        groups, dtype = attributes["num_groups"], numpy_helper.to_array(constants[scale]).dtype

        def constant(suffix: str, array: np.ndarray, prefix: str = result) -> str:
            name = f"{prefix}_{suffix}"
            added[name] = array
            return name

        grouped, normalised, shape, back, scaled = (
            f"{result}_{part}" for part in ("grouped", "normalised", "shape", "back", "scaled")
        )
        nodes += [
            helper.make_node("Shape", [source], [shape]),
            helper.make_node("Reshape", [source, constant("groups", np.array([0, groups, -1]))], [grouped]),
            helper.make_node(
                "InstanceNormalization",
                [grouped, constant("ones", np.ones(groups, dtype)), constant("zeros", np.zeros(groups, dtype))],
                [normalised],
                epsilon=attributes["epsilon"],
            ),
            helper.make_node("Reshape", [normalised, shape], [back]),
            helper.make_node("Mul", [back, constant("scale", _channels(constants[scale]))], [scaled]),
            helper.make_node("Add", [scaled, constant("bias", _channels(constants[bias]))], [result]),
        ]
    for opset in model.opset_import:
        opset.version = min(opset.version, _READABLE_OPSET)
    return with_nodes(model, nodes, added)


def _channels(tensor: onnx.TensorProto) -> np.ndarray:
    channels: np.ndarray = numpy_helper.to_array(tensor).reshape(1, -1, 1, 1)
    return channels
