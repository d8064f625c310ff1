"""A graph with other nodes, its constants kept in step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


def with_nodes(model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto], added: dict[str, np.ndarray]) -> bytes:
    """``model`` with these nodes; ``added`` constants replace those of their name; what nothing reads is left out."""
    set_nodes(model.graph, nodes)
    del model.graph.value_info[:]  # names tensors that are gone
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    constants |= {name: numpy_helper.from_array(np.array(array, order="C"), name) for name, array in added.items()}
    read = {name for node in model.graph.node for name in inputs(node)}
    tensors = [onnx.TensorProto.FromString(one.SerializeToString()) for name, one in constants.items() if name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(tensors)
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


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
