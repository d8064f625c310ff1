"""What a stranger's ONNX graph may hold, read from its bytes without the onnx library.

Our graphs are one file each, with weights inside and standard operators. External data could name any file of this
machine, a custom operator domain is an invitation to load a library: both are refused before an engine sees them.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import PackageError
from .protobuf import fields, parts

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
FUSED: Operators = {b"com.microsoft": frozenset({b"MultiHeadAttention"})}
"""What engines of the target ``cuda`` hold beside ONNX's own, and packages do not."""
_NONE: Operators = {}
_DEPTH_LIMIT = 32
_ORT_MAGIC = b"ORTM"  # at byte 4: onnxruntime then reads its own format, whatever else the bytes are


def check_graph(content: bytes, where: str, more: Operators = _NONE) -> None:
    """Raise PackageError if ``content`` is no ONNX model, uses external data or a non-standard operator domain. more:
    operators of such domains that it may use."""
    if content[4:8] == _ORT_MAGIC:
        raise PackageError(f"{where}: onnxruntime's own format and no ONNX graph; do not use this package.")
    try:
        if next(parts(memoryview(content), 7), None) is None:
            raise ValueError("no graph in it")
        _walk(memoryview(content), "Model", where, more, 0)
    except PackageError:
        raise
    except (IndexError, ValueError) as error:
        raise PackageError(f"{where}: not an ONNX graph ({error}); copy or build the package again.") from error


def _walk(content: memoryview, message: str, where: str, more: Operators, depth: int) -> None:
    if depth > _DEPTH_LIMIT:
        raise ValueError("nested too deeply")
    children, domain = _CHILDREN[message], _DOMAIN.get(message)
    for field, value, _ in fields(content):
        if message == "Tensor" and (field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value != 0)):
            raise PackageError(f"{where}: it refers to weights in another file; do not use this package.")
        if field == domain and isinstance(value, memoryview) and not _known(bytes(value), content, message, more):
            raise PackageError(
                f"{where}: it uses the operator domain {bytes(value[:40])!r}, and only ONNX's own is known; "
                "do not use this package."
            )
        if field in children and isinstance(value, memoryview):
            _walk(value, children[field], where, more, depth + 1)


def _known(domain: bytes, content: memoryview, message: str, more: Operators) -> bool:
    """Whether a message may name the domain. A function, which could stand for an allowed operator, may not."""
    if domain in _STANDARD_DOMAINS or domain not in more:
        return domain in _STANDARD_DOMAINS
    named = {bytes(part) for part in parts(content, _OPERATOR)} if message == "Node" else set()
    return message == "OperatorSet" or (bool(named) and named <= more[domain])
