"""A graph that stages come into one after the other, each with names of its own and constants that they may share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..passes.edit import copied, inputs, subgraphs

IR_VERSIONS = {20: 9, 21: 10}
"""The IR version that came with a version of the operators."""


class Joined:
    """A graph on its way to one file."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, array: np.ndarray) -> str:
        self._constants[name] = numpy_helper.from_array(np.array(array, order="C"), name)
        return name

    def add(self, operator: str, read: Iterable[str], made: str, **attributes: Any) -> str:
        """One node, of the name of what it makes."""
        self._nodes.append(helper.make_node(operator, read, [made], name=made, **attributes))
        return made

    def stage(
        self, nodes: Iterable[onnx.NodeProto], constants: Mapping[str, np.ndarray], prefix: str,
        wired: Mapping[str, str], shared: str = "",
    ) -> None:  # fmt: skip
        """Add the nodes of a graph, their tensors renamed: ``wired`` says which are tensors of this graph, the others
        get the ``prefix``. shared: the prefix of the constants, which are added once."""
        shared = shared or prefix

        def renamed(name: str) -> str:
            if not name or name in wired:
                return wired.get(name, "")
            if name not in constants:
                return f"{prefix}/{name}"
            own = f"{shared}/{name}"
            return own if own in self._constants else self.constant(own, constants[name])

        self._nodes += _rename(copied(nodes), renamed)

    def model(
        self, name: str, inputs_: Iterable[onnx.ValueInfoProto], outputs: Iterable[onnx.ValueInfoProto], opset: int,
        metadata: Mapping[str, str],
    ) -> onnx.ModelProto:  # fmt: skip
        """The whole, checked by onnx."""
        read = {one for node in self._nodes for one in inputs(node)}
        kept = [tensor for constant, tensor in self._constants.items() if constant in read]
        graph = helper.make_graph(self._nodes, name, list(inputs_), list(outputs), kept)
        opsets, version = [helper.make_opsetid("", opset)], IR_VERSIONS[opset]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=version, producer_name="diffll-deploy")
        helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model, full_check=True)
        return model


def image_value(name: str, *sizes: str) -> onnx.ValueInfoProto:
    """A float32 tensor (1, 3, ...)."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, *sizes])


def _rename(nodes: list[onnx.NodeProto], renamed: Callable[[str], str]) -> list[onnx.NodeProto]:
    for node in nodes:
        node.input[:] = map(renamed, node.input)
        node.output[:] = map(renamed, node.output)
        node.name = renamed(node.name or node.output[0])
        for graph in subgraphs(node):
            for value in (*graph.input, *graph.output, *graph.initializer):
                value.name = renamed(value.name)
            _rename(list(graph.node), renamed)
    return nodes
