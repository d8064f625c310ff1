"""fp32 | fp16 | bf16: the precision lives in the graph, once, for every engine.

TensorRT 11 has no precision flags any more, onnxruntime never had any: a network in half precision is a graph whose
tensors have half types. So the module is converted before it is traced, and the islands below stay in float32.
"""

from __future__ import annotations

import copy
from collections.abc import Collection

import torch

from runtime.names import DType, Precision

from ..model import DiffLL
from ..model.hfrm import CrossAttention
from ..model.unet import GroupNorm

NETWORK_DTYPES: dict[Precision, DType] = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


# PSNR against the float32 network at a width of 3840 by `python -m benchmarks.islands [CHECKPOINT]`, with the bundled
# checkpoint ("bundled") and with a full-size one of random weights ("full").
ISLANDS = {
    "row_attention": "HFRM cross-attention: both matmuls and the softmax. No cost in PSNR (bundled fp16 71.75 dB with "
    "and without): it is here for range. The logits are sums over the image width, 65 at 160 pixels and 1,565 at 3840 "
    "(bundled); fp16 ends at 65,504, and its step at 1,565 is 1.",
    "group_norm": "GroupNorm of the UNet: statistics, scale and shift. Full fp16 82.92 -> 82.26 dB, bf16 64.83 -> "
    "63.63 dB; bundled bf16 54.47 -> 54.23 dB.",
    "time_embedding": "Time embedding and its projections, which are a table in the graph. Full fp16 82.92 -> "
    "82.88 dB; within noise for the bundled one. The table is made at export: it costs nothing.",
    "update": "The sampler's update: x_t, history, eps and the coefficients. Full fp16 82.92 -> 72.28 dB, bf16 "
    "64.83 -> 52.73 dB; bundled fp16 71.75 -> 71.50 dB.",
}
"""What stays in float32, and what was measured with it alone in half precision too."""

# Between the stages: the detail bands and x_cond travel in half precision (they feed half-precision convolutions
# anyway, and are by far the most bytes), the photo and what the sampler's update adds up stay in float32.
HALF_IO = ("x_cond", "details", "restored")


def io_dtype(tensor: str, precision: Precision) -> DType:
    """dtype of the I/O tensor ``tensor`` between two stages."""
    return NETWORK_DTYPES[precision] if tensor.rstrip("0123456789") in HALF_IO else "float32"


def convert(model: DiffLL, precision: Precision, islands: Collection[str] = ISLANDS) -> DiffLL:
    """A copy of ``model`` in ``precision``, with the parts named in ``islands`` left in float32."""
    dtype = getattr(torch, NETWORK_DTYPES[precision])
    if dtype == torch.float32:
        return model
    converted: DiffLL = copy.deepcopy(model).to(dtype)
    originals = dict(model.named_modules())
    for name, module in converted.named_modules():
        if isinstance(module, GroupNorm) and "group_norm" in islands:
            # the values themselves, not what is left of them after a trip through half precision
            module.float().load_state_dict(originals[name].state_dict())
        elif isinstance(module, CrossAttention) and "row_attention" in islands:
            module.score_dtype = torch.float32
    return converted
