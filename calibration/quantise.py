"""A float32 stage -> the same stage with explicit Q/DQ around its convolutions, through onnxruntime's quantiser.

One form that onnxruntime, OpenVINO and the TensorRT parser all take: symmetric int8, weights per output channel, biases
in float. A convolution's output is quantised too: without that onnxruntime runs it in float.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper
from onnx_ir.passes.common import RemoveUnusedNodesPass, RemoveUnusedOpsetsPass

from runtime.engines.libraries import loading

from .constants import shrink_constants
from .layers import SHAPE_OPERATORS, Layer

with loading("onnxruntime"):
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.quant_utils import add_infer_metadata

_OPTIONS = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,  # an int32 bias is refused by TensorRT's parser
}
_TAP = "_int8"  # suffix of a tensor as the quantised convolutions read it


def quantise(model: onnx.ModelProto, layers: Sequence[Layer], limits: Mapping[str, float]) -> bytes:
    """The graph of ``model`` with ``layers`` in int8; ``model`` stays as it is.

    limits: tensor -> the largest magnitude that int8 is to hold, of every tensor that the layers read and write.
    The same arguments give the same bytes.
    """
    quantised = onnx.ModelProto()
    quantised.CopyFrom(model)
    if not layers:
        content: bytes = quantised.SerializeToString()
        return content
    taps = _add_taps(quantised.graph, layers)
    ranges = {
        taps.get(name, name): TensorData(lowest=np.float32(-limits[name]), highest=np.float32(limits[name]))
        for layer in layers
        for name in layer.tensors
    }
    nodes = [name for layer in layers for name in layer.nodes]
    inferred = onnx.shape_inference.infer_shapes(quantised)
    add_infer_metadata(inferred)  # else the quantiser does it, by way of files of 40 MB that a kill leaves behind
    quantizer = QDQQuantizer(
        inferred,
        True,  # weights per channel
        False,
        QuantType.QInt8,
        QuantType.QInt8,
        TensorsData(CalibrationMethod.MinMax, ranges),
        nodes,
        [],
        ["Conv"],
        _OPTIONS,
    )
    quantizer.quantize_model()
    result: onnx.ModelProto = quantizer.model.model
    _bypass_taps(result.graph, taps)
    _free_reshaped_outputs(result.graph, {name for layer in layers for name in layer.outputs})
    _plain_zero_points(result.graph)
    result.graph.node.extend(shrink_constants(result.graph))
    return _in_order(result)


def _add_taps(graph: onnx.GraphProto, layers: Sequence[Layer]) -> dict[str, str]:
    """An Identity in front of quantised convolutions, tensor -> its output: the quantiser puts Q/DQ in front of all
    that read a tensor, and a sum or a norm that reads it too has to stay in float. What another quantised convolution
    writes has Q/DQ already."""
    written = {name for layer in layers for name in layer.outputs}
    nodes = {name for layer in layers for name in layer.nodes}
    taps: dict[str, str] = {}
    for node in graph.node:
        if node.name in nodes and node.input[0] not in written:
            node.input[0] = taps.setdefault(node.input[0], node.input[0] + _TAP)
    graph.node.extend(helper.make_node("Identity", [source], [tap], name=tap) for source, tap in taps.items())
    typed = {value.name for value in graph.value_info}
    for name in dict.fromkeys((*taps.values(), *sorted(written))):
        if name not in typed:
            graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return taps


def _bypass_taps(graph: onnx.GraphProto, taps: Mapping[str, str]) -> None:
    """Nothing reads the Identities any longer."""
    sources = {tap: source for source, tap in taps.items()}
    for node in graph.node:
        node.input[:] = [sources.get(name, name) for name in node.input]


def _free_reshaped_outputs(graph: onnx.GraphProto, outputs: set[str]) -> None:
    """No Q/DQ between a convolution and a Reshape or Transpose: onnxruntime 1.32 moves it behind those and then finds
    its own types to differ ("output_dtype INT8 does not match y_zero_point type UINT8"). Such a convolution writes
    float; those that read it keep their Q/DQ."""
    pairs = {
        dequantise.output[0]: node.input[0]
        for node in graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] in outputs
        for dequantise in graph.node
        if dequantise.op_type == "DequantizeLinear" and dequantise.input[0] == node.output[0]
    }
    moved = {name for node in graph.node if node.op_type in SHAPE_OPERATORS for name in node.input} & set(pairs)
    freed = {pairs[name] for name in moved}
    for node in graph.node:
        if node.op_type != "Conv":
            node.input[:] = [pairs[name] if pairs.get(name) in freed else name for name in node.input]


def _plain_zero_points(graph: onnx.GraphProto) -> None:
    """As raw bytes, which runtime/package/edits.py changes in place; the quantiser writes numbers of any length."""
    names = {node.input[2] for node in graph.node if node.op_type == "QuantizeLinear"}
    for tensor in graph.initializer:
        if tensor.name in names:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))


def _in_order(model: onnx.ModelProto) -> bytes:
    """Every node behind those that make what it reads, which the quantiser's own sort does not see in the branches of
    an If; without nodes that nothing reads, and without onnxruntime's own operator domain, of which nothing is used."""
    del model.graph.value_info[:]  # names tensors that are gone
    found = ir.from_proto(model)
    found.graph.sort()
    RemoveUnusedNodesPass()(found)
    RemoveUnusedOpsetsPass()(found)
    made = ir.to_proto(found)
    del made.graph.value_info[:]  # of constants, which say it themselves
    content: bytes = made.SerializeToString(deterministic=True)
    return content
