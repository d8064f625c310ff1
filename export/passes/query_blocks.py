"""Attention without the whole score matrix, for engines that do not fuse it: the queries go through it in blocks.

A 3840x2160 photo has 32,640 positions at H/16, and scores of all with all are 4.3 GB in float32. Neither onnxruntime
nor OpenVINO fuses this attention on a CPU (OpenVINO takes even its own fused operator apart). With more than
``QUERIES`` positions the scores of one block are made, used and forgotten before the next; with fewer it is the plain
form, which is a few percent faster there. Results differ by rounding at most: every query has its own softmax.

    if positions = 1:             the value itself
    else if positions <= QUERIES: MatMul, Softmax, MatMul, Transpose
    else:                         Pad the queries to equal blocks; Loop: Slice, MatMul, Softmax, MatMul; join, crop

One position is a case of its own because of OpenVINO 2026.4: a Softmax inside of an If or a Loop that has run on one
score is left out in later runs on more of them.

In the last form every query sees the keys and values of every ``KEY_STRIDE``th row and column, a constant of the
graph that is 1, 1: all of them. ``runtime/package/edits.py`` sets another where all with all would be too much work.

``plain_attention`` takes it back for TensorRT, which fuses the plain form, and for ncnn, which has no loops.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .edit import Rewriting, copied, part_maker

ATTENTION = "/attention/"
"""In the names of what stands for one attention: what it makes, the mark, the part."""

QUERIES = 1024
"""Rows of float32 scores at once; twice as many, so as many bytes, in half precision. Keys and values are packed anew
for every block: a bfloat16 step of the full-size network at 1920x1080 in OpenVINO takes 20 % longer than in the plain
form with 1024 rows and 8 % with 2048. A float32 step takes as long as in the plain form, in onnxruntime 6 % less."""

KEY_STRIDE = "attention_key_stride"
_SIZES: dict[str, int | tuple[int, ...]] = {
    "one": 1,
    "zero": 0,
    "axis_2": 2,
    "axis_3": 3,
    "zeros_3": (0, 0, 0),
    "join": (0, 0, 0, -1),
    "all_2": (2**63 - 1,) * 2,
    "zeros_2": (0, 0),
    "axes_2_3": (2, 3),
    "flat": (0, 0, -1),
    "key_stride": (1, 1),
}
_SWAP_LAST = [0, 1, 3, 2]


def query_blocks(content: bytes) -> bytes:
    """The denoiser's graph, of any precision, with every attention in blocks of queries.

    An attention is MatMul, Softmax, MatMul, Transpose of 4-D tensors, (B, 1, positions, C) -> (B, 1, C, positions).
    """
    graph = Rewriting(content)
    old = graph.model.graph
    maker = {name: node for node in old.node for name in node.output}
    (elem_type,) = (value.type.tensor_type.elem_type for value in old.input if value.name == "x_cond")  # the network's
    found = {node.output[0]: chain for node in old.node if (chain := attention_chain(node, maker))}
    inner = {one.output[0] for chain in found.values() for one in chain[:-1]}
    for node in old.node:
        if node.output[0] in found:
            graph.nodes += _blocks(found[node.output[0]], elem_type, maker)
        elif node.output[0] not in inner:
            graph.nodes.append(node)
    queries = QUERIES if elem_type == TensorProto.FLOAT else 2 * QUERIES
    sizes = _SIZES | {"queries": queries, "queries_less_1": queries - 1}
    graph.added = {f"attention_{name}": np.atleast_1d(np.array(size, np.int64)) for name, size in sizes.items()}
    graph.added["attention_go"] = np.array(True)
    return graph.content()


def queries_of(model: onnx.ModelProto) -> int:
    """How many queries a block has in a graph that ``query_blocks`` wrote."""
    (found,) = (tensor for tensor in model.graph.initializer if tensor.name == "attention_queries")
    return int(numpy_helper.to_array(found)[0])


def attention_of(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """MatMul, Softmax, MatMul, Transpose: the plain form of the attention that this node, the last of its parts, stands
    for; or nothing."""
    if not node.name.endswith(f"{ATTENTION}attention"):
        return []
    (choice,) = _branch(node, "else_branch")
    plain = copied(_branch(choice, "then_branch"))
    plain[-1].output[0] = node.output[0]
    return plain


def plain_attention(nodes: Iterable[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Nodes of a graph with every attention in its plain form, as it was before ``query_blocks``."""
    return [one for node in nodes for one in (attention_of(node) if ATTENTION in node.name else [node])]


def _branch(node: onnx.NodeProto, name: str) -> list[onnx.NodeProto]:
    return next(list(attribute.g.node) for attribute in node.attribute if attribute.name == name)


def attention_chain(last: onnx.NodeProto, maker: dict[str, onnx.NodeProto]) -> list[onnx.NodeProto]:
    """MatMul, Softmax, MatMul and the Transpose ``last``, or nothing."""
    chain = [last]
    for _ in range(3):
        before = maker.get(chain[0].input[0]) if chain[0].input else None
        if before is None:
            return []
        chain.insert(0, before)
    if [node.op_type for node in chain] != ["MatMul", "Softmax", "MatMul", "Transpose"]:
        return []
    return chain if list(last.attribute[0].ints) == _SWAP_LAST else []


def _blocks(chain: list[onnx.NodeProto], elem_type: int, maker: dict[str, onnx.NodeProto]) -> list[onnx.NodeProto]:
    scores, _, weighted, transpose = chain
    query, key = scores.input
    value, result = weighted.input[1], transpose.output[0]
    plain = copied(chain)
    plain[-1].output[0] = f"{result}{ATTENTION}few"
    nodes: list[onnx.NodeProto] = []
    make = part_maker(nodes, result, ATTENTION, last="attention")
    count = make("count", "Shape", query, start=2, end=3)
    is_one = make("is_one", "Squeeze", make("are_one", "Equal", count, "attention_one"))
    is_few = make("is_few", "Squeeze", make("are_few", "LessOrEqual", count, "attention_queries"))

    many: list[onnx.NodeProto] = []
    in_many = part_maker(many, result, ATTENTION)
    rounded = in_many("rounded", "Add", count, "attention_queries_less_1")
    blocks = in_many("blocks", "Div", rounded, "attention_queries")
    rest = in_many("rest", "Sub", blocks, "attention_one")
    size = in_many("size", "Div", in_many("rounded_count", "Add", count, rest), blocks)
    short = in_many("short", "Sub", in_many("padded_count", "Mul", blocks, size), count)
    ends = ("attention_zeros_3", "attention_zeros_3", short, "attention_zero")
    padded = in_many("padded", "Pad", query, in_many("ends", "Concat", *ends, axis=0))

    def seen(kind: str, name: str) -> str:
        """(B, 1, C, positions seen) of keys or values"""
        cut = ("attention_zeros_2", "attention_all_2", "attention_axes_2_3", KEY_STRIDE)
        while maker[name].op_type in ("Reshape", "Transpose"):  # back to the map (B, C, H, W) that it was made of
            name = maker[name].input[0]
        some = in_many(f"some_{kind}", "Slice", name, *cut)
        flat = in_many(f"flat_{kind}", "Reshape", some, "attention_flat")
        return in_many(f"seen_{kind}", "Unsqueeze", flat, "attention_one")

    keys = seen("keys", key)
    values = in_many("values", "Transpose", seen("values", value), perm=_SWAP_LAST)

    body: list[onnx.NodeProto] = []
    in_body = part_maker(body, result, ATTENTION)
    index, go = (f"{result}{ATTENTION}{name}" for name in ("index", "go"))
    start = in_body("start", "Mul", index, size)
    end = in_body("end", "Add", start, size)
    block = in_body("block", "Slice", padded, start, end, "attention_axis_2")
    block_scores = in_body("scores", "MatMul", block, keys)
    softmaxed = in_body("softmax", "Softmax", block_scores, axis=-1)
    block_result = in_body("weighted", "MatMul", softmaxed, values)
    go_on = in_body("go_on", "Identity", go)
    loop = helper.make_graph(
        body,
        "block",
        [_value(index, TensorProto.INT64, 0), _value(go, TensorProto.BOOL, 0)],
        [_value(go_on, TensorProto.BOOL, 0), _value(block_result, elem_type, 4)],
    )
    times = in_many("times", "Squeeze", blocks)
    made = in_many("made", "Loop", times, "attention_go", body=loop)  # (blocks, B, 1, size, C)
    turned = in_many("turned", "Transpose", made, perm=[1, 2, 4, 0, 3])
    joined = in_many("joined", "Reshape", turned, "attention_join")
    in_many("many", "Slice", joined, "attention_zero", count, "attention_axis_3")

    def branch(name: str, inside: list[onnx.NodeProto]) -> onnx.GraphProto:
        return helper.make_graph(inside, name, [], [_value(inside[-1].output[0], elem_type, 4)])

    alone: list[onnx.NodeProto] = []
    part_maker(alone, result, ATTENTION)("alone", "Transpose", value, perm=_SWAP_LAST)
    not_alone: list[onnx.NodeProto] = []
    choose = part_maker(not_alone, result, ATTENTION)
    choose("not_alone", "If", is_few, then_branch=branch("yes", plain), else_branch=branch("no", many))
    make("attention", "If", is_one, then_branch=branch("yes", alone), else_branch=branch("no", not_alone))
    return nodes


def _value(name: str, elem_type: int, rank: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, elem_type, [None] * rank)
