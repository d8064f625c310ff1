"""What OpenVINO is given in place of a package's graph: the same function, written for it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import openvino as ov
import pytest
from onnx import TensorProto, helper, numpy_helper

from runtime.backends import bfloat16
from runtime.backends.openvino.graph import read_model
from runtime.package.reading import Package


def quantised(value: str, name: str, scale: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("QuantizeLinear", [value, scale, "zero"], [f"{name}_q"]),
        helper.make_node("DequantizeLinear", [f"{name}_q", scale, "zero"], [name]),
    ]


def convolutions() -> bytes:
    """x -> Q/DQ -> conv -> Q/DQ -> (conv, and Relu -> Add), as calibration writes them."""
    rng = np.random.default_rng(0)
    constants = {
        "zero": np.array(0, np.int8),
        "fine": np.array(0.02, np.float32),
        "coarse": np.array(0.5, np.float32),
        "w": rng.integers(-127, 128, (4, 4, 3, 3), dtype=np.int8),
        "bias": rng.standard_normal(4).astype(np.float32),
    }
    same = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        *quantised("x", "x_", "fine"),
        helper.make_node("DequantizeLinear", ["w", "fine", "zero"], ["w_"]),
        helper.make_node("Conv", ["x_", "w_", "bias"], ["sums"], **same),
        *quantised("sums", "sums_", "coarse"),
        helper.make_node("Conv", ["sums_", "w_", "bias"], ["second"], **same),
        helper.make_node("Relu", ["sums_"], ["positive"]),
        helper.make_node("Add", ["positive", "second"], ["y"]),
    ]
    shape = ["batch", 4, "height", "width"]
    ends = ([helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)] for name in ("x", "y"))
    values = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", next(ends), next(ends), values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return bytes(model.SerializeToString())


def run(model: ov.Model, x: np.ndarray) -> np.ndarray:
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": ov.Type.f32})
    return np.array(compiled([x])[0])


def test_only_convolutions_see_what_was_quantised():
    graph = convolutions()
    x = np.random.default_rng(1).uniform(-2, 2, (1, 4, 9, 11)).astype(np.float32)
    model = onnx.load_from_string(graph)
    sums = next(node for node in model.graph.node if node.op_type == "Relu")
    sums.input[0] = "sums"
    exact = run(ov.Core().read_model(model.SerializeToString()), x)
    found = run(read_model(graph, "f32"), x)
    np.testing.assert_allclose(found, exact, atol=1e-3)
    assert np.abs(run(ov.Core().read_model(graph), x) - exact).max() > 0.1  # the Relu of rounded sums


def test_graphs_without_quantisation_and_doubling_are_left_alone(tiny_package):
    package = Package.open(tiny_package)
    for stage in ("dwt", "hfrm0", "idwt"):
        graph = package.read(package.manifest.stage(stage).file)
        plain, written = ov.Core().read_model(graph), read_model(graph, "f32")
        names = [[node.get_type_name() for node in model.get_ordered_ops()] for model in (plain, written)]
        assert names[0] == names[1]


def test_the_names_of_nodes_are_those_that_the_page_tells(tiny_package):
    page = (Path(__file__).parents[3] / "docs" / "package.md").read_text()
    rows = [row.split("|")[1:4] for row in page.splitlines() if re.match(r"\| `/\w+/` \|", row)]
    told = {mark.strip(" `") + part for mark, _, parts in rows for part in re.findall(r"`(\w+)`", parts)}
    graph = onnx.load(tiny_package / "denoiser.onnx").graph
    assert len(told) == 15
    names = [node.name for node in graph.node]
    assert not {end for end in told if not any(name.endswith(end) for name in names)}
    assert "attention_key_stride" in [tensor.name for tensor in graph.initializer]


def test_names_that_only_look_like_ours_change_nothing():
    """A package may come from anywhere: a graph with half of a norm's or a doubling's names is read as it is."""
    model = onnx.load_from_string(convolutions())
    last = {"positive": "y/group_norm/centred", "y": "y/upsample/interleave", "second": "y/upsample/column0"}
    for node in model.graph.node:
        node.name = last.get(node.output[0], node.name)
    x = np.random.default_rng(1).uniform(-2, 2, (1, 4, 9, 11)).astype(np.float32)
    found = run(read_model(model.SerializeToString(), "f32"), x)
    np.testing.assert_array_equal(found, run(read_model(convolutions(), "f32"), x))


def shifted_norms(model: ov.Model) -> int:
    """Norms of a sum whose second part is one number a channel, the time embedding's shift."""
    centred = [node for node in model.get_ordered_ops() if node.get_friendly_name().endswith("/group_norm/centred")]
    assert centred
    sums = [node.input_value(0).get_node() for node in centred]
    return sum(node.get_type_name() == "Add" and made_by(node.input_value(1)) == "Unsqueeze" for node in sums)


def made_by(value: ov.Output) -> str:
    return str(value.get_node().get_type_name())


def test_doubling_an_image_is_one_depth_to_space_and_shifts_go_into_the_norms(tiny_package):
    """As onnxruntime has them, an int8 step took a sixth longer for the one, 1.03 times as long for the other."""
    package = Package.open(tiny_package)
    stage = package.manifest.stage("denoiser")
    graph = package.read(stage.file)
    plain, written = ov.Core().read_model(graph), read_model(graph, "f32")
    kinds = [Counter(node.get_type_name() for node in model.get_ordered_ops()) for model in (plain, written)]
    # exact, of this network: with other names of nodes the graph would be left as it is, and run more slowly
    more = {kind: kinds[1][kind] - kinds[0][kind] for kind in ("DepthToSpace", "Concat", "Subtract")}
    assert more == {"DepthToSpace": 1, "Concat": 1 - 4, "Subtract": 8}
    assert [shifted_norms(model) for model in (plain, written)] == [8, 0]
    rng = np.random.default_rng(0)
    feeds = {}
    for spec in stage.inputs:
        shape = spec.resolve(1, 48, 72)
        feeds[spec.name] = np.array([60], np.int32) if spec.dtype == "int32" else rng.standard_normal(shape, np.float32)
    options = {"INFERENCE_PRECISION_HINT": ov.Type.f32}
    expected, found = (ov.Core().compile_model(model, "CPU", options)(feeds) for model in (plain, written))
    for one, other in zip(expected.values(), found.values(), strict=True):
        assert np.abs(one).max() > 0.1
        np.testing.assert_allclose(other, one, atol=1e-5)


def test_norms_of_a_bf16_package_are_joined(half_package):
    """Each lost the Casts around it; what is left of them is at the graph's ends. The function is the same within
    bfloat16's rounding."""
    package = Package.open(half_package("bf16"))
    graph = package.read(package.manifest.stage("denoiser").file)

    def casts(model: ov.Model) -> int:
        return sum(node.get_type_name() == "Convert" for node in model.get_ordered_ops())

    plain, joined = ov.Core().read_model(graph), read_model(graph, "mixed")
    norms = sum("/group_norm/centred" in node.get_friendly_name() for node in plain.get_ordered_ops())
    assert norms == 21
    assert casts(read_model(graph, "f32")) == casts(plain)
    assert casts(joined) <= casts(plain) - 2 * norms
    rng = np.random.default_rng(0)
    feeds = {}
    for spec in package.manifest.stage("denoiser").inputs:
        shape = spec.resolve(1, 32, 48)
        value = rng.integers(0, 200, shape) if spec.dtype == "int32" else rng.standard_normal(shape)
        feeds[spec.name] = ov.Tensor(value.astype("int32" if spec.dtype == "int32" else "float32"))
        if spec.dtype == "bfloat16":
            feeds[spec.name] = ov.Tensor(bfloat16.to_bits(value), ov.Shape(shape), ov.Type.bf16)
    results = []
    for model in (plain, joined):
        compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": ov.Type.f32})
        results.append(np.array(compiled(feeds)["x_next"]))
    assert np.isfinite(results[0]).all()
    error = np.sqrt(np.mean((results[0] - results[1]) ** 2) / np.mean(results[0] ** 2))
    assert error == pytest.approx(0, abs=0.02)
