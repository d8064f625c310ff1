"""The form of a quantised graph, and that every engine takes it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, numpy_helper

from calibration.layers import find_layers, load_graph
from calibration.quantise import quantise
from runtime.package.edits import with_uint8_activations
from runtime.package.guard import check_graph

ROOT = Path(__file__).parent.parent.parent
STAGES = pytest.mark.parametrize("stage", ["denoiser", "hfrm0"])


def quantised(package: Path, stage: str, limit: float = 4.0, only: int | None = None) -> tuple[onnx.ModelProto, bytes]:
    """(the float graph, the quantised one's bytes)."""
    model = load_graph((package / f"{stage}.onnx").read_bytes())
    layers = find_layers(model, attention=stage == "denoiser")[:only]
    return model, quantise(model, layers, {name: limit for layer in layers for name in layer.tensors})


def feeds(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    made = {}
    for value in model.graph.input:
        shape = [dim.dim_value or {"batch": 1}.get(dim.dim_param, 16) for dim in value.type.tensor_type.shape.dim]
        made[value.name] = generator.standard_normal(shape).astype(np.float32)
    if "timestep" in made:
        made["timestep"] = np.array([60], np.int32)
    return made


def run(graph: bytes, inputs: dict[str, np.ndarray]) -> np.ndarray:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"]).run(None, inputs)[0]


@STAGES
def test_symmetric_int8_per_channel_weights_float_biases(tiny_package, stage):
    model, content = quantised(tiny_package, stage)
    graph = onnx.load_from_string(content).graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    producers = {name: node for node in graph.node for name in node.output}
    weights = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    int8 = 0
    for node in graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = numpy_helper.to_array(tensors[node.input[2]])
            assert zero.dtype == np.int8
            assert not zero.any()
            assert node.op_type == "DequantizeLinear" or zero.shape == ()
            assert (
                tensors[node.input[2]].HasField("raw_data") or zero.shape != ()
            )  # as runtime/package/edits.py wants it
        if node.op_type != "Conv":
            continue
        assert len(node.input) < 3 or tensors[node.input[2]].data_type == TensorProto.FLOAT
        weight = producers.get(node.input[1])
        if weight is None or weight.op_type == "Cast":
            assert node.input[1] in weights
            continue
        int8 += 1
        assert tensors[weight.input[0]].data_type == TensorProto.INT8
        assert list(tensors[weight.input[1]].dims) == list(tensors[weight.input[0]].dims)[:1]  # a scale a channel
        assert producers[node.input[0]].op_type == "DequantizeLinear"
    assert int8 == sum(len(layer.nodes) for layer in find_layers(model, attention=stage == "denoiser")) > 0
    assert not weights & set(tensors) - {
        node.input[1] for node in graph.node if node.op_type == "Conv"
    }  # no float copy


@STAGES
def test_what_else_reads_a_tensor_reads_it_in_float(tiny_package, stage):
    model, content = quantised(tiny_package, stage)
    written = {name for layer in find_layers(model, attention=stage == "denoiser") for name in layer.outputs}
    producers = {name: node for node in onnx.load_from_string(content).graph.node for name in node.output}
    for node in onnx.load_from_string(content).graph.node:
        if node.op_type in ("Conv", "QuantizeLinear", "DequantizeLinear"):
            continue
        for name in node.input:
            if name in producers and producers[name].op_type == "DequantizeLinear" and name != "shift_table_spread":
                quantise_node = producers[producers[name].input[0]]
                assert quantise_node.input[0] in written, f"{node.op_type} {node.name} reads {name}"
        assert node.op_type != "Identity"


def test_the_convolutions_of_a_doubled_image_write_int8(tiny_package):
    """Behind a Reshape or an Unsqueeze they would write float, and onnxruntime would run them in float."""
    graph = onnx.load_from_string(quantised(tiny_package, "denoiser")[1]).graph
    quads = {
        name for node in graph.node if node.op_type == "Conv" and "/upsample/" in node.name for name in node.output
    }
    assert len(quads) >= 4
    read_by = {name: node.op_type for node in graph.node for name in node.input if name in quads}
    assert read_by == dict.fromkeys(quads, "QuantizeLinear")


@STAGES
def test_close_to_the_float_graph_where_the_range_fits(tiny_package, stage):
    model, content = quantised(tiny_package, stage, limit=6.0)
    inputs = feeds(model)
    expected = run(model.SerializeToString(), inputs)
    error = np.abs(run(content, inputs) - expected).max()
    assert 0 < error < 0.1 * np.abs(expected).max()


def test_layers_left_out_stay_as_they_were(tiny_package):
    model, content = quantised(tiny_package, "denoiser", only=2)
    operators = [node.op_type for node in onnx.load_from_string(content).graph.node]
    assert operators.count("QuantizeLinear") == 4
    model, content = quantised(tiny_package, "hfrm0", only=0)
    inputs = feeds(model)
    np.testing.assert_array_equal(run(content, inputs), run(model.SerializeToString(), inputs))


def test_large_constants_in_float_take_half_the_room(tiny_package):
    model, content = quantised(tiny_package, "denoiser", only=2)
    before = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    graph = onnx.load_from_string(content).graph
    casts = {node.input[0]: node.output[0] for node in graph.node if node.op_type == "Cast"}
    assert len(casts) > 5
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        assert values.dtype != np.float32 or values.nbytes < 4096
        if tensor.name in casts:
            np.testing.assert_allclose(values, before[casts[tensor.name]], rtol=1e-3, atol=1e-6)


def test_the_table_of_shifts_takes_a_quarter(tiny_package):
    """Each channel has a scale and a middle of its own over time: within half a step of 1/254 of its range."""
    model, content = quantised(tiny_package, "denoiser", only=2)
    (table,) = (numpy_helper.to_array(one) for one in model.graph.initializer if one.name == "shift_table")
    graph = onnx.load_from_string(content)
    made = onnx.helper.make_tensor_value_info("shift_table", TensorProto.FLOAT, table.shape)
    graph.graph.output.insert(0, made)
    assert "shift_table" not in {one.name for one in graph.graph.initializer}
    found = run(graph.SerializeToString(), feeds(model))
    error = np.abs(found - table)
    assert error.max() > 0
    assert np.all(error <= 0.501 / 254 * np.ptp(table, axis=0) + 1e-6)


@STAGES
def test_engines_take_it(tiny_package, stage):
    model, content = quantised(tiny_package, stage)
    onnx.checker.check_model(content, full_check=True)
    check_graph(content, stage)
    inputs = feeds(model)
    expected = run(content, inputs)  # onnxruntime alone, without what the runtime does on its way
    openvino = pytest.importorskip("openvino")
    core = openvino.Core()
    config = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(content), "CPU", config)
    found = compiled(inputs)[0]
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


@pytest.mark.parametrize("only", [None, 9])  # with layers left in float
@STAGES
def test_a_plain_session_has_nothing_to_say(tiny_package, stage, only, capfd):
    """Such as that a constant is read by no node: those of the Q/DQ that were taken away again go too."""
    _, content = quantised(tiny_package, stage, only=only)
    options = ort.SessionOptions()
    options.log_severity_level = 2  # warnings, whatever was set before
    ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    assert capfd.readouterr() == ("", "")


@STAGES
def test_tensorrt_parses_it_without_an_error(tiny_package, stage):
    trt = pytest.importorskip("tensorrt_rtx")
    _, content = quantised(tiny_package, stage)
    logger = trt.Logger(trt.Logger.ERROR)
    network = trt.Builder(logger).create_network(0)
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(content), [parser.get_error(index).desc() for index in range(parser.num_errors)]
    assert parser.num_errors == 0
    kinds = [network.get_layer(index).type for index in range(network.num_layers)]
    assert kinds.count(trt.LayerType.QUANTIZE) > 0


def test_the_same_bytes_in_every_process(tiny_package):
    code = (
        "import sys; sys.path.insert(0, 'tests/calibration')\n"
        "from pathlib import Path; from hashlib import sha256; from test_quantise import quantised\n"
        f"print(sha256(quantised(Path({str(tiny_package)!r}), 'denoiser')[1]).hexdigest())"
    )
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env={"PYTHONHASHSEED": seed}
        )
        assert done.stdout.strip() == hashlib.sha256(quantised(tiny_package, "denoiser")[1]).hexdigest(), done.stderr


def test_the_zero_point_of_x86_means_the_same_numbers(tiny_package):
    """docs/int8.md: the same bits, where onnxruntime runs the graph as it is written."""
    model, content = quantised(tiny_package, "hfrm0")
    edited, options = with_uint8_activations(content), ort.SessionOptions()
    assert edited != content
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain, ours = (
        ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"]).run(None, feeds(model))[0]
        for graph in (content, edited)
    )
    np.testing.assert_array_equal(plain, ours)
