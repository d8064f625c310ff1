"""A package's graph as OpenVINO computes it fastest on a CPU: the same function, written for it when it is loaded.
What is changed here raises ``REWRITE_VERSION`` (``engines/fit.py``).

int8: onnxruntime runs a convolution in int8 only if its output is quantised too (``docs/int8.md``). OpenVINO adds bias
and sums to the int32 result and rounds once; a quantised output that no convolution reads is one more pass over the
tensor, and its scale is carried through the norm behind it in two more.

The four convolutions that double an image are interleaved by Concats, which onnxruntime does fastest; here it is
one DepthToSpace.

A residual block adds the time embedding's shift, a number a channel, in front of a norm: taken into the norm's means it
costs nothing, added it is one more pass over the tensor.

bfloat16: the norms of a bf16 package are float32 between two Casts. Where OpenVINO computes in bfloat16 all the same,
the Casts do nothing but keep a norm and the SiLU behind it from becoming one kernel.
"""

from __future__ import annotations

import io

import openvino as ov
from openvino import opset8
from openvino.frontend import FrontEndManager

_NORM, _UPSAMPLE = "/group_norm/", "/upsample/"  # in the names of their nodes (export/passes/cpu_forms.py)
_AFTER_QUANTISE = ("Convert", "Subtract", "Multiply")  # what a DequantizeLinear is read as


def read_model(graph: bytes, computes: str) -> ov.Model:
    """graph: ONNX, checked. computes: ``f32`` or ``mixed`` (``openvino_.compute_precision``). Raises RuntimeError for a
    graph that OpenVINO cannot read.

    ``Core.read_model`` would guess the format from the bytes, and takes XML in a text field of an ONNX file for a model
    of its own: another graph than the one that was checked.
    """
    reader = FrontEndManager().load_by_framework("onnx")
    try:
        model = reader.convert(reader.load(io.BytesIO(graph)))
    except Exception as error:  # the reader's exceptions share no base but Exception
        raise RuntimeError(str(error)) from error
    _join_quads(model)
    _keep_sums(model)
    if computes == "mixed":
        _join_norms(model)
    _absorb_shifts(model)
    return model


def _join_quads(model: ov.Model) -> None:
    """One DepthToSpace for the pixels of four convolutions."""
    named = {node.get_friendly_name(): node for node in model.get_ordered_ops()}
    for name, last in named.items():
        doubled, marked, part = name.rpartition(_UPSAMPLE)
        columns = [node for q in "01" if (node := named.get(f"{doubled}{marked}column{q}"))]
        if part != "interleave" or len(columns) != 2:
            continue
        quads = opset8.concat([column.input_value(p) for p in (0, 1) for column in columns], 1)
        result = opset8.depth_to_space(quads, "blocks_first", 2)
        result.set_friendly_name(name)
        last.output(0).replace(result.output(0))


def _keep_sums(model: ov.Model) -> None:
    """Give the value before it was quantised to all but convolutions."""
    for quantise in model.get_ordered_ops():
        if quantise.get_type_name() != "FakeQuantize":
            continue
        last = quantise
        while last.get_type_name() != "Multiply":
            targets = list(last.output(0).get_target_inputs())
            if len(targets) != 1 or targets[0].get_node().get_type_name() not in _AFTER_QUANTISE:
                break
            last = targets[0].get_node()
        else:
            for target in list(last.output(0).get_target_inputs()):
                if target.get_node().get_type_name() != "Convolution":
                    target.replace_source_output(quantise.input_value(0))


def _join_norms(model: ov.Model) -> None:
    """Norms between Casts from and to bfloat16 become bfloat16 themselves."""
    norms: dict[str, list[ov.Node]] = {}
    for node in model.get_ordered_ops():
        if norm := _norm_of(node):
            norms.setdefault(norm, []).append(node)
    for norm, parts in norms.items():
        places = [one for part in parts for one in part.inputs() if _is_float(one) and _norm_of(_maker(one)) != norm]
        targets = [one for part in parts for one in part.output(0).get_target_inputs()]
        results = [target for target in targets if _norm_of(target.get_node()) != norm]
        narrowed = all(target.get_node().get_type_name() == "Convert" for target in results)
        if not narrowed or not all(_is_widened(_maker(place)) or _is_constant(_maker(place)) for place in places):
            continue
        for place in places:
            maker = _maker(place)
            constant = _is_constant(maker)
            half = opset8.constant(maker.get_data(), ov.Type.bf16).output(0) if constant else maker.input_value(0)
            place.replace_source_output(half)
        for target in results:
            for after in list(target.get_node().output(0).get_target_inputs()):
                after.replace_source_output(target.get_source_output())
    model.validate_nodes_and_infer_types()


def _absorb_shifts(model: ov.Model) -> None:
    """In a norm of x + shift, (x + shift) - mean(x + shift) becomes x - (mean(x + shift) - shift), and the mean is that
    of the channels' means of x with the shift added to them."""
    norms: dict[str, dict[str, ov.Node]] = {}
    for node in model.get_ordered_ops():
        if norm := _norm_of(node):
            norms.setdefault(norm, {})[node.get_friendly_name().rpartition(_NORM)[2]] = node
    for parts in norms.values():
        if not parts.keys() >= {"mean_rows", "mean_channels", "centred"}:
            continue  # another writer's names, or another version's
        rows, means, centred = (parts[name] for name in ("mean_rows", "mean_channels", "centred"))
        added = _maker(rows.input(0))
        readers = {target.get_node().get_friendly_name() for target in added.output(0).get_target_inputs()}
        if added.get_type_name() != "Add" or readers != {rows.get_friendly_name(), centred.get_friendly_name()}:
            continue
        values = sorted((added.input_value(0), added.input_value(1)), key=_is_flat)
        if [_is_flat(value) for value in values] != [False, True]:
            continue
        value, shift = values
        rows.input(0).replace_source_output(value)
        centred.input(0).replace_source_output(value)
        mean_readers = list(means.output(0).get_target_inputs())
        shifted = opset8.add(means, shift)
        for reader in mean_readers:
            reader.replace_source_output(shifted.output(0))
        centred.input(1).replace_source_output(opset8.subtract(centred.input_value(1), shift).output(0))
    model.validate_nodes_and_infer_types()


def _is_flat(value: ov.Output) -> bool:
    """Whether it is (B, C, 1, 1)."""
    shape = value.get_partial_shape()
    return len(shape) == 4 and all(shape[axis].is_static and shape[axis].get_length() == 1 for axis in (2, 3))


def _norm_of(node: ov.Node) -> str:
    """What the nodes of one norm have in common, or nothing."""
    norm, marked, _ = node.get_friendly_name().rpartition(_NORM)
    return norm if marked else ""


def _maker(place: ov.Input) -> ov.Node:
    return place.get_source_output().get_node()


def _is_float(place: ov.Input) -> bool:
    return bool(place.get_element_type() == ov.Type.f32)


def _is_constant(node: ov.Node) -> bool:
    return bool(node.get_type_name() == "Constant")


def _is_widened(node: ov.Node) -> bool:
    """Whether it makes float32 of bfloat16."""
    return bool(node.get_type_name() == "Convert" and node.input_value(0).get_element_type() == ov.Type.bf16)
