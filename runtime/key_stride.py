"""Attention over every s-th row and column of keys and values: the one constant of the denoiser's graph that a plan
may change. ``export/query_blocks.py`` writes it as 1, 1."""

from __future__ import annotations

from .errors import PackageError
from .protobuf import fields, fields_at

_GRAPH, _TENSOR = 7, 5  # fields of Model, Graph
_NAME, _BYTES = 8, 9  # of Tensor
_KEY_STRIDE = b"attention_key_stride"
_ONES = (1).to_bytes(8, "little") * 2


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
