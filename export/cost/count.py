"""What one photo costs, counted in the graphs: multiplications, and the memory that is alive at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import onnx
from onnxscript.optimizer import fold_constants

from runtime.errors import PackageError
from runtime.package.manifest import Stage

from ..passes.edit import set_nodes
from ..passes.query_blocks import attention_of, plain_attention, queries_of

_VIEWS = ("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity")  # no memory of their own
_SIZES = 64  # elements: a larger constant is a weight and no shape to reckon with

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class GraphCost:
    """What a graph as it is written costs at one size; the units are those of ``StageCost``."""

    flop: int
    live_bytes: int
    weight_bytes: int


def sized(content: bytes, stage: Stage, height: int, width: int) -> onnx.ModelProto:
    """The graph of ``stage`` with the shapes of one padded photo of this size in pixels."""
    model = onnx.load_from_string(content)
    for value in (*model.graph.input, *model.graph.output):
        shape = stage.tensors[value.name].resolve(1, height, width)
        for dim, size in zip(value.type.tensor_type.shape.dim, shape, strict=True):
            dim.dim_value = size
    return model


def graph_cost(model: onnx.ModelProto, where: str) -> GraphCost:
    """Cost of a graph whose inputs have sizes in numbers. The model is changed. where: its name in errors.

    Raises PackageError for a graph whose shapes cannot be told.
    """
    inputs = [value.name for value in model.graph.input]
    weight_bytes = _strip_weights(model)
    attentions = [plain for node in model.graph.node if (plain := attention_of(node))]
    set_nodes(model.graph, plain_attention(model.graph.node))  # so that no shapes inside a loop are wanted
    shapes, item_sizes = _infer(model, where)
    flop = sum(_node_flop(node, shapes) for node in model.graph.node)
    sizes = {name: prod(shape) * item_sizes[name] for name, shape in shapes.items()}
    for plain in attentions:
        _block_sizes(plain, queries_of(model), shapes, sizes)
    return GraphCost(flop, _live_bytes(model, inputs, sizes), weight_bytes)


def _block_sizes(plain: Sequence[onnx.NodeProto], queries: int, shapes: Shapes, sizes: dict[str, int]) -> None:
    """Bytes of the scores as ``query_blocks`` makes them: of at most its number of queries, and with the padded
    queries and the collected results beside the first of them where there is more than one block.

    plain: MatMul, Softmax, MatMul, Transpose of an attention's plain form; the first two make scores.
    """
    scores, softmax, weighted, _ = plain
    positions = shapes[scores.output[0]][-2]
    if positions > queries:
        for node in (scores, softmax):
            sizes[node.output[0]] = sizes[node.output[0]] // positions * queries
        sizes[scores.output[0]] += sizes[scores.input[0]] + sizes[weighted.output[0]]


def _strip_weights(model: onnx.ModelProto) -> int:
    """Turn large constants into inputs, so that shape inference need not carry them; return the bytes of all."""
    small, total = [], 0
    for tensor in model.graph.initializer:
        total += prod(tensor.dims) * _item_size(tensor.data_type)
        if prod(tensor.dims) <= _SIZES:
            small.append(tensor)
        else:
            model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    del model.graph.initializer[:]
    model.graph.initializer.extend(small)
    return total


def _infer(model: onnx.ModelProto, where: str) -> tuple[Shapes, Mapping[str, int]]:
    """Shapes and bytes a value of every tensor."""
    graph = onnx.ModelProto.FromString(model.SerializeToString())
    for node in graph.graph.node:
        if node.op_type == "GroupNormalization":  # onnx 1.23 infers no shape for it: it keeps its input's
            node.op_type = "Identity"
            del node.input[1:], node.attribute[:]
    del graph.graph.value_info[:]  # the exporter's own are symbols
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    item_sizes = {tensor.name: _item_size(tensor.data_type) for tensor in model.graph.initializer}

    def unknown_after_inference() -> list[str]:
        inferred = onnx.shape_inference.infer_shapes(graph, data_prop=True).graph
        for value in (*inferred.value_info, *inferred.input, *inferred.output):
            kind = value.type.tensor_type
            if kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim):
                shapes[value.name] = tuple(dim.dim_value for dim in kind.shape.dim)
                item_sizes[value.name] = _item_size(kind.elem_type)
        graph.graph.value_info.MergeFrom(inferred.value_info)
        return [name for node in model.graph.node for name in node.output if name and name not in shapes]

    if unknown_after_inference():
        fold_constants(graph)  # sizes that the graph computes: onnx's own propagation knows no division
        if unknown := unknown_after_inference():
            raise PackageError(
                f"{where}: the shape of {unknown[0]!r} cannot be told, so its cost cannot be counted; build the "
                "package again."
            )
    return shapes, item_sizes


def _item_size(elem_type: int) -> int:
    return int(onnx.helper.tensor_dtype_to_np_dtype(elem_type).itemsize)


def _node_flop(node: onnx.NodeProto, shapes: Shapes) -> int:
    if node.op_type == "Conv":  # weight: (out, in / groups, *kernel)
        return 2 * prod(shapes[node.output[0]]) * prod(shapes[node.input[1]][1:])
    if node.op_type == "ConvTranspose":  # weight: (in, out / groups, *kernel)
        return 2 * prod(shapes[node.input[0]]) * prod(shapes[node.input[1]][1:])
    if node.op_type == "MatMul":
        return 2 * prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]
    if node.op_type == "Gemm":
        transposed = any(one.name == "transA" and one.i for one in node.attribute)
        return 2 * prod(shapes[node.output[0]]) * shapes[node.input[0]][0 if transposed else 1]
    return 0


def _live_bytes(model: onnx.ModelProto, inputs: Sequence[str], sizes: Mapping[str, int]) -> int:
    """Walk the nodes in their order: what a node makes lives until the last node that reads it. The graph's own
    inputs and outputs live throughout (they are buffers of the program), constants are not counted."""
    nodes = model.graph.node
    owner: dict[str, str] = {}  # a view -> the tensor whose memory it is
    last: dict[str, int] = {}
    for index, node in enumerate(nodes):
        for name in node.input:
            last[owner.get(name, name)] = index
        if node.op_type in _VIEWS:
            owner[node.output[0]] = owner.get(node.input[0], node.input[0])
    for value in model.graph.output:
        last[owner.get(value.name, value.name)] = len(nodes)

    live = peak = sum(sizes[name] for name in inputs)
    alive: set[str] = set()
    for index, node in enumerate(nodes):
        made = {name for name in node.output if name and name not in owner}
        alive |= made
        live += sum(sizes[name] for name in made)
        peak = max(peak, live)
        over = {name for name in alive if last.get(name, index) <= index}
        live -= sum(sizes[name] for name in over)
        alive -= over
    return peak
