"""fp16 and bf16: the precision is in the graphs, what is sensitive is not, and the certificate covers wide photos."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from export.passes.cpu_forms import GROUP_NORM, restore
from export.passes.emulate import emulate_bf16
from runtime import Enhancer, InputError
from runtime.package.reading import Package

HALF = {"fp16": onnx.TensorProto.FLOAT16, "bf16": onnx.TensorProto.BFLOAT16}
PRECISIONS = pytest.mark.parametrize("precision", ["fp16", "bf16"])


def typed(model):
    """(graph, tensor name -> element type) of an ONNX file or model."""
    model = onnx.shape_inference.infer_shapes(onnx.load(model) if isinstance(model, Path) else model)
    graph = model.graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.output, *graph.value_info)}
    return graph, types | {tensor.name: tensor.data_type for tensor in graph.initializer}


@PRECISIONS
def test_convolutions_and_attention_are_in_half_precision(half_package, precision):
    for stage in ("hfrm0", "denoiser"):
        model = onnx.load_from_string(restore((half_package(precision) / f"{stage}.onnx").read_bytes()))
        graph, types = typed(model)
        convolutions = [node for node in graph.node if node.op_type == "Conv"]
        assert len(convolutions) > 20
        assert {types[name] for node in convolutions for name in node.input} == {HALF[precision]}
    matmuls = [node for node in graph.node if node.op_type == "MatMul"]  # of the denoiser: self-attention
    assert len(matmuls) > 2
    assert {types[name] for node in matmuls for name in node.input} == {HALF[precision]}


@PRECISIONS
def test_sensitive_places_stay_in_float32(half_package, precision):
    wide = onnx.TensorProto.FLOAT
    graph, types = typed(half_package(precision) / "hfrm0.onnx")
    for node in graph.node:
        if node.op_type in ("MatMul", "Softmax"):
            assert {types[name] for name in node.input} == {wide}, node.name
    graph, types = typed(half_package(precision) / "denoiser.onnx")
    norms = [node for node in graph.node if GROUP_NORM in node.name]
    assert len({node.name.rpartition(GROUP_NORM)[0] for node in norms}) > 5
    assert {types[name] for node in norms for name in node.input} == {wide, onnx.TensorProto.INT64}  # and shapes
    for name in ("x_t", "history", "coefficients", "x_next", "history_next"):
        assert types[name] == wide
    producers = {name: node for node in graph.node for name in node.output}
    assert producers["x_next"].op_type == "Add"  # the update itself, with no cast behind it


@PRECISIONS
def test_tensors_between_stages(half_package, precision):
    manifest = Package.open(half_package(precision)).manifest
    assert manifest.precision == precision
    half = {"fp16": "float16", "bf16": "bfloat16"}[precision]
    dtypes = {name: spec.dtype for stage in manifest.stages for name, spec in stage.tensors.items()}
    assert {name for name, dtype in dtypes.items() if dtype == half} == {
        "x_cond", "details0", "details1", "restored0", "restored1",
    }  # fmt: skip
    assert {dtypes[name] for name in ("image", "x_t", "x_next", "x_0", "history", "coefficients")} == {"float32"}


@pytest.mark.parametrize(("precision", "psnr_db"), [("fp16", 50), ("bf16", 40)])
def test_certificate_is_against_float32_and_covers_a_width_of_3840(half_package, precision, psnr_db):
    certificate = json.loads((half_package(precision) / "certificate.json").read_text())
    assert "PyTorch float32" in certificate["reference"]
    records = certificate["end_to_end"]
    assert any(record["size"].startswith("3840x") for record in records)
    for record in records:
        assert record["psnr_db"] >= psnr_db
        assert record["psnr_db"] < 120  # it is not the float32 network that was compared


def test_an_fp16_package_runs_on_onnxruntime(half_package, tiny_package):
    photo = np.random.default_rng(0).integers(0, 60, (30, 41, 3), dtype=np.uint8)
    with Enhancer.open(half_package("fp16")) as half, Enhancer.open(tiny_package) as full:
        assert half.self_test() <= 2
        difference = np.abs(half(photo).astype(int) - full(photo))
    assert difference.max() <= 2
    size = {path: sum(f.stat().st_size for f in path.glob("*.onnx")) for path in (half_package("fp16"), tiny_package)}
    assert size[half_package("fp16")] < 0.6 * size[tiny_package]


def test_a_bf16_package_is_refused_by_onnxruntime_with_what_would_work(half_package):
    with pytest.raises(InputError, match=r"bf16 package, .* use an fp32 or fp16 package, or an engine"):
        Enhancer.open(half_package("bf16"))


def test_emulation_rounds_every_result_to_bfloat16():
    import onnxruntime as ort

    half = onnx.TensorProto.BFLOAT16
    weight = onnx.helper.make_tensor("w", half, [1], [1.0])
    nodes = [onnx.helper.make_node("Mul", ["x", "w"], ["y"]), onnx.helper.make_node("Add", ["y", "y"], ["z"])]
    values = [onnx.helper.make_tensor_value_info(name, half, ["n"]) for name in ("x", "z")]
    graph = onnx.helper.make_graph(nodes, "g", values[:1], values[1:], [weight])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 22)], ir_version=10)
    session = ort.InferenceSession(emulate_bf16(model.SerializeToString()))
    x = np.array([1.0, 1 + 2**-7, 1 + 2**-9, 3.14159], np.float32)
    (z,) = session.run(None, {"x": x})
    assert z.dtype == np.float32
    assert z.tolist() == [2.0, 2 * (1 + 2**-7), 2.0, 6.28125]
