"""Biases of convolutions in the denoiser's table of time shifts: CUDA adds a bias in a kernel of its own."""

from __future__ import annotations

import numpy as np
import onnx

from .edit import Rewriting, attributes_of, wiring


def folded_biases(content: bytes) -> bytes:
    """The denoiser's graph in which a Conv that is read by nothing but the Add of its time shift has no bias: the
    columns of the table (timesteps, shifts) that hold this shift bear it. The sums are the same but for rounding."""
    graph = Rewriting(content)
    nodes = graph.model.graph.node
    made, readers = wiring(nodes)
    for node in nodes:
        graph.nodes.append(node)
        if node.op_type != "Add":
            continue
        conv, shift = (made.get(name) for name in node.input)
        if conv is None or shift is None or conv.op_type != "Conv" or len(conv.input) < 3:
            continue
        place = shift_columns(graph, made, shift)
        alone = all(len(readers[name]) == 1 for name in (*node.input, *shift.input[:1]))
        if place is None or not alone or conv.input[2] not in graph.constants:
            continue
        table, columns = place
        sums = graph.added.setdefault(table, graph.constants[table].astype(np.float64))
        sums[:, columns] += graph.constants[conv.input[2]]
        del conv.input[2:]
    for name, sums in graph.added.items():
        graph.added[name] = sums.astype(graph.constants[name].dtype)
    return graph.content()


def shift_columns(graph: Rewriting, made: dict[str, onnx.NodeProto], shift: onnx.NodeProto) -> tuple[str, slice] | None:
    """The table that ``shift`` comes from through Unsqueeze, Split and Gather, which nothing else may read, and its
    columns there."""
    chain = [shift]
    for _ in range(2):
        before = made.get(chain[-1].input[0])
        if before is None:
            return None
        chain.append(before)
    if [one.op_type for one in chain] != ["Unsqueeze", "Split", "Gather"]:
        return None
    _, split, gather = chain
    table, sizes = gather.input[0], graph.constants.get(split.input[1])
    if table not in graph.constants or sizes is None or attributes_of(split).get("axis") not in (1, -1):
        return None
    at = list(split.output).index(shift.input[0])
    start = int(sizes[:at].sum())
    return table, slice(start, start + int(sizes[at]))
