"""One stage module -> one ONNX graph, as bytes."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator

import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass

from runtime.package.manifest import size_term

from .graphs import StageGraph

# 21 keeps GroupNormalization as one node. At 18 it is taken apart with dynamic reshapes (TensorRT-RTX dies of
# them), at 23 attention becomes an Attention node (which TensorRT-RTX refuses for heads of 192 and 256).
OPSET = 21
OPSET_BF16 = 22  # the first whose Conv takes bfloat16
_SAMPLE = {"batch": 2, "height": 3, "width": 4}  # sizes in units of the padding multiple; all different


def trace(stage: StageGraph, pad_multiple: int) -> bytes:
    """The graph of one stage, checked by onnx, with the dimension names of the package's manifest. The same stage gives
    the same bytes in every process."""
    specs = (*stage.inputs, *stage.outputs)
    dims = {symbol: torch.export.Dim(symbol, min=1, max=1 << 15) for symbol in _SAMPLE}
    sizes = {symbol: size * (1 if symbol == "batch" else pad_multiple) for symbol, size in _SAMPLE.items()}
    args = tuple(torch.zeros(spec.resolve(**sizes), dtype=getattr(torch, spec.dtype)) for spec in stage.inputs)

    def dim(size: str) -> object:
        symbol, divisor = size_term(size)
        factor = 1 if symbol == "batch" else pad_multiple // divisor
        return factor * dims[symbol] if factor > 1 else dims[symbol]

    shapes = [{axis: dim(size) for axis, size in enumerate(one.shape) if isinstance(size, str)} for one in stage.inputs]
    with _quiet():
        program = torch.onnx.export(
            stage.module,
            args,
            dynamo=True,
            opset_version=OPSET_BF16 if "bfloat16" in {spec.dtype for spec in specs} else OPSET,
            # idwt: forward(x_0, *restored)
            dynamic_shapes=(shapes[0], tuple(shapes[1:])) if stage.name == "idwt" else tuple(shapes),
            input_names=[spec.name for spec in stage.inputs],
            output_names=[spec.name for spec in stage.outputs],
            verbose=False,
        )
    traced = program.model
    for value, spec in zip((*traced.graph.inputs, *traced.graph.outputs), specs, strict=True):
        value.shape = ir.Shape(spec.shape)
    traced.graph.name = stage.name
    traced.producer_name, traced.producer_version = "diffll-deploy", ""
    # The exporter notes this machine's paths at the nodes, and at the graph range_constraints in the order of a set,
    # which differs from process to process.
    ClearMetadataAndDocStringPass()(traced)
    model = ir.to_proto(traced)
    del model.metadata_props[:]
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its own steps and warns about its own internals; neither is news for our user."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
