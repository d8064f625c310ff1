"""Edits of a graph's bytes when it is loaded, without the onnx library. An edit that finds nothing to change where it
has to fails loudly: onnxruntime's own ``add_initializer`` ignores one of another type without a word.

int8 graphs with uint8 activations: the same numbers, and what an x86 processor multiplies fastest. Packages hold
symmetric int8 (zero point 0), the one form that every engine takes. x86 multiplies uint8 by int8; onnxruntime turns the
activations itself, but not those that several nodes read, and an HFRM then takes twice the time. With uint8 and a zero
point of 128 every stored value is 128 higher and means the same.

Attention over every s-th row and column of keys and values: the one constant of the denoiser's graph that a plan may
change. ``export/passes/query_blocks.py`` writes it as 1, 1.
"""

from __future__ import annotations

from ..errors import PackageError
from .protobuf import fields, fields_at

_GRAPH, _NODE, _TENSOR = 7, 1, 5  # fields of Model, Graph, Graph
_INPUT, _OPERATOR = 1, 4  # of Node
_TYPE, _NAME, _BYTES = 2, 8, 9  # of Tensor
_INT8, _UINT8 = 3, 2
_MIDDLE = 128
_KEY_STRIDE = b"attention_key_stride"
_ONES = (1).to_bytes(8, "little") * 2


def with_uint8_activations(graph: bytes) -> bytes:
    """The graph with the zero point of every QuantizeLinear changed from int8 0 to uint8 128, where it is that.

    Weights have no QuantizeLinear: they stay int8. A graph without Q/DQ comes back as it is. ``graph`` was checked.
    """
    content = bytearray(graph)
    parts = [part for field, part in fields(memoryview(content)) if field == _GRAPH and isinstance(part, memoryview)]
    zero_points: set[bytes] = set()
    tensors: list[memoryview] = []
    for part in parts:
        for field, value in fields(part):
            if field == _NODE and isinstance(value, memoryview):
                zero_points |= _zero_point(value)
            elif field == _TENSOR and isinstance(value, memoryview):
                tensors.append(value)
    for tensor in tensors:
        _turn(tensor, zero_points)
    return bytes(content)


def _zero_point(node: memoryview) -> set[bytes]:
    """The name of a QuantizeLinear's zero point."""
    inputs: list[bytes] = []
    quantises = False
    for field, value in fields(node):
        if isinstance(value, memoryview):
            if field == _INPUT:
                inputs.append(bytes(value))
            quantises |= field == _OPERATOR and bytes(value) == b"QuantizeLinear"
    return {inputs[2]} if quantises and len(inputs) == 3 else set()


def _turn(tensor: memoryview, names: set[bytes]) -> None:
    """In place, if it is one of ``names`` and a single int8 0."""
    found = {field: (value, place) for field, value, place in fields_at(tensor)}
    kind, kind_at = found.get(_TYPE, (0, 0))
    name, _ = found.get(_NAME, (b"", 0))
    value, value_at = found.get(_BYTES, (b"", 0))
    if isinstance(name, memoryview) and bytes(name) in names and kind == _INT8 and value == b"\0":
        tensor[kind_at] = _UINT8
        tensor[value_at] = _MIDDLE


def with_key_stride(graph: bytes, stride: int, where: str) -> bytes:
    """The denoiser's graph with attention over every ``stride``-th row and column. ``graph`` was checked.

    Raises PackageError for a graph that has no such constant, an older one. where: its name in errors.
    """
    content = bytearray(graph)
    for field, part in fields(memoryview(content)):
        if field != _GRAPH or not isinstance(part, memoryview):
            continue
        for inner, tensor in fields(part):
            if inner == _TENSOR and isinstance(tensor, memoryview):
                found = {one: (value, place) for one, value, place in fields_at(tensor)}
                name, value = (found.get(one, (b"", 0)) for one in (_NAME, _BYTES))
                if bytes(name[0]) == _KEY_STRIDE and bytes(value[0]) == _ONES:
                    tensor[value[1] : value[1] + len(_ONES)] = stride.to_bytes(8, "little") * 2
                    del part, tensor, found, name, value
                    return bytes(content)
    raise PackageError(f"{where}: its attention has no key stride; build the package again.")
