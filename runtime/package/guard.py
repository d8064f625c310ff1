"""What a stranger's ONNX graph may hold, read from its bytes without the onnx library.

Our graphs are one file each, with weights inside and standard operators. External data could name any file of this
machine, a custom operator domain is an invitation to load a library: both are refused before an engine sees them. So is
what our exporter does not write, which is where a small file asks for terabytes or for hours; and a graph that makes
something else than the manifest says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..errors import PackageError, one_line
from ..names import LOOP
from .manifest import Manifest, Stage, TensorSpec
from .onnx_graph import TYPES, Value, read_graph
from .operators import FUSED as FUSED_OPERATOR
from .operators import LOOPS, Known
from .protobuf import fields, parts
from .shapes import Walk

# Field numbers of onnx.proto3, per message: which fields hold messages worth walking into.
_CHILDREN = {
    "Model": {7: "Graph", 8: "OperatorSet", 20: "TrainingInfo", 25: "Function"},
    "TrainingInfo": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Function": {7: "Node", 9: "OperatorSet", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {},
    "OperatorSet": {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # of Tensor
_DOMAIN = {"Node": 7, "OperatorSet": 1, "Function": 10}
_OPERATOR = 4  # of Node
_STANDARD_DOMAINS = {b"", b"ai.onnx"}
Operators = Mapping[bytes, frozenset[bytes]]
"""Operators by their domain."""
FUSED: Operators = {b"com.microsoft": frozenset({FUSED_OPERATOR.rpartition(".")[2].encode()})}
"""What engines of the target ``cuda`` hold beside ONNX's own, and packages do not."""
_NONE: Operators = {}
_DEPTH_LIMIT = 32
_OPSETS = range(18, 24)
_MOST_NUMBERS = 4096  # of a tensor, a pixel; a row's scores between the channels of a wide HFRM come to 500
_MOST_FIELDS = 1 << 19
_LARGE = 4096, 6144  # pixels, as a photo's height and width
_ORT_MAGIC = b"ORTM"  # at byte 4: onnxruntime then reads its own format, whatever else the bytes are


def check_graph(content: bytes, where: str, more: Operators = _NONE) -> None:
    """Raise PackageError if ``content`` is no ONNX model, uses external data or a non-standard operator domain. more:
    operators of such domains that it may use."""
    if content[4:8] == _ORT_MAGIC:
        raise PackageError(f"{where}: onnxruntime's own format and no ONNX graph; do not use this package.")
    try:
        _walk(memoryview(content), "Model", where, more, 0, iter(range(_MOST_FIELDS)))
        if next(parts(memoryview(content), 7), None) is None:
            raise ValueError("no graph in it")
    except PackageError:
        raise
    except (IndexError, ValueError) as error:
        raise PackageError(f"{where}: not an ONNX graph ({error}); copy or build the package again.") from error


def check_stage(content: bytes, where: str, stage: Stage, manifest: Manifest, more: Operators = _NONE) -> None:
    """Raise PackageError if ``content``, which passed ``check_graph``, holds what our exporter does not write, if it
    has other inputs and outputs than the manifest's stage, or if what it makes of a photo is of other shapes, or huge.
    more: as for ``check_graph``."""
    try:
        graph, opsets = read_graph(content)
        if opsets.get("") not in _OPSETS:
            raise ValueError(f"operators of the version {opsets.get('', 'none')}")
        for kind, values, specs in (("input", graph.inputs, stage.inputs), ("output", graph.outputs, stage.outputs)):
            if list(values) != [Value(one.name, TYPES[one.dtype], one.shape) for one in specs]:
                raise ValueError(f"its {kind}s are {_told(values)}, the manifest's {', '.join(map(_spec_text, specs))}")
        if stage.name != LOOP and (found := [node.operator for node in graph.nodes if node.operator in LOOPS]):
            raise ValueError(f"the operator {found[0]}, which no {stage.name} has")
        unit, weights = manifest.pad_multiple, sum(one.count for one in graph.tensors)
        for batch, height, width in ((2, unit, 2 * unit), (1, *_LARGE)):
            pixels = batch * height * width
            walk = Walk(_MOST_NUMBERS * pixels + weights, pixels, batch > 1, FUSED_OPERATOR if more else "")
            inputs = [Known(TYPES[one.dtype], one.resolve(batch, height, width)) for one in stage.inputs]
            for spec, made in zip(stage.outputs, walk.outputs(graph, inputs), strict=True):
                if (made.dtype, made.shape) != (TYPES[spec.dtype], spec.resolve(batch, height, width)):
                    raise ValueError(f"{spec.name} is of another shape or type than the manifest says ({made.shape})")
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise PackageError(f"{where}: no graph of a package: {one_line(error)}; do not use this package.") from error


def _told(values: Sequence[Value]) -> str:
    names = {number: name for name, number in TYPES.items()}
    return one_line(", ".join(f"{one.name} {names.get(one.dtype, one.dtype)} {one.shape}" for one in values[:9]), 300)


def _spec_text(spec: TensorSpec) -> str:
    return f"{spec.name} {spec.dtype} {spec.shape}"


def _walk(content: memoryview, message: str, where: str, more: Operators, depth: int, left: Iterator[int]) -> None:
    """left: one more for each field that may come."""
    if depth > _DEPTH_LIMIT:
        raise ValueError("nested too deeply")
    children, domain = _CHILDREN[message], _DOMAIN.get(message)
    for field, value, _ in fields(content):
        if next(left, None) is None:
            raise ValueError(f"more than {_MOST_FIELDS:,} fields")
        if message == "Tensor" and (field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value != 0)):
            raise PackageError(f"{where}: it refers to weights in another file; do not use this package.")
        if field == domain and isinstance(value, memoryview) and not _known(bytes(value), content, message, more):
            raise PackageError(
                f"{where}: it uses the operator domain {bytes(value[:40])!r}, and only ONNX's own is known; "
                "do not use this package."
            )
        if field in children and isinstance(value, memoryview):
            _walk(value, children[field], where, more, depth + 1, left)


def _known(domain: bytes, content: memoryview, message: str, more: Operators) -> bool:
    """Whether a message may name the domain. A function, which could stand for an allowed operator, may not."""
    if domain in _STANDARD_DOMAINS or domain not in more:
        return domain in _STANDARD_DOMAINS
    named = {bytes(part) for part in parts(content, _OPERATOR)} if message == "Node" else set()
    return message == "OperatorSet" or (bool(named) and named <= more[domain])
