"""The denoiser in the form that onnxruntime's CUDA provider runs fastest.

A network in half precision has its norms in float32, between casts: CUDA's InstanceNormalization sums in float32
inside, whatever its type, so the casts are passes over the tensor for nothing. Its GroupNormalization is taken apart
into more of them. Attention that is fused, and biases that are left out, are described where they are made.
"""

from __future__ import annotations

from onnx import TensorProto

from .cpu_forms import restore
from .edit import Rewriting, attributes_of, wiring
from .folded_biases import folded_biases
from .fused_attention import fused_attention
from .group_norm import rewrite_group_norm


def cuda_forms(content: bytes) -> bytes:
    """The denoiser's graph, fp32 or fp16: InstanceNormalization in the network's type, MultiHeadAttention of the domain
    com.microsoft, and no bias that the time shift can bear. Results differ by rounding."""
    return fused_attention(folded_biases(rewrite_group_norm(bare_norms(restore(content)))))


def bare_norms(content: bytes) -> bytes:
    """The graph without the casts to and from float32 around each GroupNormalization, whose scale and bias become of
    the network's type. A float32 graph has none."""
    graph = Rewriting(content)
    nodes = graph.model.graph.node
    made, readers = wiring(nodes)
    renamed: dict[str, str] = {}
    for node in nodes:
        before, after = made.get(node.input[0]) if node.input else None, readers[node.output[0]]
        if node.op_type != "GroupNormalization" or before is None or before.op_type != "Cast":
            continue
        half = {attributes_of(one)["to"] if one.op_type == "Cast" else None for one in after}
        if attributes_of(before)["to"] != TensorProto.FLOAT or half != {TensorProto.FLOAT16}:
            continue
        node.input[0] = before.input[0]
        for name in node.input[1:]:
            graph.added[name] = graph.constants[name].astype("float16")
        if len(readers[before.output[0]]) == 1:
            renamed[before.output[0]] = before.input[0]
        renamed |= {one.output[0]: node.output[0] for one in after}
    for node in nodes:
        if node.output[0] not in renamed:
            node.input[:] = [renamed.get(name, name) for name in node.input]
            graph.nodes.append(node)
    return graph.content()
