"""The denoiser as the steps of one sampling: each step is its network with the timestep's numbers in it.

The time shifts that a block adds behind a convolution are a row of a table, so with a fixed timestep they go into the
bias of that convolution. The first convolution reads x_cond and x_t side by side: its half for x_cond is computed
once a photo, and is all that a start of zero leaves of it in the first step. So are the sizes that reshapes need. The
sampler's update is written with its coefficients, those that are zero left out. Weights are stored once.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto

from runtime.errors import PackageError
from runtime.sampler import StepTable

from ..passes.edit import Rewriting, attributes_of, copied, inputs, wiring
from ..passes.folded_biases import shift_columns
from .joined import Joined

_ONCE = "denoiser"
"""In front of what all steps share."""


class Steps:
    """The denoiser's graph, looked through once. Raises PackageError for one that our exporter did not write."""

    def __init__(self, content: bytes, where: str) -> None:
        self._graph = graph = Rewriting(content)
        nodes = graph.model.graph.node
        made, self._readers = wiring(nodes)
        try:
            self._eps = [node for node in nodes if node.op_type == "Conv"][-1].output[0]
            beside = next(node for node in self._readers["x_cond"] if node.op_type == "Concat")
            (self._first,) = self._readers[beside.output[0]]
            self._weights, self._bias = (graph.constants[name] for name in self._first.input[1:3])
            if self._first.op_type != "Conv" or beside.input[0] != "x_cond" or len(beside.input) != 2:
                raise ValueError("another first convolution")
        except (LookupError, StopIteration, ValueError) as error:
            raise PackageError(f"{where}: a denoiser of another form; build the package again.") from error
        found = {node.output[0]: shift_columns(graph, made, node) for node in nodes if node.op_type == "Unsqueeze"}
        self._shifts = {name: place for name, place in found.items() if place}
        self._shifted = {
            node.input[0]: node
            for node in nodes
            if node.op_type == "Add"
            and node.input[1] in self._shifts
            and len(self._readers[node.input[1]]) == 1
            and self._alone(made.get(node.input[0]))
        }
        """By the convolution that has nothing else behind it: the Add of its shift."""
        self._once, self._each = self._divided()

    def join(self, joined: Joined, x_cond: str, table: StepTable, noise: str) -> str:
        """Add all steps of ``table``. noise: x_T's name, or nothing for a start of zero. Returns x_0's; nothing where
        coefficients of zero leave nothing of it."""
        channels, attributes = self._weights.shape[1] // 2, attributes_of(self._first)
        own = joined.constant(f"{_ONCE}/x_t/weight", self._weights[:, channels:])
        read = [x_cond, joined.constant(f"{_ONCE}/x_cond/weight", self._weights[:, :channels])]
        read.append(joined.constant(f"{_ONCE}/bias", self._bias))
        half = bool(self._weights.dtype == np.float16)
        shared = joined.add("Conv", read, f"{_ONCE}/x_cond", **attributes)
        sizes = {"x_t": x_cond, "history": x_cond, "x_cond": x_cond}  # all that is left to read of them is their shape
        joined.stage(self._once, self._graph.constants, _ONCE, sizes)
        known = sizes | {name: f"{_ONCE}/{name}" for node in self._once for name in node.output}
        x = history = noise
        for index, (timestep, row) in enumerate(zip(table.timesteps, table.coefficients, strict=True)):
            prefix, first = f"step{index}", shared
            if x:
                x_t = joined.add("Cast", [x], f"{prefix}/x_t/half", to=TensorProto.FLOAT16) if half else x
                alone = joined.add("Conv", [x_t, own], f"{prefix}/x_t", **attributes)
                first = joined.add("Add", [shared, alone], f"{prefix}/first")
            wired = known | {self._first.output[0]: first} | self._numbers(joined, int(timestep), prefix)
            joined.stage(self._each, self._graph.constants, prefix, wired, _ONCE)
            eps = f"{prefix}/{self._eps}"
            if half:
                eps = joined.add("Cast", [eps], f"{prefix}/eps", to=TensorProto.FLOAT)
            following = _sum(joined, f"{prefix}/x_next", [(row[0], x), (row[1], eps), (row[2], history)])
            history = _sum(joined, f"{prefix}/history_next", [(row[3], x), (row[4], eps)])
            x = following
        return x

    def _alone(self, conv: onnx.NodeProto | None) -> bool:
        if conv is None or conv.op_type != "Conv" or len(conv.input) < 3 or len(self._readers[conv.output[0]]) != 1:
            return False
        return conv.input[1] in self._graph.constants and conv.input[2] in self._graph.constants

    def _divided(self) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto]]:
        """The nodes between the first convolution and eps: those that no step changes, and the others. A convolution
        with a shift makes what the Add made, with a bias that :meth:`_numbers` gives."""
        needed = {self._eps}
        nodes: list[onnx.NodeProto] = []
        adds = {node.output[0] for node in self._shifted.values()}
        for node in reversed(copied(self._graph.model.graph.node)):
            if node.output[0] in adds:
                needed |= {node.input[0]} if node.output[0] in needed else set()
            elif needed.intersection(node.output) and node.output[0] not in {*self._shifts, *self._first.output}:
                needed.update(inputs(node))
                if node.output[0] in self._shifted:
                    node.input[2] = _bias_of(node.output[0])
                    node.output[0] = self._shifted[node.output[0]].output[0]
                nodes.insert(0, node)
        changing, once, each = {self._first.output[0], *self._shifts}, [], []
        for node in nodes:
            if changing.intersection(inputs(node)):
                changing.update(node.output)
                each.append(node)
            else:
                once.append(node)
        return once, each

    def _numbers(self, joined: Joined, timestep: int, prefix: str) -> dict[str, str]:
        """The constants of one step, by the names that they have in the graph."""
        constants, numbers = self._graph.constants, {}
        folded = {node.input[1]: conv for conv, node in self._shifted.items()}
        nodes = self._graph.model.graph.node
        biases = {node.output[0]: node.input[2] for node in nodes if node.output[0] in self._shifted}
        for shift, (table, columns) in self._shifts.items():
            row = constants[table][timestep, columns]
            if shift in folded:
                name = _bias_of(folded[shift])
                total = row.astype(np.float64) + constants[biases[folded[shift]]]
                numbers[name] = joined.constant(f"{prefix}/{name}", total.astype(row.dtype))
            else:
                numbers[shift] = joined.constant(f"{prefix}/{shift}", row.reshape(1, -1, 1, 1))
        return numbers


def _bias_of(conv: str) -> str:
    return f"{conv}/shifted_bias"


def _sum(joined: Joined, made: str, terms: Iterable[tuple[np.float32, str]]) -> str:
    """The sum of factor times tensor, where there is a tensor and the factor is not zero; or nothing."""
    total = ""
    for number, (factor, tensor) in enumerate(terms):
        if tensor and factor:
            read = [tensor, joined.constant(f"{made}/factor{number}", np.array(factor, np.float32))]
            product = joined.add("Mul", read, f"{made}/term{number}")
            total = joined.add("Add", [total, product], f"{made}/sum{number}") if total else product
    return total
