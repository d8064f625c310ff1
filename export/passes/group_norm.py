"""GroupNormalization as InstanceNormalization: for TensorRT before 10.9, whose parser does not read that of opset 21
(JetPack 6 has 10.3), and for onnxruntime's CUDA provider, which is faster with it."""

from __future__ import annotations

import numpy as np

from .edit import Rewriting, attributes_of, part_maker

_READABLE_OPSET = 20  # what the 10.3 parser was written for; the operators left in our graphs are the same there


def rewrite_group_norm(content: bytes) -> bytes:
    """Every GroupNormalization as Reshape, InstanceNormalization, Reshape, Mul, Add; scale and bias a channel.

    The result computes the same in the same dtypes: InstanceNormalization over (B, groups, rest) is the
    normalisation of a group, what follows is the scale and shift of its channels. Where a group has one channel,
    InstanceNormalization over (B, C, H, W) is all of that.
    """
    graph = Rewriting(content)
    for node in graph.model.graph.node:
        if node.op_type != "GroupNormalization":
            graph.nodes.append(node)
            continue
        source, result, attributes = node.input[0], node.output[0], attributes_of(node)
        scale, bias = (graph.constants[name].reshape(1, -1, 1, 1) for name in node.input[1:])
        groups = attributes["num_groups"]
        if groups == scale.size:
            graph.add("InstanceNormalization", node.input, result, epsilon=attributes["epsilon"])
            continue

        def constant(part: str, array: np.ndarray, result: str = result) -> str:
            graph.added[f"{result}_{part}"] = array
            return f"{result}_{part}"

        make = part_maker(graph.nodes, result, "_", "shifted")
        shape = make("shape", "Shape", source)
        grouped = make("grouped", "Reshape", source, constant("groups", np.array([0, groups, -1])))
        neutral = (constant("ones", np.ones(groups, scale.dtype)), constant("zeros", np.zeros(groups, scale.dtype)))
        normalised = make("normalised", "InstanceNormalization", grouped, *neutral, epsilon=attributes["epsilon"])
        scaled = make("scaled", "Mul", make("back", "Reshape", normalised, shape), constant("scale", scale))
        make("shifted", "Add", scaled, constant("bias", bias))
    for opset in graph.model.opset_import:
        opset.version = min(opset.version, _READABLE_OPSET)
    return graph.content()
