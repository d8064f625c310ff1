"""A bfloat16 graph as float32 arithmetic with every result rounded to bfloat16.

onnxruntime's CPU provider has no bfloat16 convolution. So that a bf16 package can be certified on any machine, each of
its graphs is rewritten: all tensors become float32, and behind every node that wrote bfloat16 its result is cast to
bfloat16 and back. That is what tensor cores do (float32 sums, rounded results), one operator at a time.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from runtime.package.manifest import TensorSpec
from runtime.package.reading import Package
from runtime.package.writing import write_manifest

from .edit import constant_bytes, set_nodes, subgraphs, to_float32


def emulate_bf16(content: bytes) -> bytes:
    """The rewritten graph: float32 inputs and outputs of the same names."""
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(content), data_prop=True)
    _widen(model.graph, _bf16_tensors(model.graph), {})
    onnx.checker.check_model(model, full_check=True)
    rewritten: bytes = model.SerializeToString()
    return rewritten


def _bf16_tensors(graph: onnx.GraphProto) -> set[str]:
    """Of the graph and of those inside of it: no name is used twice."""
    found = {
        value.name
        for value in (*graph.input, *graph.output, *graph.value_info)
        if value.type.tensor_type.elem_type == TensorProto.BFLOAT16
    }
    return found.union(*(_bf16_tensors(inner) for node in graph.node for inner in subgraphs(node)))


def _widen(graph: onnx.GraphProto, bf16: set[str], rename: dict[str, str]) -> None:
    """rename: tensors of the graphs around this one -> their rounded values."""
    to_float32(graph, (TensorProto.BFLOAT16,))
    nodes = []
    for value in graph.input:
        if value.name in bf16:
            rename[value.name] = f"{value.name}_rounded"
            nodes += _rounding(value.name, rename[value.name])
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = rename.get(name, name)
        for inner in subgraphs(node):
            _widen(inner, bf16, rename)
        nodes.append(node)
        for index, name in enumerate(node.output):
            if name in bf16:
                node.output[index] = f"{name}_exact"
                nodes += _rounding(node.output[index], name)
    set_nodes(graph, nodes)


def emulated_package(package: Package, folder: Path) -> Package:
    """A runnable float32 twin of the bf16 ``package``, written to the new directory ``folder``."""
    shutil.copytree(package.path, folder)
    stages, cost = [], dict(package.manifest.cost)
    for stage in package.manifest.stages:
        graph = emulate_bf16(package.graph(stage.name))
        (folder / stage.file).write_bytes(graph)
        cost[stage.name] = replace(cost[stage.name], weight_bytes=constant_bytes(graph))
        stages.append(replace(stage, inputs=_widened(stage.inputs), outputs=_widened(stage.outputs)))
    write_manifest(folder, replace(package.manifest, stages=tuple(stages), cost=cost))
    return Package.open(folder)


def _widened(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    return tuple(replace(spec, dtype="float32") if spec.dtype == "bfloat16" else spec for spec in specs)


def _rounding(source: str, target: str) -> list[onnx.NodeProto]:
    middle = f"{target}_bf16"
    return [
        helper.make_node("Cast", [source], [middle], to=TensorProto.BFLOAT16),
        helper.make_node("Cast", [middle], [target], to=TensorProto.FLOAT),
    ]
