"""Which convolutions of a stage are quantised, found by what the graph does and not by names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

from export.passes.edit import inputs

SHAPE_OPERATORS = {"Reshape", "Transpose", "Squeeze", "Unsqueeze"}


@dataclass(frozen=True)
class Layer:
    """The convolutions that share one weight: quantised together or not at all."""

    name: str
    """The weight's, such as ``unet.mid.block_1.conv1``."""
    nodes: tuple[str, ...]
    """Their names in the graph."""
    inputs: tuple[str, ...]
    """The tensors that they read, in the nodes' order."""
    outputs: tuple[str, ...]
    """The tensors that they write, in the nodes' order."""

    @property
    def tensors(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.inputs, *self.outputs)))


def load_graph(content: bytes) -> onnx.ModelProto:
    """The graph with a name for every convolution."""
    model = onnx.load_from_string(content)
    for node in model.graph.node:
        if node.op_type == "Conv" and not node.name:
            node.name = f"conv_{node.output[0]}"
    return model


def find_layers(model: onnx.ModelProto, *, attention: bool) -> list[Layer]:
    """The layers worth quantising, in the graph's order.

    Dense convolutions (one group) with a constant weight, but not the first ones (no dense convolution before them) nor
    the last ones (none after). Depthwise ones stay in float: an int8 one was no faster and five times less exact.
    attention: also those that make the queries, keys and values of an attention.
    """
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    dense = [
        node for node in graph.node if node.op_type == "Conv" and node.input[1] in constants and _groups(node) == 1
    ]
    inner = _inner(graph, {node.name for node in dense})
    by_weight: dict[str, list[onnx.NodeProto]] = {}
    for node in dense:
        by_weight.setdefault(node.input[1], []).append(node)
    users = _users(graph.node)
    return [
        Layer(
            weight.removesuffix(".weight"),
            tuple(node.name for node in nodes),
            tuple(node.input[0] for node in nodes),
            tuple(node.output[0] for node in nodes),
        )
        for weight, nodes in by_weight.items()
        if all(node.name in inner for node in nodes)
        and (attention or not any(_feeds_matmul(node.output[0], users, constants) for node in nodes))
    ]


def with_outputs(model: onnx.ModelProto, tensors: Iterable[str]) -> bytes:
    """The graph with ``tensors`` among its outputs (its own inputs, which a caller knows, left out)."""
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    known = {value.name for value in (*probed.graph.input, *probed.graph.output)}
    for name in tensors:
        if name not in known:
            probed.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    content: bytes = probed.SerializeToString()
    return content


def _groups(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)


def _users(nodes: Iterable[onnx.NodeProto]) -> dict[str, list[onnx.NodeProto]]:
    """Tensor -> the nodes that read it, those inside of others (the branches of an If) too."""
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in nodes:
        for name in node.input:
            users.setdefault(name, []).append(node)
        for attribute in node.attribute:
            for name, readers in _users(attribute.g.node).items():
                users.setdefault(name, []).extend(readers)
    return users


def _inner(graph: onnx.GraphProto, convolutions: set[str]) -> set[str]:
    """Those of ``convolutions`` that have another one before and another one after them."""

    def reached(nodes: Sequence[onnx.NodeProto], *, forward: bool) -> set[str]:
        tensors: set[str] = set()
        found = set()
        for node in nodes:
            read = list(inputs(node))
            sources, results = (read, node.output) if forward else (node.output, read)
            behind = not tensors.isdisjoint(sources)
            if behind and node.name in convolutions:
                found.add(node.name)
            if behind or node.name in convolutions:
                tensors.update(results)
        return found

    return reached(graph.node, forward=True) & reached(graph.node[::-1], forward=False)


def _feeds_matmul(tensor: str, users: dict[str, list[onnx.NodeProto]], constants: set[str]) -> bool:
    """Whether ``tensor`` is an operand of a matrix product, at most reshaped and scaled by a constant on its way."""
    for node in users.get(tensor, ()):
        scaled = node.op_type == "Mul" and not constants.isdisjoint(node.input)
        if node.op_type == "MatMul":
            return True
        if (node.op_type in SHAPE_OPERATORS or scaled) and _feeds_matmul(node.output[0], users, constants):
            return True
    return False
