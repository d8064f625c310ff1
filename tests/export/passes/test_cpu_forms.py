"""The denoiser's forms for CPUs: what they compute, and that engines get the plain ones back."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from export.builders.ncnn_param import finish
from export.builders.tensorrt import FORMS
from export.checkpoint import load_checkpoint
from export.passes.cpu_forms import GROUP_NORM, cpu_forms, restore
from export.passes.query_blocks import ATTENTION
from export.tracing.graphs import stage_graphs
from runtime.package.reading import Package


@pytest.fixture(scope="module")
def plain(make_checkpoint, kept_trace) -> bytes:
    """The small network's denoiser as it is traced."""
    model = load_checkpoint(make_checkpoint()).model()
    (stage,) = (stage for stage in stage_graphs(model) if stage.name == "denoiser")
    return kept_trace(stage, model.arch.pad_multiple)


def one_norm(channels: int, groups: int, dtype: type = np.float32, bias: np.ndarray | None = None) -> bytes:
    """A graph of one GroupNormalization, x -> y, with a scale of 1."""
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    shape = [1, channels, "h", "w"]
    value, result = (onnx.helper.make_tensor_value_info(name, kind, shape) for name in ("x", "y"))
    constants = {"scale": np.ones(channels, dtype), "bias": np.zeros(channels, dtype) if bias is None else bias}
    made = [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()]
    inputs = ["x", "scale", "bias"]
    node = onnx.helper.make_node("GroupNormalization", inputs, ["y"], epsilon=1e-6, num_groups=groups)
    graph = onnx.helper.make_graph([node], "norm", [value], [result], made)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
    return model.SerializeToString()


def kinds(graph: bytes) -> Counter:
    return Counter(node.op_type for node in onnx.load_from_string(graph).graph.node)


def norms(graph: bytes) -> list[tuple]:
    return [
        (list(node.input), list(node.output), {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute})
        for node in onnx.load_from_string(graph).graph.node
        if node.op_type == "GroupNormalization"
    ]


def constants(graph: bytes) -> dict[str, np.ndarray]:
    return {
        tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load_from_string(graph).graph.initializer
    }


def eps(graph: bytes, x_t: np.ndarray) -> np.ndarray:
    """The denoiser's eps: with these coefficients x_next is it."""
    feeds = {"x_t": x_t, "x_cond": x_t[::-1].copy(), "history": x_t, "timestep": np.array([60], np.int32)}
    feeds["coefficients"] = np.array([0, 1, 0, 0, 0], np.float32)
    return ort.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(["x_next"], feeds)[0]


@pytest.mark.parametrize(("height", "width"), [(8, 8), (16, 24), (24, 40)])
def test_they_compute_the_same(plain, height, width):
    x_t = np.random.default_rng(3).standard_normal((2, 3, height, width), np.float32)
    expected, found = eps(plain, x_t), eps(cpu_forms(plain), x_t)
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(found, expected, atol=3e-6 * np.abs(expected).max() + 2e-6)


def test_flat_channels_give_their_bias():
    """What rounding leaves of a flat channel's variance must not be taken for detail."""
    bias = np.linspace(-1, 1, 32, dtype=np.float32)
    session = ort.InferenceSession(cpu_forms(one_norm(32, 32, bias=bias)), providers=["CPUExecutionProvider"])
    levels = np.random.default_rng(0).uniform(20, 40, 32).astype(np.float32)
    x = np.broadcast_to(levels[:, None, None], (32, 13, 19))[None].copy()
    (found,) = session.run(None, {"x": x})
    np.testing.assert_allclose(found[0], np.broadcast_to(bias[:, None, None], (32, 13, 19)), atol=0.02)


def test_restored_it_is_the_plain_graph(plain):
    formed = cpu_forms(plain)
    assert not {"GroupNormalization", "Resize"} & set(kinds(formed))
    back = restore(formed)
    assert kinds(back) == kinds(plain)
    for one, other in zip(norms(plain), norms(back), strict=True):
        assert one[:2] == other[:2]
        assert one[2].items() >= other[2].items()
        assert other[2]["num_groups"] == 32
    before, after = constants(plain), constants(back)
    for name in before.keys() & after.keys():
        np.testing.assert_allclose(after[name], before[name], atol=1e-7, err_msg=name)
    x_t = np.random.default_rng(3).standard_normal((1, 3, 16, 24), np.float32)
    np.testing.assert_allclose(eps(back, x_t), eps(plain, x_t), atol=2e-6)


def test_other_graphs_are_left_alone(tiny_package):
    for stage in ("dwt", "hfrm0", "idwt"):
        graph = (tiny_package / f"{stage}.onnx").read_bytes()
        assert kinds(restore(graph)) == kinds(cpu_forms(graph)) == kinds(graph)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_packages_hold_them(tiny_package, half_package, precision):
    """Norms in every precision, as they compute in float32 in all; doubled weights only where they are float32."""
    graph = Package.open(tiny_package if precision == "fp32" else half_package(precision)).read("denoiser.onnx")
    assert (GROUP_NORM.encode(), ATTENTION.encode()) == FORMS
    found, back = kinds(graph), kinds(restore(graph))
    assert found["GroupNormalization"] == 0
    assert back["GroupNormalization"] > 5
    assert (found["Resize"] > 0) == (precision != "fp32")
    assert back["Resize"] > 0


def test_openvino_runs_norms_in_the_layout_of_its_convolutions(tiny_package):
    """Every pass over a tensor that was turned to channels first costs two copies of it: a fifth of a step in all."""
    ov = pytest.importorskip("openvino")
    core = ov.Core()
    graph = core.read_model(Package.open(tiny_package).read("denoiser.onnx"))
    compiled = core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": ov.Type.f32})
    layouts = [
        info["outputLayouts"].astype(str)
        for info in (node.get_rt_info() for node in compiled.get_runtime_model().get_ops())
        if "originalLayersNames" in info and "/group_norm/scale" in info["originalLayersNames"].astype(str)
    ]
    assert len(layouts) > 5
    assert "abcd" not in layouts


def test_norms_in_half_precision_are_left_alone():
    """Of a network without islands (`python -m benchmarks.islands`)."""
    half_norm = one_norm(4, 2, np.float16)
    assert kinds(cpu_forms(half_norm)) == kinds(half_norm)
    assert kinds(cpu_forms(one_norm(4, 2)))["GroupNormalization"] == 0


def test_means_bear_large_photos_and_offsets():
    """Many pixels and a mean far from zero: E[x^2] - E[x]^2 in float32 would lose the variance."""
    session = ort.InferenceSession(cpu_forms(one_norm(4, 2)), providers=["CPUExecutionProvider"])
    x = (np.random.default_rng(0).standard_normal((1, 4, 540, 960)) + 100).astype(np.float32)
    grouped = x.astype(np.float64).reshape(1, 2, -1)
    expected = (grouped - grouped.mean(2, keepdims=True)) / np.sqrt(grouped.var(2, keepdims=True) + 1e-6)
    (found,) = session.run(None, {"x": x})
    np.testing.assert_allclose(found.reshape(1, 2, -1), expected, atol=2e-4)


def test_the_slow_reshape_of_an_ncnn_network_is_turned_round():
    head = ["7767517", "3 4", "Input a 0 2 a like"]
    slow = [
        "Permute p 1 1 a b 0=1",
        'Reshape r 2 1 b like c 12=0 13=0 6="1w,1h,192,1"',
        'Reshape s 1 1 c d 6="*(0h,0w),192,1"',
    ]
    result = [line.split() for line in finish("\n".join(head + slow) + "\n").splitlines()]
    assert result[3] == ["Reshape", "r", "2", "1", "a", "like", "b", '6="192,1w,1h"']
    assert result[4] == ["Permute", "p", "1", "1", "b", "c", "0=4"]
    assert result[:3] == [line.split() for line in head]
    assert result[5] == slow[2].split()


def test_the_attention_of_an_ncnn_network_becomes_its_fused_layer():
    lines = [
        "7767517",
        "6 6",
        "Input q 0 1 q",
        "Input k 0 1 k",
        "Input v 0 1 v",
        "MatMul m 2 1 q k s",
        "Softmax x 1 1 s p 0=2 1=1",
        "MatMul n 2 1 p v out 0=1",
    ]
    result = [line.split() for line in finish("\n".join(lines) + "\n").splitlines()]
    assert result[:5] == [line.split() for line in lines[:5]]
    assert result[5] == ["Permute", "m", "1", "1", "k", "s", "0=1"]
    assert result[6] == ["Permute", "x", "1", "1", "v", "p", "0=1"]
    assert result[7] == ["SDPA", "n", "3", "1", "q", "s", "p", "out", "6=1.0"]


@pytest.mark.parametrize("changed", [(6, "0=1 1=1"), (7, ""), (7, "0=0")])
def test_another_softmax_between_products_of_an_ncnn_network_stays(changed):
    """Over another axis, or with values that are not transposed."""
    lines = ["7767517", "6 6", "Input q 0 1 q", "Input k 0 1 k", "Input v 0 1 v"]
    lines += ["MatMul m 2 1 q k s", "Softmax x 1 1 s p", "MatMul n 2 1 p v out"]
    options = {6: "0=2 1=1", 7: "0=1"} | dict([changed])
    param = "\n".join(f"{line} {options.get(index, '')}".strip() for index, line in enumerate(lines)) + "\n"
    assert finish(param) == param
