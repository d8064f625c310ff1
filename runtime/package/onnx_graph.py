"""An ONNX graph as objects, read from its bytes without the onnx library. It takes what our exporter writes and refuses
every other field: sparse tensors, functions, training graphs, weights in other files."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .protobuf import fields

FLOAT, UINT8, INT8, INT32, INT64, BOOL, FLOAT16, BFLOAT16 = 1, 2, 3, 6, 7, 9, 10, 16  # TensorProto.DataType
ITEM_BYTES = {FLOAT: 4, UINT8: 1, INT8: 1, INT32: 4, INT64: 8, BOOL: 1, FLOAT16: 2, BFLOAT16: 2}
TYPES = {"float32": FLOAT, "float16": FLOAT16, "bfloat16": BFLOAT16, "int32": INT32}
"""By a manifest's dtypes."""
_FORMATS = {FLOAT: "f", INT32: "i", INT64: "q", BOOL: "?"}
_SMALL = 64  # numbers of a tensor that may be a shape
_MOST_NODES = 4096  # of all its graphs: twice what the official network takes in int8
_MOST_TENSORS = 8192
_MOST_FIELDS = 1 << 19  # of protobuf, and whole numbers in lists
_DEEPEST = 3  # an attention: If, If, Loop

_Found = dict[int, list["int | memoryview"]]


@dataclass(frozen=True)
class Tensor:
    """A constant of the graph."""

    name: str
    dtype: int
    shape: tuple[int, ...]
    value: tuple[int, ...] | tuple[float, ...] | None
    """Its numbers, where it is a vector or a scalar of a few."""

    @property
    def count(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Value:
    """An input or output."""

    name: str
    dtype: int
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Node:
    name: str
    operator: str
    """After its domain, where that is not ONNX's own: ``com.microsoft.MultiHeadAttention``."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, int | str | tuple[int, ...] | Graph]
    """The fractions among them are read as 0."""


@dataclass(frozen=True)
class Graph:
    nodes: tuple[Node, ...]
    tensors: tuple[Tensor, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]


@dataclass
class _Count:
    """How much was read of a file."""

    nodes: int = 0
    tensors: int = 0
    fields: int = 0

    def add(self, fields: int = 1) -> None:
        self.fields += fields
        if self.fields > _MOST_FIELDS:
            raise ValueError(f"more than {_MOST_FIELDS:,} fields")


def read_graph(content: bytes) -> tuple[Graph, dict[str, int]]:
    """The graph of an ONNX file, and the versions of its operators by domain. Raises ValueError or IndexError, with
    what it has that no package has."""
    count = _Count()
    model = _message(memoryview(content), "model", count, once=(1, 2, 3, 4, 5, 6, 7), many=(8, 14))
    opsets: dict[str, int] = {}
    for one in map(_bytes, model.get(8, [])):
        opset = _message(one, "opset", count, once=(1, 2))
        domain = _text(opset, 1)
        if domain in opsets:
            raise ValueError(f"two versions of the operators of {domain!r}")
        opsets[domain] = _int(opset, 2)
    return _graph(_bytes(model[7][0]), count, 0), opsets


def _graph(content: memoryview, count: _Count, depth: int) -> Graph:
    if depth > _DEEPEST:
        raise ValueError(f"graphs more than {_DEEPEST} deep in one another")
    found = _message(content, "graph", count, once=(2, 10), many=(1, 5, 11, 12, 13, 16))
    count.nodes += len(found.get(1, []))
    count.tensors += len(found.get(5, []))
    if count.nodes > _MOST_NODES or count.tensors > _MOST_TENSORS:
        raise ValueError(f"more than {_MOST_NODES:,} nodes or {_MOST_TENSORS:,} constants")
    return Graph(
        tuple(_node(_bytes(one), count, depth) for one in found.get(1, [])),
        tuple(_tensor(_bytes(one), count) for one in found.get(5, [])),
        *(tuple(_value(_bytes(one), count) for one in found.get(field, [])) for field in (11, 12)),
    )


def _node(content: memoryview, count: _Count, depth: int) -> Node:
    found = _message(content, "node", count, once=(3, 4, 6, 7), many=(1, 2, 5, 9))
    attributes: dict[str, int | str | tuple[int, ...] | Graph] = {}
    for one in map(_bytes, found.get(5, [])):
        attribute = _message(one, "attribute", count, once=(1, 2, 3, 4, 6, 13, 20), many=(8,))
        name = _text(attribute, 1)
        if name in attributes:
            raise ValueError(f"two attributes {name[:40]!r} of one node")
        if 6 in attribute:
            attributes[name] = _graph(_bytes(attribute[6][0]), count, depth + 1)
        elif 4 in attribute:
            attributes[name] = _text(attribute, 4)
        elif 8 in attribute:
            attributes[name] = _ints(attribute[8], count)
        else:
            attributes[name] = _signed(_int(attribute, 3))
    operator = ".".join(filter(None, (_text(found, 7).removeprefix("ai.onnx"), _text(found, 4))))
    inputs, outputs = (tuple(_decoded(_bytes(one)) for one in found.get(field, [])) for field in (1, 2))
    return Node(_text(found, 3), operator, inputs, outputs, attributes)


def _tensor(content: memoryview, count: _Count) -> Tensor:
    found = _message(content, "tensor", count, once=(2, 8, 9, 12, 14), many=(1, 4, 5, 7))
    name, dtype, shape = _text(found, 8), _int(found, 2), _ints(found.get(1, []), count)
    if dtype not in ITEM_BYTES or _int(found, 14):
        raise ValueError(f"the constant {name[:40]!r} of the type {dtype}")
    if any(one < 0 for one in shape):
        raise ValueError(f"the constant {name[:40]!r} with a negative size")
    size, typed = math.prod(shape), [field for field in (4, 5, 7) if field in found]
    raw = _bytes(found[9][0]) if 9 in found else None
    if len(typed) + (raw is not None) > 1:
        raise ValueError(f"the constant {name[:40]!r} with two values")
    if raw is not None:
        sound, value = len(raw) == size * ITEM_BYTES[dtype], None
        if sound and size <= _SMALL and len(shape) < 2 and dtype in _FORMATS:
            value = struct.unpack(f"<{size}{_FORMATS[dtype]}", raw)
    elif typed == [4]:
        parts = [one for one in found[4] if isinstance(one, memoryview)]
        sound, value = dtype == FLOAT and sum(map(len, parts)) == 4 * size, None
        if sound and size <= _SMALL and len(shape) < 2:
            value = struct.unpack(f"<{size}f", b"".join(parts))
    else:
        numbers = _ints(found[typed[0]], count) if typed else ()
        sound, value = dtype != FLOAT and len(numbers) == size, numbers
        value = numbers if len(shape) < 2 and size <= _SMALL and dtype in _FORMATS else None
    if not sound:
        raise ValueError(f"the constant {name[:40]!r} of {size:,} numbers, whose bytes are not so many")
    return Tensor(name, dtype, shape, value)


def _value(content: memoryview, count: _Count) -> Value:
    found = _message(content, "value", count, once=(1, 2, 3), many=(4,))
    kind = _message(_bytes(found[2][0]), "type", count, once=(1, 6)) if 2 in found else {}
    tensor = _message(_bytes(kind[1][0]), "tensor type", count, once=(1, 2)) if 1 in kind else {}
    sizes: list[int | str] = []
    if 2 in tensor:
        for one in map(_bytes, _message(_bytes(tensor[2][0]), "shape", count, many=(1,)).get(1, [])):
            size = _message(one, "size", count, once=(1, 2, 3))
            sizes.append(_text(size, 2) if 2 in size else _int(size, 1))
    return Value(_text(found, 1), _int(tensor, 1), tuple(sizes))


def _message(
    content: memoryview, what: str, count: _Count, once: Iterable[int] = (), many: Iterable[int] = ()
) -> _Found:
    """Its fields, by number. once: those that may stand once, which protobuf would merge."""
    found: _Found = {}
    known, repeated = set(once), set(many)
    for field, value, _ in fields(content):
        if field in found and field in known:
            raise ValueError(f"the field {field} of a {what} twice")
        if field not in known and field not in repeated:
            raise ValueError(f"the field {field} of a {what}")
        found.setdefault(field, []).append(value)
        count.add()
    if what == "model" and 7 not in found:
        raise ValueError("no graph")
    return found


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number where a message has to be")
    return value


def _decoded(value: memoryview) -> str:
    return bytes(value).decode()


def _text(found: _Found, field: int) -> str:
    return _decoded(_bytes(found[field][0])) if field in found else ""


def _int(found: _Found, field: int) -> int:
    value = found.get(field, [0])[0]
    if not isinstance(value, int):
        raise ValueError("a message where a number has to be")
    return value


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _ints(values: list[int | memoryview], count: _Count) -> tuple[int, ...]:
    """Of a repeated field: each by itself, or packed."""
    numbers: list[int] = []
    for value in values:
        if isinstance(value, int):
            numbers.append(_signed(value))
            continue
        count.add(len(value))
        number = shift = 0
        for byte in bytes(value):
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                numbers.append(_signed(number & (1 << 64) - 1))
                number = shift = 0
            elif shift > 63:
                raise ValueError("overlong number")
        if shift:
            raise ValueError("a number that is cut off")
    return tuple(numbers)
