"""Attention as onnxruntime's MultiHeadAttention, which never writes the matrix of scores on a GPU."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from .edit import Rewriting, part_maker
from .query_blocks import attention_chain

DOMAIN = "com.microsoft"
_MARK = "/fused/"
_SWAP = [0, 2, 1]


def fused_attention(content: bytes) -> bytes:
    """The denoiser's graph with every attention, MatMul, Softmax, MatMul, Transpose of 4-D tensors, as one node of one
    head. (B, 1, positions, C) -> (B, 1, C, positions), as before."""
    graph = Rewriting(content)
    old = graph.model.graph
    maker = {name: node for node in old.node for name in node.output}
    found = {node.output[0]: chain for node in old.node if (chain := attention_chain(node, maker))}
    inner = {one.output[0] for chain in found.values() for one in chain[:-1]}
    for node in old.node:
        if node.output[0] in found:
            _fuse(graph, found[node.output[0]])
        elif node.output[0] not in inner:
            graph.nodes.append(node)
    if found:
        graph.added["fused_axis"] = np.array([1])
        graph.model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return graph.content()


def _fuse(graph: Rewriting, chain: list[onnx.NodeProto]) -> None:
    scores, _, weighted, last = chain
    result = last.output[0]
    make = part_maker(graph.nodes, result, _MARK, "end")
    query = make("query", "Squeeze", scores.input[0], "fused_axis")
    key = make("key", "Transpose", make("keys", "Squeeze", scores.input[1], "fused_axis"), perm=_SWAP)
    value = make("value", "Squeeze", weighted.input[1], "fused_axis")
    # the queries are scaled already
    made = make("attention", "MultiHeadAttention", query, key, value, num_heads=1, scale=1.0, domain=DOMAIN)
    make("end", "Unsqueeze", make("turned", "Transpose", made, perm=_SWAP), "fused_axis")
