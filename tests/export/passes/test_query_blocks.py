"""Attention in blocks of queries: what it computes, what it holds in memory, and that the plain form comes back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.checkpoint import load_checkpoint
from export.passes.query_blocks import ATTENTION, QUERIES, query_blocks
from export.tracing.graphs import stage_graphs
from runtime.package.reading import Package

CHANNELS = 8


def attention(elem_type: int = TensorProto.FLOAT, opset: int = 21) -> bytes:
    """x_cond (batch, 3 x CHANNELS, rows, columns): queries, keys, values -> y (batch, 1, CHANNELS, places)."""
    dtype = helper.tensor_dtype_to_np_dtype(elem_type)
    nodes = [
        helper.make_node("Split", ["x_cond"], ["q_map", "k_map", "v_map"], axis=1, num_outputs=3),
        *(helper.make_node("Reshape", [f"{one}_map", "flat"], [one]) for one in "qkv"),
        helper.make_node("Transpose", ["q"], ["queries"], perm=[0, 1, 3, 2]),
        helper.make_node("Mul", ["queries", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["v"], ["values"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["scaled", "k"], ["matmul"]),
        helper.make_node("Softmax", ["matmul"], ["softmax"], axis=-1),
        helper.make_node("MatMul", ["softmax", "values"], ["weighted"]),
        helper.make_node("Transpose", ["weighted"], ["y"], perm=[0, 1, 3, 2]),
    ]
    constants = {"flat": np.array([0, 1, CHANNELS, -1], np.int64), "scale": np.array(CHANNELS**-0.5, dtype)}
    graph = helper.make_graph(
        nodes,
        "attention",
        [helper.make_tensor_value_info("x_cond", elem_type, ["batch", 3 * CHANNELS, "rows", "columns"])],
        [helper.make_tensor_value_info("y", elem_type, ["batch", 1, CHANNELS, "places"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def by_hand(x: np.ndarray) -> np.ndarray:
    q, k, v = np.split(x.astype(np.float64).reshape(*x.shape[:2], -1), 3, axis=1)
    scores = np.einsum("bcq,bck->bqk", q, k) * CHANNELS**-0.5
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("bqk,bck->bcq", weights / weights.sum(-1, keepdims=True), v)[:, None]


def onnxruntime_session(graph: bytes):
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x_cond": x})[0]


def openvino_session(graph: bytes):
    ov = pytest.importorskip("openvino")
    core = ov.Core()
    request = core.compile_model(core.read_model(graph), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda x: np.array(request({"x_cond": x})["y"])


@pytest.mark.parametrize("engine", [onnxruntime_session, openvino_session], ids=["onnxruntime", "openvino"])
def test_it_computes_the_same_for_any_number_of_places(engine):
    run = engine(query_blocks(attention()))
    rng = np.random.default_rng(5)
    # one session: after one place alone OpenVINO has left out the softmax of more
    for places in (1, QUERIES - 1, QUERIES, 1, QUERIES + 1, 3 * QUERIES + 7, 2 * QUERIES, 2, 1, 2 * QUERIES + 1):
        x = rng.standard_normal((2, 3 * CHANNELS, 1, places), np.float32)
        expected = by_hand(x)
        found = run(x)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=3e-6 * np.abs(expected).max(), err_msg=f"{places} places")


def test_half_precision_too():
    run = onnxruntime_session(query_blocks(attention(TensorProto.FLOAT16)))
    for places in (4, 2 * QUERIES, 2 * QUERIES + 100):
        x = np.random.default_rng(6).standard_normal((2, 3 * CHANNELS, places // 4, 4)).astype(np.float16)
        np.testing.assert_allclose(run(x), by_hand(x), atol=0.01)


PEAK = """
import re, sys
from pathlib import Path
import numpy as np, onnxruntime as ort
session = ort.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
rng = np.random.default_rng(0)
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) << 10
for places in (2000, int(sys.argv[2])):
    before = peak()
    session.run(None, {"x_cond": rng.standard_normal((1, 24, places // 4, 4), np.float32)})
print(peak() - before)
"""


def test_the_score_matrix_is_never_in_memory(tmp_path):
    places, found = 12000, {}
    for name, graph in {"plain": attention(), "blocks": query_blocks(attention())}.items():
        (tmp_path / name).write_bytes(graph)
        command = [sys.executable, "-c", PEAK, str(tmp_path / name), str(places)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        found[name] = int(done.stdout)
    whole = 4 * places**2
    assert found["plain"] > whole  # or this test could not see it
    assert found["blocks"] < whole / 2  # a block is a twelfth of it


def marks(graph: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(graph).graph.node if ATTENTION in node.name]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_every_attention_of_a_package_has_the_form(precision, tiny_package, half_package, make_checkpoint):
    from export.model.unet import AttentionBlock

    path: Path = tiny_package if precision == "fp32" else half_package(precision)
    graph = Package.open(path).read("denoiser.onnx")
    model = load_checkpoint(make_checkpoint()).model()
    assert marks(graph).count("If") == sum(isinstance(part, AttentionBlock) for part in model.modules()) > 1
    assert not [node for node in onnx.load_from_string(graph).graph.node if node.op_type == "Softmax"]


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_restored_it_is_the_traced_graph(precision, make_checkpoint, kept_trace):
    from export.passes.cpu_forms import restore

    model = load_checkpoint(make_checkpoint()).model()
    (stage,) = (stage for stage in stage_graphs(model, precision) if stage.name == "denoiser")
    traced = kept_trace(stage, model.arch.pad_multiple)
    blocks = query_blocks(traced)
    assert marks(blocks)
    plain, back = onnx.load_from_string(traced), onnx.load_from_string(restore(blocks))
    del plain.graph.value_info[:]
    assert back.SerializeToString(deterministic=True) == plain.SerializeToString(deterministic=True)


def test_what_is_no_such_attention_is_left_alone(tiny_package):
    """The HFRM's attention is C x C a row of the photo: MatMul and Softmax too."""
    model = onnx.load(tiny_package / "hfrm0.onnx")
    model.graph.input[0].name = "x_cond"  # whose type is the network's
    for node in model.graph.node:
        node.input[:] = ["x_cond" if name == "details0" else name for name in node.input]
    assert any(node.op_type == "Softmax" for node in model.graph.node)
    assert not marks(query_blocks(model.SerializeToString()))
