"""Edits of a graph's bytes when it is loaded, without the onnx library. An edit that finds nothing to change where it
has to fails loudly: onnxruntime's own ``add_initializer`` ignores one of another type without a word."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import PackageError
from .protobuf import fields, parts

_GRAPH, _NODE, _TENSOR = 7, 1, 5  # fields of Model, Graph, Graph
_INPUT, _OPERATOR = 1, 4  # of Node
_TYPE, _NAME, _BYTES = 2, 8, 9  # of Tensor
_INT8, _UINT8 = 3, 2
_MIDDLE = 128
_KEY_STRIDE = b"attention_key_stride"
_QUERIES = {b"attention_queries": 1 << 31, b"attention_queries_less_1": (1 << 31) - 1}
_ONES = (1).to_bytes(8, "little") * 2


def with_uint8_activations(graph: bytes) -> bytes:
    """The graph with the zero point of every QuantizeLinear changed from int8 0 to uint8 128, where it is that.

    Packages hold symmetric int8, the one form that every engine takes, and x86 multiplies uint8 by int8. onnxruntime
    turns the activations itself, but not those that several nodes read, and an HFRM then takes twice the time. Every
    stored value is 128 higher and means the same. Weights have no QuantizeLinear: they stay int8. A graph without Q/DQ
    comes back as it is. ``graph`` was checked.
    """
    content, zero_points = bytearray(graph), set()
    for node in _parts(content, _NODE):
        operator, inputs = ([bytes(part) for part in parts(node, field)] for field in (_OPERATOR, _INPUT))
        if b"QuantizeLinear" in operator and len(inputs) == 3:
            zero_points.add(inputs[2])
    for tensor in _parts(content, _TENSOR):
        (kind, kind_at), (name, _), (value, value_at) = _described(tensor)
        if isinstance(name, memoryview) and bytes(name) in zero_points and kind == _INT8 and value == b"\0":
            tensor[kind_at] = _UINT8
            tensor[value_at] = _MIDDLE
    return bytes(content)


def with_key_stride(graph: bytes, stride: int, where: str) -> bytes:
    """The denoiser's graph with attention over every ``stride``-th row and column of keys and values, the one constant
    that a plan may change; ``export/passes/query_blocks.py`` writes it as 1, 1. ``graph`` was checked.

    Raises PackageError for a graph that has no such constant, an older one. where: its name in errors.
    """
    content = bytearray(graph)
    for tensor in _parts(content, _TENSOR):
        _, (name, _), (value, value_at) = _described(tensor)
        if name == _KEY_STRIDE and value == _ONES:
            tensor[value_at : value_at + len(_ONES)] = stride.to_bytes(8, "little") * 2
            return bytes(content)
    raise PackageError(f"{where}: its attention has no key stride; build the package again.")


def with_whole_scores(graph: bytes, where: str) -> bytes:
    """The denoiser's graph with the scores of an attention all at once at every size, for an engine that cannot capture
    a loop: ``export/passes/query_blocks.py`` writes how many queries a block has at most. ``graph`` was checked.

    Raises PackageError for a graph that has no such constant. where: its name in errors.
    """
    content, missing = bytearray(graph), dict(_QUERIES)
    for tensor in _parts(content, _TENSOR):
        _, (name, _), (value, value_at) = _described(tensor)
        if isinstance(name, memoryview) and bytes(name) in missing and len(value) == 8:
            tensor[value_at : value_at + 8] = missing.pop(bytes(name)).to_bytes(8, "little")
    if missing:
        raise PackageError(f"{where}: its attention has no blocks of queries; build the package again.")
    return bytes(content)


def _parts(content: bytearray, kind: int) -> Iterator[memoryview]:
    """The graph's nodes or tensors."""
    return (part for graph in parts(memoryview(content), _GRAPH) for part in parts(graph, kind))


def _described(tensor: memoryview) -> list[tuple[Any, int]]:
    """Its type, name and bytes, each with the place in ``tensor`` where it begins."""
    found = {field: (value, place) for field, value, place in fields(tensor)}
    return [found.get(field, (0, 0)) for field in (_TYPE, _NAME, _BYTES)]
