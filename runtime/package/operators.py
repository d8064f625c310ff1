"""The operators that our graphs hold, each with the shape that it makes: no other operator, attribute or form of one is
in a package. docs/package.md lists them for those who write a reader."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from .onnx_graph import BOOL, FLOAT, INT64, Node

LOOPS = ("If", "Loop")
"""Operators with graphs in them, which ``shapes.py`` runs."""
FUSED = "com.microsoft.MultiHeadAttention"
"""What engines of the target ``cuda`` hold beside these."""


class Known(NamedTuple):
    """What is known of a tensor before a graph is run."""

    dtype: int
    shape: tuple[int, ...]
    value: tuple[int, ...] | tuple[float, ...] | None = None
    """Its numbers, of a shape or a size: a vector or a scalar."""
    constant: bool = False
    """It depends on no picture: an engine may compute it when the graph is opened."""
    depth: int = 0
    """Nodes in a row that make it."""
    row: int = 0
    """Those of them since the last product."""

    def numbers(self) -> tuple[int, ...]:
        """Its whole numbers. Raises ValueError where they are known in a run only."""
        if self.value is None or self.dtype == FLOAT:
            raise ValueError("a size that depends on the picture")
        return tuple(int(number) for number in self.value)


Rule = Callable[[Node, Sequence[Known]], list[Known]]


def same(node: Node, inputs: Sequence[Known]) -> list[Known]:
    """One output like the first input."""
    return [inputs[0]._replace(value=None)]


def _elementwise(node: Node, inputs: Sequence[Known]) -> list[Known]:
    shape = broadcast([one.shape for one in inputs])
    dtype = BOOL if node.operator in ("Equal", "LessOrEqual") else inputs[0].dtype
    return [Known(dtype, shape, _computed(node.operator, inputs, len(shape)))]


def _computed(operator: str, inputs: Sequence[Known], rank: int) -> tuple[int, ...] | None:
    if rank > 1 or any(one.value is None or one.dtype == FLOAT for one in inputs) or operator not in _ARITHMETIC:
        return None
    numbers = [one.numbers() for one in inputs]
    most = max(map(len, numbers))
    try:
        found = tuple(
            _ARITHMETIC[operator](*row) for row in zip(*(one * (most // len(one)) for one in numbers), strict=True)
        )
    except ZeroDivisionError as error:
        raise ValueError("a division of sizes by 0") from error
    if any(abs(number) >= 1 << 63 for number in found):
        raise ValueError("a size beyond 64 bits")
    return found


_ARITHMETIC: Mapping[str, Callable[..., int]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": lambda a, b: abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1),
    "Equal": lambda a, b: int(a == b),
    "LessOrEqual": lambda a, b: int(a <= b),
}


def broadcast(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    rank = max(map(len, shapes))
    found = []
    for sizes in zip(*((1,) * (rank - len(shape)) + shape for shape in shapes), strict=True):
        other = {size for size in sizes if size != 1}
        if len(other) > 1:
            raise ValueError(f"tensors of the shapes {', '.join(map(str, shapes))}")
        found.append(other.pop() if other else 1)
    return tuple(found)


def _identity(node: Node, inputs: Sequence[Known]) -> list[Known]:
    return [inputs[0]]


def _cast(node: Node, inputs: Sequence[Known]) -> list[Known]:
    whole = FLOAT not in (inputs[0].dtype, node.attributes["to"])
    return [Known(_integer(node, "to"), inputs[0].shape, inputs[0].value if whole else None)]


def _shape(node: Node, inputs: Sequence[Known]) -> list[Known]:
    found = inputs[0].shape[_integer(node, "start", 0) : _integer(node, "end", len(inputs[0].shape))]
    return [Known(INT64, (len(found),), found, constant=True)]


def _gather(node: Node, inputs: Sequence[Known]) -> list[Known]:
    data, indices = inputs
    axis = _axis(_integer(node, "axis", 0), len(data.shape))
    shape = data.shape[:axis] + indices.shape + data.shape[axis + 1 :]
    value = None
    if data.value is not None and indices.value is not None and len(data.shape) == 1 and len(indices.shape) < 2:
        value = tuple(data.value[_axis(index, len(data.value))] for index in indices.numbers())
    return [Known(data.dtype, shape, value)]


def _slice(node: Node, inputs: Sequence[Known]) -> list[Known]:
    data, starts, ends = inputs[0], inputs[1].numbers(), inputs[2].numbers()
    axes = inputs[3].numbers() if len(inputs) > 3 else tuple(range(len(starts)))
    steps = inputs[4].numbers() if len(inputs) > 4 else (1,) * len(starts)
    shape, value = list(data.shape), data.value
    for start, end, place, step in zip(starts, ends, axes, steps, strict=True):
        axis = _axis(place, len(shape))
        if step == 0:
            raise ValueError("a Slice with the step 0")
        kept = slice(start, None if step < 0 and end < -shape[axis] else end, step)
        shape[axis] = len(range(*kept.indices(shape[axis])))
        value = value[kept] if value is not None else None
    return [Known(data.dtype, tuple(shape), value)]


def _concat(node: Node, inputs: Sequence[Known]) -> list[Known]:
    axis = _axis(_integer(node, "axis"), len(inputs[0].shape))
    rest = {one.shape[:axis] + one.shape[axis + 1 :] for one in inputs}
    if len(rest) > 1 or any(len(one.shape) != len(inputs[0].shape) for one in inputs):
        raise ValueError(f"a Concat of the shapes {', '.join(str(one.shape) for one in inputs[:9])}")
    shape = list(inputs[0].shape)
    shape[axis] = sum(one.shape[axis] for one in inputs)
    parts = [one.value for one in inputs if one.value is not None]
    value = tuple(number for part in parts for number in part) if len(parts) == len(inputs) else None
    return [Known(inputs[0].dtype, tuple(shape), value if len(shape) == 1 else None)]


def _squeeze(node: Node, inputs: Sequence[Known]) -> list[Known]:
    shape = inputs[0].shape
    asked = inputs[1].numbers() if len(inputs) > 1 else tuple(axis for axis, size in enumerate(shape) if size == 1)
    axes = {_axis(axis, len(shape)) for axis in asked}
    if any(shape[axis] != 1 for axis in axes):
        raise ValueError(f"a Squeeze of {shape}")
    kept = tuple(size for axis, size in enumerate(shape) if axis not in axes)
    return [inputs[0]._replace(shape=kept)]


def _unsqueeze(node: Node, inputs: Sequence[Known]) -> list[Known]:
    asked = inputs[1].numbers()
    rank = len(inputs[0].shape) + len(asked)
    axes, sizes = {_axis(axis, rank) for axis in asked}, iter(inputs[0].shape)
    shape = tuple(1 if axis in axes else next(sizes) for axis in range(rank))
    return [inputs[0]._replace(shape=shape, value=inputs[0].value if rank < 2 else None)]


def _reshape(node: Node, inputs: Sequence[Known]) -> list[Known]:
    data, asked = inputs[0], list(inputs[1].numbers())
    if not node.attributes.get("allowzero"):
        asked = [data.shape[axis] if size == 0 else size for axis, size in enumerate(asked)]
    count, known = math.prod(data.shape), math.prod(size for size in asked if size != -1)
    if asked.count(-1) == 1 and known and count % known == 0:
        asked[asked.index(-1)] = count // known
    if any(size < 0 for size in asked) or math.prod(asked) != count:
        raise ValueError(f"a Reshape of {data.shape} to {tuple(asked)}")
    return [data._replace(shape=tuple(asked), value=data.value if len(asked) < 2 else None)]


def _transpose(node: Node, inputs: Sequence[Known]) -> list[Known]:
    shape = inputs[0].shape
    order = _integers(node, "perm", tuple(reversed(range(len(shape)))))
    if sorted(order) != list(range(len(shape))):
        raise ValueError(f"a Transpose of {shape} by {order}")
    return [Known(inputs[0].dtype, tuple(shape[axis] for axis in order))]


def _expand(node: Node, inputs: Sequence[Known]) -> list[Known]:
    return [Known(inputs[0].dtype, broadcast([inputs[0].shape, inputs[1].numbers()]))]


def _split(node: Node, inputs: Sequence[Known]) -> list[Known]:
    shape, count = list(inputs[0].shape), len(node.outputs)
    axis = _axis(_integer(node, "axis", 0), len(shape))
    size = -(-shape[axis] // count)
    rest = shape[axis] - size * (count - 1)
    sizes = inputs[1].numbers() if len(inputs) > 1 else (*(size,) * (count - 1), rest)
    if sum(sizes) != shape[axis] or min(sizes) < 0 or len(sizes) != count:
        raise ValueError(f"a Split of {tuple(shape)} into {sizes}")
    return [Known(inputs[0].dtype, (*shape[:axis], part, *shape[axis + 1 :])) for part in sizes]


def _pad(node: Node, inputs: Sequence[Known]) -> list[Known]:
    shape, pads = inputs[0].shape, inputs[1].numbers()
    asked = inputs[3].numbers() if len(inputs) > 3 else range(len(shape))
    axes, found = [_axis(axis, len(shape)) for axis in asked], list(shape)
    if len(pads) != 2 * len(axes):
        raise ValueError(f"a Pad of {shape} by {pads}")
    for place, axis in enumerate(axes):
        found[axis] += pads[place] + pads[place + len(axes)]
    if min(found) < 0:
        raise ValueError(f"a Pad of {shape} by {pads}")
    return [Known(inputs[0].dtype, tuple(found))]


def _resize(node: Node, inputs: Sequence[Known]) -> list[Known]:
    shape, scales = inputs[0].shape, inputs[2].value if len(inputs) > 2 else None
    if len(inputs) != 3 or scales is None or len(scales) != len(shape) or not all(0 < scale < 100 for scale in scales):
        raise ValueError("a Resize without its scales")
    return [Known(inputs[0].dtype, tuple(int(size * scale) for size, scale in zip(shape, scales, strict=True)))]


def _reduce(node: Node, inputs: Sequence[Known]) -> list[Known]:
    axes = {_axis(axis, len(inputs[0].shape)) for axis in inputs[1].numbers()}
    return [Known(inputs[0].dtype, tuple(1 if axis in axes else size for axis, size in enumerate(inputs[0].shape)))]


def _matmul(node: Node, inputs: Sequence[Known]) -> list[Known]:
    a, b = (one.shape for one in inputs)
    if min(len(a), len(b)) < 2 or a[-1] != b[-2]:
        raise ValueError(f"a MatMul of {a} and {b}")
    return [Known(inputs[0].dtype, (*broadcast([a[:-2], b[:-2]]), a[-2], b[-1]))]


def _conv(node: Node, inputs: Sequence[Known]) -> list[Known]:
    x, weight = inputs[0].shape, inputs[1].shape
    ones, rank = (1,) * (len(x) - 2), len(x) - 2
    strides, dilations = (_integers(node, name, ones) for name in ("strides", "dilations"))
    pads = _integers(node, "pads", (0,) * 2 * rank)
    wrong = not 3 <= len(x) == len(weight) or x[1] != weight[1] * _integer(node, "group", 1)
    counts = {len(strides), len(dilations), len(pads) // 2, len(_integers(node, "kernel_shape", weight[2:]))}
    if wrong or counts != {rank} or min(*strides, *dilations) < 1 or not 0 <= min(pads) <= max(pads) < 64:
        raise ValueError(f"a Conv of {x} with {weight}")
    if node.attributes.get("auto_pad", "NOTSET") != "NOTSET":
        raise ValueError(f"a Conv with the auto_pad {node.attributes['auto_pad']!r:.20}")
    sizes = (
        (x[2 + i] + pads[i] + pads[rank + i] - dilations[i] * (weight[2 + i] - 1) - 1) // strides[i] + 1
        for i in range(rank)
    )
    return [Known(inputs[0].dtype, (x[0], weight[0], *(max(0, size) for size in sizes)))]


def _depth_to_space(node: Node, inputs: Sequence[Known]) -> list[Known]:
    size, (batch, channels, height, width) = _integer(node, "blocksize"), inputs[0].shape
    if size < 1 or channels % size**2:
        raise ValueError(f"a DepthToSpace of {channels} channels by {size}")
    return [Known(inputs[0].dtype, (batch, channels // size**2, height * size, width * size))]


def _requantise(node: Node, inputs: Sequence[Known]) -> list[Known]:
    """QuantizeLinear makes its zero point's type, DequantizeLinear its scale's."""
    return [Known(inputs[2 if node.operator == "QuantizeLinear" else 1].dtype, inputs[0].shape)]


def _axis(axis: int | float, rank: int) -> int:
    if not -rank <= axis < rank:
        raise ValueError(f"the axis {axis} of {rank}")
    return int(axis) % rank


def _integer(node: Node, name: str, otherwise: int | None = None) -> int:
    found = node.attributes.get(name, otherwise)
    if not isinstance(found, int):
        raise ValueError(f"a {node.operator} without {name}")
    return found


def _integers(node: Node, name: str, otherwise: tuple[int, ...]) -> tuple[int, ...]:
    found = node.attributes.get(name, otherwise)
    if not isinstance(found, tuple):
        raise ValueError(f"a {node.operator} without {name}")
    return found


OPERATORS: Mapping[str, tuple[Rule, frozenset[str], tuple[int, int]]] = {
    name: (rule, frozenset(attributes.split()), counts)
    for names, rule, attributes, counts in (
        ("Add Sub Mul Div Equal LessOrEqual", _elementwise, "", (2, 2)),
        ("Neg Sigmoid Sqrt", same, "", (1, 1)),
        ("LeakyRelu", same, "alpha", (1, 1)),
        ("Softmax", same, "axis", (1, 1)),
        ("Clip", same, "", (1, 3)),
        ("InstanceNormalization", same, "epsilon", (3, 3)),
        (FUSED, same, "num_heads scale", (3, 3)),
        ("Identity", _identity, "", (1, 1)),
        ("Cast", _cast, "to", (1, 1)),
        ("Shape", _shape, "start end", (1, 1)),
        ("Gather", _gather, "axis", (2, 2)),
        ("Slice", _slice, "", (3, 5)),
        ("Concat", _concat, "axis", (1, 64)),
        ("Squeeze", _squeeze, "", (1, 2)),
        ("Unsqueeze", _unsqueeze, "", (2, 2)),
        ("Reshape", _reshape, "allowzero", (2, 2)),
        ("Transpose", _transpose, "perm", (1, 1)),
        ("Expand", _expand, "", (2, 2)),
        ("Split", _split, "axis num_outputs", (1, 2)),
        ("Pad", _pad, "", (2, 4)),
        (
            "Resize", _resize, "antialias coordinate_transformation_mode cubic_coeff_a exclude_outside "
            "extrapolation_value keep_aspect_ratio_policy mode nearest_mode", (3, 3),
        ),
        ("ReduceMean", _reduce, "", (2, 2)),
        ("MatMul", _matmul, "", (2, 2)),
        ("Conv", _conv, "auto_pad dilations group kernel_shape pads strides", (2, 3)),
        ("DepthToSpace", _depth_to_space, "blocksize mode", (1, 1)),
        ("QuantizeLinear DequantizeLinear", _requantise, "axis", (3, 3)),
    )
    for name in names.split()
}  # fmt: skip
"""By name: the rule, its attributes, and the least and the most inputs."""
