"""The shapes of all tensors of a graph at one photo size, without running it: whether it makes what the manifest says,
and nothing out of all proportion."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .onnx_graph import BOOL, INT64, Graph, Node
from .operators import FUSED, LOOPS, OPERATORS, Known

_MOST_CONSTANTS = 1 << 20  # numbers computed of constants alone, beside four times those that are in the file
_PIXELS_OF_A_TURN = 1024  # a turn of an attention's loop is a block of 1024 positions, of at least 4 pixels each

_DEEPEST, _LONGEST_ROW = 2048, 128  # OpenVINO's time for a chain of nodes grows with the square of its length
_PRODUCTS = ("Conv", "MatMul", FUSED)

Scope = dict[str, Known]


@dataclass
class Walk:
    """One walk through a graph."""

    most: int
    """Numbers of a tensor."""
    pixels: int
    """Of the photo."""
    thorough: bool
    """Every branch is walked through, not only the one that is taken."""
    fused: str = ""
    """An operator beside those of a package."""
    room: int = _MOST_CONSTANTS

    def outputs(self, graph: Graph, inputs: Sequence[Known]) -> list[Known]:
        """Raises ValueError with what no package has."""
        self.room += 4 * sum(tensor.count for tensor in graph.tensors)
        scope: Scope = {}
        self._add(scope, [one.name for one in graph.inputs], inputs)
        return self._graph(graph, scope)

    def _graph(self, graph: Graph, scope: Scope) -> list[Known]:
        names = [tensor.name for tensor in graph.tensors]
        self._add(scope, names, [Known(one.dtype, one.shape, one.value, True) for one in graph.tensors])
        for node in graph.nodes:
            try:
                found = self._node(node, scope)
                self._add(scope, node.outputs, found)
            except (LookupError, TypeError, ValueError) as error:
                inside = " in " if str(error).startswith("the node") else ": "
                raise ValueError(f"the node {node.name[:60]!r}{inside}{error}") from error
        return [self._find(scope, value.name) for value in graph.outputs]

    def _node(self, node: Node, scope: Scope) -> list[Known]:
        if node.operator in LOOPS:
            return self._branches(node, scope) if node.operator == "If" else self._turns(node, scope)
        if node.operator not in OPERATORS or ("." in node.operator and node.operator != self.fused):
            raise ValueError(f"the operator {node.operator[:60]}, which no package has")
        rule, attributes, (least, most) = OPERATORS[node.operator]
        if unknown := sorted(set(node.attributes) - attributes):
            raise ValueError(f"{node.operator} with the attribute {unknown[0][:60]!r}, which no package has")
        if not least <= len(node.inputs) <= most:
            raise ValueError(f"{node.operator} with {len(node.inputs)} inputs, which no package has")
        inputs = [self._find(scope, name) if name else _NOTHING for name in node.inputs]
        constant = all(one.constant for one in inputs)
        depth = 1 + max(one.depth for one in inputs)
        row = 0 if node.operator in _PRODUCTS else 1 + max(one.row for one in inputs)
        if depth > _DEEPEST or row > _LONGEST_ROW:
            raise ValueError(f"{depth:,} nodes in a row, {row:,} of them without a product")
        found = [one._replace(constant=one.constant or constant, depth=depth, row=row) for one in rule(node, inputs)]
        for one in found:
            count = math.prod(one.shape)
            if count > self.most:
                raise ValueError(f"{node.operator} makes {count:,} numbers of a photo of {self.pixels:,} pixels")
            self.room -= count if one.constant else 0
        if self.room < 0:
            raise ValueError(f"{node.operator}: far more numbers made of constants than are in the file")
        return found

    def _branches(self, node: Node, scope: Scope) -> list[Known]:
        then, other = (_graph_of(node, name) for name in ("then_branch", "else_branch"))
        if len(node.inputs) != 1 or len(node.attributes) != 2 or then.inputs or other.inputs:
            raise ValueError("an If of a form that no package has")
        first = self._find(scope, node.inputs[0]).numbers() != (0,)
        taken, left = (then, other) if first else (other, then)
        found = self._graph(taken, dict(scope))
        if self.thorough:
            self._graph(left, dict(scope))
        return [one._replace(value=None) for one in found]

    def _turns(self, node: Node, scope: Scope) -> list[Known]:
        body = _graph_of(node, "body")
        last = next((one for one in body.nodes if body.outputs and body.outputs[0].name in one.outputs), None)
        goes_on = (
            last is not None and last.operator == "Identity" and last.inputs == tuple(v.name for v in body.inputs[1:])
        )
        if len(node.inputs) != 2 or len(node.attributes) != 1 or len(body.inputs) != 2 or not goes_on:
            raise ValueError("a Loop of a form that no package has")
        (turns,), (go,) = (self._find(scope, name).numbers() for name in node.inputs)
        if not go or not 0 < turns <= self.pixels // _PIXELS_OF_A_TURN + 1:
            raise ValueError(f"a Loop of {turns:,} turns for a photo of {self.pixels:,} pixels")
        inside = dict(scope)
        self._add(inside, [one.name for one in body.inputs], [Known(INT64, (), (0,)), Known(BOOL, (), (1,))])
        found = [Known(one.dtype, (turns, *one.shape)) for one in self._graph(body, inside)[1:]]
        if any(math.prod(one.shape) > self.most for one in found):
            raise ValueError("a Loop that makes far too much")
        return found

    @staticmethod
    def _find(scope: Scope, name: str) -> Known:
        if name not in scope:
            raise ValueError(f"it reads {name[:60]!r}, which nothing before it makes")
        return scope[name]

    @staticmethod
    def _add(scope: Scope, names: Sequence[str], found: Sequence[Known]) -> None:
        for name, one in zip(names, found, strict=True):
            if name in scope or not name:
                raise ValueError(f"two tensors of the name {name[:60]!r}")
            scope[name] = one


_NOTHING = Known(0, (0,), constant=True)


def _graph_of(node: Node, name: str) -> Graph:
    found: Mapping[str, object] = node.attributes
    graph = found.get(name)
    if not isinstance(graph, Graph):
        raise ValueError(f"a {node.operator} without {name}")
    return graph
