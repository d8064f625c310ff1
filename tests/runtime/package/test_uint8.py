"""int8 graphs with uint8 activations: the same numbers."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from runtime.package.edits import with_uint8_activations


def quantised(zero_point: np.ndarray | None = None, name: str = "zero") -> bytes:
    """Q/DQ of the input, a convolution with int8 weights, Q/DQ of its output."""
    zero = np.array(0, np.int8) if zero_point is None else zero_point
    weights = np.random.default_rng(0).integers(-127, 128, (4, 3, 3, 3)).astype(np.int8)
    tensors = {
        "scale": np.float32(0.02), name: zero, "weights": weights, "bias": np.arange(4, dtype=np.float32),
        "scales": np.full(4, 0.01, np.float32), "zeros": np.zeros(4, np.int8), "wide": np.float32(0.2),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", name], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "scale", name], ["xd"]),
        helper.make_node("DequantizeLinear", ["weights", "scales", "zeros"], ["w"], axis=0),
        helper.make_node("Conv", ["xd", "w", "bias"], ["c"]),
        helper.make_node("QuantizeLinear", ["c", "wide", name], ["cq"]),
        helper.make_node("DequantizeLinear", ["cq", "wide", name], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), key) for key, array in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return model.SerializeToString()


def run(graph: bytes, x: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # the operators' own meaning
    (result,) = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    return result


def types(graph: bytes) -> dict[str, tuple[int, list[int]]]:
    return {
        tensor.name: (tensor.data_type, numpy_helper.to_array(tensor).ravel().tolist()[:1])
        for tensor in onnx.load_from_string(graph).graph.initializer
    }


def test_the_same_numbers_saturation_included():
    x = np.random.default_rng(1).standard_normal((1, 3, 9, 9)).astype(np.float32) * 2  # int8 holds 2.54
    graph = quantised()
    turned = with_uint8_activations(graph)
    np.testing.assert_array_equal(run(turned, x), run(graph, x))
    assert types(turned)["zero"] == (TensorProto.UINT8, [128])
    before, after = types(graph), types(turned)
    assert {name for name in before if before[name] != after[name]} == {"zero"}  # the weights are int8 still


def test_a_graph_without_qdq_is_left_alone(tiny_package):
    graph = (tiny_package / "hfrm0.onnx").read_bytes()
    assert with_uint8_activations(graph) == graph


@pytest.mark.parametrize("zero_point", [np.array(3, np.int8), np.array(0, np.uint8)])
def test_other_zero_points_are_left_alone(zero_point):
    graph = quantised(zero_point)
    assert with_uint8_activations(graph) == graph


def test_a_name_that_is_no_ascii():
    assert types(with_uint8_activations(quantised(name="nul\u0142")))["nul\u0142"] == (TensorProto.UINT8, [128])
