"""Which convolutions are quantised: by what the graph does, whatever its nodes and weights are called."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from calibration.layers import find_layers, load_graph, with_outputs


def conv(source: str, result: str, channels: tuple[int, int] = (4, 4), groups: int = 1, weight: str = "") -> list:
    import numpy as np

    weight = weight or f"{result}.weight"
    array = np.ones((channels[1], channels[0] // groups, 1, 1), np.float32)
    return [
        numpy_helper.from_array(array, weight),
        helper.make_node("Conv", [source, weight], [result], group=groups),
    ]


def graph(*parts, output: str) -> onnx.ModelProto:
    tensors = {part.name: part for part in parts if isinstance(part, onnx.TensorProto)}
    nodes = [part for part in parts if isinstance(part, onnx.NodeProto)]
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 4, "h", "w"])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        list(tensors.values()),
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return load_graph(model.SerializeToString())


def names(model: onnx.ModelProto, attention: bool = True) -> list[str]:
    return [layer.name for layer in find_layers(model, attention=attention)]


def test_neither_the_first_nor_the_last():
    model = graph(*conv("x", "a"), *conv("a", "b"), *conv("b", "c"), *conv("c", "d"), output="d")
    assert names(model) == ["b", "c"]


def test_first_and_last_are_told_by_the_graph_not_by_the_order_of_weights():
    relu = helper.make_node("Relu", ["a"], ["r"])
    add = helper.make_node("Add", ["b", "r"], ["s"])
    model = graph(*conv("x", "a"), relu, *conv("r", "b"), add, *conv("s", "d"), output="d")
    assert names(model) == ["b"]


def test_depthwise_convolutions_stay_in_float():
    parts = (*conv("x", "a"), *conv("a", "b", groups=4), *conv("b", "c"), *conv("c", "d"))
    assert names(graph(*parts, output="d")) == ["c"]


def test_convolutions_that_share_a_weight_are_one_layer():
    parts = (*conv("x", "a"), *conv("a", "b", weight="w.weight"), *conv("b", "c", weight="w.weight"), *conv("c", "d"))
    (layer,) = find_layers(graph(*parts, output="d"), attention=True)
    assert layer.name == "w"
    assert layer.inputs == ("a", "b")
    assert layer.outputs == ("b", "c")
    assert layer.tensors == ("a", "b", "c")
    assert all(layer.nodes)  # nameless nodes got names


def test_a_shared_weight_that_is_also_the_first_one_stays_in_float():
    parts = (*conv("x", "a", weight="w.weight"), *conv("a", "b", weight="w.weight"), *conv("b", "c"))
    assert names(graph(*parts, output="c")) == []


@pytest.mark.parametrize(("attention", "expected"), [(True, ["q", "k", "v"]), (False, ["v"])])
def test_what_makes_queries_and_keys(attention, expected):
    half = numpy_helper.from_array(__import__("numpy").float32(0.5), "half")
    parts = (
        *conv("x", "a"),
        *conv("a", "q"),
        *conv("a", "k"),
        half,
        helper.make_node("Mul", ["q", "half"], ["scaled"]),
        helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["scaled", "kt"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["soft"]),
        *conv("soft", "v"),
        *conv("v", "d"),
    )
    assert names(graph(*parts, output="d"), attention) == expected


def test_the_tiny_network(tiny_package):
    model = load_graph((tiny_package / "denoiser.onnx").read_bytes())
    found = names(model)
    weights = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    assert weights - {f"{name}.weight" for name in found} == {"unet.conv_in.weight", "unet.conv_out.weight"}
    assert not names(load_graph((tiny_package / "idwt.onnx").read_bytes()))
    hfrm = names(load_graph((tiny_package / "hfrm0.onnx").read_bytes()), attention=False)
    assert "conv_HH" in hfrm
    assert not [name for name in hfrm if "attention" in name or "head" in name or "tail" in name]


def test_what_makes_queries_and_keys_of_an_attention_inside_an_if(tiny_package):
    model = load_graph((tiny_package / "denoiser.onnx").read_bytes())
    left_out = set(names(model)) - set(names(model, attention=False))
    assert {name.rpartition(".")[2] for name in left_out} == {"q", "k", "v"}


def test_probed_graphs_give_more_and_the_same(tiny_package):
    model = load_graph((tiny_package / "hfrm0.onnx").read_bytes())
    layers = find_layers(model, attention=False)
    probed = onnx.load_from_string(with_outputs(model, [layers[0].inputs[0], "details0", "restored0"]))
    assert [value.name for value in probed.graph.output] == ["restored0", layers[0].inputs[0]]
    assert len(model.graph.output) == 1
