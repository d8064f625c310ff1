"""ONNX graphs of one photo size that turn photos into the network's image and back, for a device to run.

They compute what ``runtime/image.py`` computes, operation by operation, so the bits are the same. Sizes are constants:
no arithmetic on shapes is left for the host.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...image import padded_size, reflect_indices
from ...package.protobuf import message

PHOTOS, IMAGE, RESIDUE = "photos", "image", "residue"
_IR_VERSION, _OPSET = 8, 17
_TYPES = {"float32": 1, "uint8": 2, "uint16": 4, "int64": 7}  # TensorProto.DataType
_INT, _INTS = 2, 7  # AttributeProto.AttributeType


def pad_graph(shape: tuple[int, ...], dtype: str, multiple: int) -> bytes:
    """``photos`` (B, H, W, 3) uint8 or uint16 -> ``image`` (B, 3, Hp, Wp) float32 in [0, 1], as ``image.to_tensor``."""
    batch, height, width, _ = shape
    rows, columns = padded_size(height, multiple), padded_size(width, multiple)
    constants: dict[str, NDArray[Any]] = {
        "rows": reflect_indices(height, rows).astype(np.int64),
        "columns": reflect_indices(width, columns).astype(np.int64),
        "most": np.array(np.iinfo(dtype).max, np.float32),
    }
    nodes = [
        _node("Gather", [PHOTOS, "rows"], "high", axis=1),
        _node("Gather", ["high", "columns"], "padded", axis=2),
        _node("Cast", ["padded"], "floats", to=_TYPES["float32"]),
        _node("Transpose", ["floats"], "planes", perm=[0, 3, 1, 2]),
        _node("Div", ["planes", "most"], IMAGE),
    ]
    made = [_value(IMAGE, "float32", (batch, 3, rows, columns))]
    return _model(nodes, constants, [_value(PHOTOS, dtype, shape)], made)


def crop_graph(shape: tuple[int, ...], dtype: str, multiple: int) -> bytes:
    """``image`` (B, 3, Hp, Wp) float32 in [0, 1] -> ``photos`` (B, H, W, 3), as ``image.to_pixels``, and ``residue``
    (1, 1, 1, 1) float32, which is 0 unless the photos' part of the image holds NaN or infinity."""
    batch, height, width, _ = shape
    rows, columns = padded_size(height, multiple), padded_size(width, multiple)
    constants: dict[str, NDArray[Any]] = {
        "starts": np.zeros(2, np.int64),
        "ends": np.array([height, width]),
        "axes": np.array([2, 3]),
        "most": np.array(np.iinfo(dtype).max, np.float32),
        "half": np.array(0.5, np.float32),
    }
    nodes = [
        _node("Slice", [IMAGE, "starts", "ends", "axes"], "cropped"),
        _node("Mul", ["cropped", "most"], "scaled"),
        _node("Add", ["scaled", "half"], "raised"),
        _node("Min", ["raised", "most"], "bounded"),  # in float32, 65535 + 0.5 rounds up to 65536
        _node("Transpose", ["bounded"], "turned", perm=[0, 2, 3, 1]),
        _node("Cast", ["turned"], PHOTOS, to=_TYPES[dtype]),
        _node("Sub", ["cropped", "cropped"], "zeros"),
        _node("ReduceSum", ["zeros"], RESIDUE),
    ]
    made = [_value(PHOTOS, dtype, shape), _value(RESIDUE, "float32", (1, 1, 1, 1))]
    return _model(nodes, constants, [_value(IMAGE, "float32", (batch, 3, rows, columns))], made)


def _model(
    nodes: Iterable[bytes], constants: dict[str, NDArray[Any]], read: Iterable[bytes], made: Iterable[bytes]
) -> bytes:
    graph = message(
        *((1, node) for node in nodes),
        (2, "photo"),
        *((5, _tensor(name, array)) for name, array in constants.items()),
        *((11, value) for value in read),
        *((12, value) for value in made),
    )
    return message((1, _IR_VERSION), (7, graph), (8, message((1, ""), (2, _OPSET))))


def _node(operator: str, read: Sequence[str], made: str, **attributes: int | list[int]) -> bytes:
    written = [(5, _attribute(name, value)) for name, value in attributes.items()]
    return message(*((1, name) for name in read), (2, made), (3, made), (4, operator), *written)


def _attribute(name: str, value: int | list[int]) -> bytes:
    if isinstance(value, int):
        return message((1, name), (3, value), (20, _INT))
    return message((1, name), *((8, one) for one in value), (20, _INTS))


def _tensor(name: str, array: NDArray[Any]) -> bytes:
    sizes = [(1, size) for size in array.shape]
    return message(*sizes, (2, _TYPES[array.dtype.name]), (8, name), (9, array.tobytes()))


def _value(name: str, dtype: str, shape: Sequence[int]) -> bytes:
    sizes = message(*((1, message((1, size))) for size in shape))
    return message((1, name), (2, message((1, message((1, _TYPES[dtype]), (2, sizes))))))
