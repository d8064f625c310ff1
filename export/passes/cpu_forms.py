"""The denoiser in the forms that onnxruntime and OpenVINO run fastest on CPUs; ``restore`` takes them back for engines
with kernels of their own.

A GroupNormalization node is taken apart by onnxruntime into nine passes over the tensor, half of them casts; OpenVINO
turns the tensor from channels last, where its convolutions have it, to channels first and back. Written as
``(x - mean) * factor + bias``, with means over each channel first and over the group's channels after, every pass over
the tensor is one that both do in their convolutions' layout. What keeps OpenVINO in it: a pass reads at most one tensor
that was reshaped. Centred before it is squared, it bears bfloat16 in between. TensorRT-RTX cannot build that form
(std::bad_alloc in its ReduceMean and Reshape), ncnn has a layer for the whole.

A nearest-neighbour doubling followed by a 3x3 convolution reads each pixel up to four times: the four pixels of an
output quad are four 2x2 convolutions with summed weights, at 4/9 of the multiplications (the sums change rounding
only). ncnn's Winograd for 3x3 is faster still. Rows, then columns are interleaved by Concat, as onnxruntime takes 2.5
times as long for a DepthToSpace; OpenVINO, which is faster with one, makes it one (``openvino_graph.py``).
"""

from __future__ import annotations

from collections import defaultdict
from itertools import product

import numpy as np
import onnx

from .edit import Rewriting, attributes_of, part_maker
from .query_blocks import plain_attention

GROUP_NORM, UPSAMPLE = "/group_norm/", "/upsample/"
"""In the names of the nodes that stand for one: what they make, the mark, the part."""
_BY_GROUP, _BY_CHANNEL = "/groups", "/channels"
"""After the names of a norm's constants in its shapes: (1, groups, channels of one) and (1, channels, 1, 1)."""
_DOUBLING = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


def cpu_forms(content: bytes) -> bytes:
    """A stage graph with float32 GroupNormalization and float32 Resize + Conv written out as above; the rest of it, and
    other graphs, are left alone."""
    graph = Rewriting(content)
    doubled = {node.output[0]: node for node in graph.model.graph.node if node.op_type == "Resize"}

    def is_float32(name: str) -> bool:
        return name in graph.constants and graph.constants[name].dtype == np.float32

    for node in graph.model.graph.node:
        if node.op_type == "GroupNormalization" and is_float32(node.input[1]):
            _write_norm(graph, node)
        elif node.op_type == "Conv" and node.input[0] in doubled:
            resize = doubled[node.input[0]]
            if is_float32(node.input[1]):
                _write_upsample(graph, node, resize.input[0])
            else:  # sums rounded to half precision would not be the weights
                graph.nodes += [resize, node]
        elif node.op_type != "Resize":
            graph.nodes.append(node)
    return graph.content()


def restore(content: bytes) -> bytes:
    """The graph as it was before ``cpu_forms`` and ``query_blocks``: GroupNormalization, Resize + Conv, and attention
    with the whole score matrix."""
    graph = Rewriting(content)
    written = [(node, _group(node)) for node in plain_attention(graph.model.graph.node)]
    groups: defaultdict[str, dict[str, onnx.NodeProto]] = defaultdict(dict)
    for node, group in written:
        groups[group][node.name.removeprefix(group)] = node
    for node, group in written:
        parts = groups[group]
        # an int8 package's sums of weights have scales of their own: they stay
        if not group or (group.endswith(UPSAMPLE) and parts["00"].input[1] not in graph.constants):
            graph.nodes.append(node)
        elif node.output[0] == group.removesuffix(GROUP_NORM):
            _restore_norm(graph, parts)
        elif node.output[0] == group.removesuffix(UPSAMPLE):
            _restore_upsample(graph, parts)
    return graph.content()


def _group(node: onnx.NodeProto) -> str:
    """What a node that stands for one of these has in common with the others of it, or nothing."""
    for mark in (GROUP_NORM, UPSAMPLE):
        result, marked, part = str(node.name).rpartition(mark)
        if marked and "/" not in part and not part.endswith(("_QuantizeLinear", "_DequantizeLinear")):
            return result + mark
    return ""


def _restore_norm(graph: Rewriting, parts: dict[str, onnx.NodeProto]) -> None:
    scale, bias = parts["factor"].input[0], parts["shift"].input[1]
    names = [scale.removesuffix(_BY_GROUP), bias.removesuffix(_BY_CHANNEL)]
    graph.added |= {name: graph.constants[form].reshape(-1) for name, form in zip(names, (scale, bias), strict=True)}
    epsilon = float(graph.constants[parts["stable"].input[1]])
    groups = int(graph.constants[parts["mean_groups"].input[1]][1])
    read, result = [parts["centred"].input[0], *names], parts["shift"].output[0]
    graph.add("GroupNormalization", read, result, epsilon=epsilon, num_groups=groups)


def _restore_upsample(graph: Rewriting, parts: dict[str, onnx.NodeProto]) -> None:
    source, corner, bias = parts["00"].input
    layer = corner.removesuffix(".quad00.weight")
    result = parts["interleave"].output[0]
    sums = {name: graph.constants[parts[name].input[1]].astype(np.float64) for name in ("00", "01", "10", "11")}
    weights = np.empty((*sums["00"].shape[:2], 3, 3))
    for p, q in product((0, 1), repeat=2):  # each corner is alone in one sum
        weights[:, :, 2 * p, 2 * q] = sums[f"{p}{q}"][:, :, p, q]
    for p in (0, 1):
        weights[:, :, 2 * p, 1] = sums[f"{p}0"][:, :, p, 1] - weights[:, :, 2 * p, 2]
        weights[:, :, 1, 2 * p] = sums[f"0{p}"][:, :, 1, p] - weights[:, :, 2, 2 * p]
    weights[:, :, 1, 1] = sums["00"][:, :, 1, 1] - weights[:, :, 1, 2] - weights[:, :, 2, 1] - weights[:, :, 2, 2]
    graph.added[f"{layer}.weight"] = weights.astype(np.float32)
    graph.added[f"{layer}.bias"] = graph.constants[bias]
    graph.added["doubled"] = np.array([1, 1, 2, 2], np.float32)
    graph.add("Resize", [source, "", "doubled"], f"{result}_doubled", **_DOUBLING)
    read = [f"{result}_doubled", f"{layer}.weight", f"{layer}.bias"]
    graph.add("Conv", read, result, kernel_shape=[3, 3], pads=[1, 1, 1, 1])


def _write_norm(graph: Rewriting, node: onnx.NodeProto) -> None:
    attributes = attributes_of(node)
    groups, epsilon = attributes["num_groups"], attributes["epsilon"]
    (source, scale, bias), (result,) = node.input, node.output
    channels = len(graph.constants[scale])
    graph.added |= {
        f"{scale}{_BY_GROUP}": graph.constants[scale].reshape(1, groups, -1),
        f"{bias}{_BY_CHANNEL}": graph.constants[bias].reshape(1, -1, 1, 1),
        f"groups_{groups}": np.array([0, groups, -1]),
        f"channels_{channels}": np.array([0, channels, 1, 1]),
        f"in_group_{channels // groups}": np.array([1, 1, channels // groups]),
        "columns": np.array([3]),
        "rows": np.array([2]),
        "of_group": np.array([2]),
        f"epsilon_{epsilon:g}": np.array(epsilon, np.float32),
    }
    make = part_maker(graph.nodes, result, GROUP_NORM, "shift")

    def group_mean(part: str, value: str) -> str:
        """(B, groups, 1), by rows, columns, channels in turn: onnxruntime takes six times as long for rows and columns
        at once where it has channels last (in an int8 graph), and sums of sums round less."""
        rows = make(f"{part}_rows", "ReduceMean", value, "columns")
        means = make(f"{part}_channels", "ReduceMean", rows, "rows")
        return make(part, "ReduceMean", make(f"{part}_groups", "Reshape", means, f"groups_{groups}"), "of_group")

    def by_channel(part: str, value: str) -> str:
        return make(part, "Reshape", value, f"channels_{channels}")

    mean = make("repeated", "Expand", group_mean("mean", source), f"in_group_{channels // groups}")
    centred = make("centred", "Sub", source, by_channel("offset", mean))
    variance = group_mean("variance", make("square", "Mul", centred, centred))
    deviation = make("deviation", "Sqrt", make("stable", "Add", variance, f"epsilon_{epsilon:g}"))
    factor = make("factor", "Div", f"{scale}{_BY_GROUP}", deviation)
    scaled = make("scale", "Mul", centred, by_channel("factor_channels", factor))
    make("shift", "Add", scaled, f"{bias}{_BY_CHANNEL}")


def _write_upsample(graph: Rewriting, conv: onnx.NodeProto, source: str) -> None:
    """Weights (out, in, 3, 3). An output pixel (2y + p, 2x + q) sees rows y - 1 + p and y + p, columns alike."""
    rows = (((0,), (1, 2)), ((0, 1), (2,)))  # which of the 3 weights fall on which of the 2 pixels, by p
    weights, bias = (graph.constants[name] for name in conv.input[1:3])
    result = conv.output[0]
    make = part_maker(graph.nodes, result, UPSAMPLE, "interleave")
    quads: dict[str, str] = {}
    for p, q in product((0, 1), repeat=2):
        kernel = np.zeros((*weights.shape[:2], 2, 2))
        for (i, up), (j, left) in product(enumerate(rows[p]), enumerate(rows[q])):
            kernel[:, :, i, j] = weights[:, :, up][:, :, :, left].sum((2, 3), dtype=np.float64)
        layer = conv.input[1].removesuffix(".weight") + f".quad{p}{q}"
        graph.added[f"{layer}.weight"] = kernel.astype(weights.dtype)
        graph.added[f"{layer}.bias"] = (
            bias  # each its own: onnxruntime's quantiser makes int8 of one that several share
        )
        pads = [1 - p, 1 - q, p, q]
        read = source, f"{layer}.weight", f"{layer}.bias"
        quads[f"{p}{q}"] = make(f"{p}{q}", "Conv", *read, kernel_shape=[2, 2], pads=pads)
    graph.added |= {"beside": np.array([4]), "double_rows": np.array([0, 0, -1])}

    # rows first: onnxruntime's quantiser bears no Unsqueeze behind a convolution (calibration/quantise.py)
    columns = [make(f"column{q}", "Concat", quads[f"0{q}"], quads[f"1{q}"], axis=3) for q in (0, 1)]
    width = make("width", "Shape", columns[0], start=3, end=4)
    pixels = [make(f"pixels{q}", "Unsqueeze", column, "beside") for q, column in enumerate(columns)]
    size = make("size", "Concat", "double_rows", width, axis=0)
    make("interleave", "Reshape", make("pixels", "Concat", *pixels, axis=4), size)
