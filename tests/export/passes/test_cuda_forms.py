"""The denoiser's form for onnxruntime's CUDA provider: the same numbers, without what costs CUDA kernels."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from export.passes.cpu_forms import restore
from export.passes.cuda_forms import cuda_forms
from export.passes.group_norm import rewrite_group_norm


@pytest.fixture(scope="module")
def graphs(tiny_package) -> tuple[bytes, bytes]:
    content = (tiny_package / "denoiser.onnx").read_bytes()
    return content, cuda_forms(content)


def nodes(graph: bytes) -> list[onnx.NodeProto]:
    return list(onnx.load_from_string(graph).graph.node)


def step(graph: bytes, shape: tuple[int, ...], timestep: int = 60) -> list[np.ndarray]:
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    types = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
    generator = np.random.default_rng(4)
    feeds = {name: generator.standard_normal(shape, np.float32) for name in ("x_t", "x_cond", "history")}
    feeds["coefficients"] = np.array([1, -0.3, 0.2, 0.5, 0.1], np.float32)
    feeds = {i.name: feeds[i.name].astype(types[i.type]) for i in session.get_inputs() if i.name in feeds}
    return session.run(None, feeds | {"timestep": np.array([timestep], np.int32)})


@pytest.mark.parametrize("shape", [(1, 3, 24, 16), (2, 3, 16, 40), (1, 3, 2, 2)])  # the last: 1 attention position
@pytest.mark.parametrize("timestep", [0, 199])
def test_they_compute_the_same(graphs, shape, timestep):
    for expected, found in zip(*(step(graph, shape, timestep) for graph in graphs), strict=True):
        assert np.abs(expected).max() > 0.1
        # one pixel a group of two channels: a norm divides by their difference, and all forms differ by more there
        np.testing.assert_allclose(found, expected, atol=3e-5 if shape[2] == 2 else 1e-5)


def test_half_precision_computes_the_same_but_for_its_rounding(half_package):
    content = (half_package("fp16") / "denoiser.onnx").read_bytes()
    for expected, found in zip(*(step(graph, (2, 3, 16, 24)) for graph in (content, cuda_forms(content))), strict=True):
        np.testing.assert_allclose(found, expected, atol=5e-3)


def test_no_norm_of_half_precision_stands_between_casts(half_package):
    formed = cuda_forms((half_package("fp16") / "denoiser.onnx").read_bytes())
    graph = onnx.load_from_string(formed).graph
    constants = {one.name: one.data_type for one in graph.initializer}
    norms = [node for node in graph.node if node.op_type == "InstanceNormalization"]
    assert len(norms) == 21
    assert {constants[name] for node in norms for name in node.input[1:]} == {onnx.TensorProto.FLOAT16}
    # what is left: x_t and the timestep on their way in, eps on its way out
    assert sorted(node.input[0] for node in graph.node if node.op_type == "Cast")[1:] == ["val_15", "x_t"]
    assert Counter(node.op_type for node in graph.node)["Cast"] == 3


def test_every_attention_is_one_node_and_no_control_flow_is_left(graphs):
    kinds = Counter(node.op_type for node in nodes(graphs[1]))
    assert kinds["MultiHeadAttention"] == 4
    assert not {"MatMul", "Softmax", "If", "Loop", "GroupNormalization"} & set(kinds)
    assert {node.domain for node in nodes(graphs[1])} == {"", "com.microsoft"}
    assert {one.domain: one.version for one in onnx.load_from_string(graphs[1]).opset_import}["com.microsoft"] == 1


def test_the_time_shift_bears_the_bias_of_its_convolution(graphs):
    shifts = {node.output[0] for node in nodes(graphs[1]) if node.op_type == "Unsqueeze"}
    convs = {node.output[0]: node for node in nodes(graphs[1]) if node.op_type == "Conv"}
    shifted = [convs[node.input[0]] for node in nodes(graphs[1]) if node.op_type == "Add" and node.input[1] in shifts]
    assert sum(len(conv.input) == 2 for conv in shifted) == 8
    without = [conv for conv in convs.values() if len(conv.input) == 2]
    assert all(conv.input[1].endswith("conv1.weight") for conv in without)
    assert len(without) == 8


def test_a_bias_that_others_need_stays(tiny_package):
    """One convolution's result is read twice, another's shift: neither bias may move."""
    model = onnx.load_from_string(restore((tiny_package / "denoiser.onnx").read_bytes()))
    adds = [node for node in model.graph.node if node.op_type == "Add" and node.input[1].startswith("unsqueeze")]
    (first, second), (zero,) = adds[:2], [one.name for one in model.graph.output if one.name == "x_next"]
    size = helper.make_node("ReduceMax", [first.input[0]], ["of_conv"], keepdims=0)
    shift = helper.make_node("ReduceMax", [second.input[1]], ["of_shift"], keepdims=0)
    both = helper.make_node("Add", ["of_conv", "of_shift"], ["both"])
    (last,) = (node for node in model.graph.node if zero in node.output)
    last.output[0] = "before"
    model.graph.node.extend([size, shift, both, helper.make_node("Add", ["before", "both"], [zero])])
    content = model.SerializeToString()
    formed = cuda_forms(content)
    assert sum(node.op_type == "Conv" and len(node.input) == 2 for node in nodes(formed)) == 6
    for expected, found in zip(step(content, (1, 3, 8, 8)), step(formed, (1, 3, 8, 8)), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("channels", "groups", "count"), [(4, 4, 1), (6, 3, 6), (4, 1, 6)])
def test_a_norm_of_one_channel_a_group_is_one_node(channels, groups, count):
    generator = np.random.default_rng(0)
    value, result = (helper.make_tensor_value_info(name, 1, [None, channels, None, None]) for name in "xy")
    made = [
        numpy_helper.from_array(generator.standard_normal(channels, np.float32), name) for name in ("scale", "bias")
    ]
    node = helper.make_node("GroupNormalization", ["x", "scale", "bias"], ["y"], epsilon=1e-6, num_groups=groups)
    graph = helper.make_graph([node], "norm", [value], [result], made)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    content = model.SerializeToString()
    formed = rewrite_group_norm(content)
    assert len(nodes(formed)) == count
    x = generator.standard_normal((2, channels, 5, 7), np.float32)
    results = [ort.InferenceSession(one).run(None, {"x": x})[0] for one in (content, formed)]
    np.testing.assert_allclose(*results, atol=1e-5)
