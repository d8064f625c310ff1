"""A graph with other nodes, its constants kept in step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Rewriting:
    """A graph on its way to other nodes."""

    def __init__(self, content: bytes) -> None:
        self.model = onnx.load_from_string(content)
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in self.model.graph.initializer}
        """Those of the graph as it was."""
        self.added: dict[str, np.ndarray] = {}
        """Constants that come to those of the graph, or replace those of their name."""
        self.nodes: list[onnx.NodeProto] = []
        """All that the graph will have."""

    def add(self, operator: str, read: Iterable[str], made: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(operator, read, [made], **attributes))

    def content(self) -> bytes:
        """The new graph, checked by onnx, without the constants that nothing reads. (Operators of other domains than
        ONNX's own are left unchecked.)"""
        graph, added = self.model.graph, self.added
        set_nodes(graph, self.nodes)
        del graph.value_info[:]  # names tensors that are gone
        constants = {tensor.name: tensor for tensor in graph.initializer}
        constants |= {name: numpy_helper.from_array(np.array(array, order="C"), name) for name, array in added.items()}
        read = {name for node in graph.node for name in inputs(node)}
        tensors = [TensorProto.FromString(one.SerializeToString()) for name, one in constants.items() if name in read]
        del graph.initializer[:]
        graph.initializer.extend(tensors)
        onnx.checker.check_model(self.model, full_check=True)
        content: bytes = self.model.SerializeToString(deterministic=True)
        return content


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def wiring(
    nodes: Iterable[onnx.NodeProto],
) -> tuple[dict[str, onnx.NodeProto], defaultdict[str, list[onnx.NodeProto]]]:
    """Tensor -> the node that makes it, and tensor -> the nodes that read it, none for a result of the graph."""
    made: dict[str, onnx.NodeProto] = {}
    readers: defaultdict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in nodes:
        made |= dict.fromkeys(node.output, node)
        for name in node.input:
            readers[name].append(node)
    return made, readers


def to_float32(graph: onnx.GraphProto, kinds: Collection[int]) -> None:
    """Make float32 of the inputs, outputs, constants and casts of ``graph`` that are of these element types."""
    for tensor in graph.initializer:
        if tensor.data_type in kinds:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype("float32"), tensor.name))
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type in kinds:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i in kinds:
                attribute.i = TensorProto.FLOAT
    del graph.value_info[:]


def set_nodes(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """Give ``graph`` these nodes, some of which may be its own."""
    kept = copied(nodes)  # emptying the graph would empty them
    del graph.node[:]
    graph.node.extend(kept)


def copied(nodes: Iterable[onnx.NodeProto]) -> list[onnx.NodeProto]:
    return [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]


def part_maker(nodes: list[onnx.NodeProto], result: str, mark: str, last: str = "") -> Callable[..., str]:
    """make(part, operator, *inputs, **attributes) -> the tensor that is made; its node is added to ``nodes``.

    Both are named by ``result``, ``mark`` and the part; the node of the part ``last`` makes ``result`` itself.
    """

    def make(part: str, operator: str, *read: str, **attributes: Any) -> str:
        name = f"{result}{mark}{part}"
        made = result if part == last else name
        nodes.append(helper.make_node(operator, read, [made], name=name, **attributes))
        return made

    return make


def inputs(node: onnx.NodeProto) -> Iterator[str]:
    """What ``node`` reads, and what the nodes of its subgraphs read."""
    yield from node.input
    for graph in subgraphs(node):
        for inner in graph.node:
            yield from inputs(inner)


def subgraphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    return [attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH]


def constant_bytes(content: bytes) -> int:
    """What the constants of a graph in ONNX's bytes take: ``weight_bytes`` of a stage's cost."""
    tensors = onnx.load_from_string(content).graph.initializer
    return sum(prod(one.dims) * helper.tensor_dtype_to_np_dtype(one.data_type).itemsize for one in tensors)
