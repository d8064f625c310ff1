"""ONNX graph -> the denoiser's graph as onnxruntime's CUDA provider runs it fastest; it takes every size.

The other stages have no norms and no shifts: they run as they are in the package.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx

from runtime.engines.cache import GRAPH
from runtime.engines.fit import REWRITE_VERSION, environment
from runtime.engines.libraries import library_of, load
from runtime.errors import InputError
from runtime.names import CUDA_PRECISIONS, Precision, Target

from ..passes.cuda_forms import cuda_forms
from .base import Built


class CudaBuilder:
    """Raises BackendUnavailableError without onnxruntime, of any build, and InputError for a precision that it does not
    take."""

    target: Target = "cuda"

    def __init__(self, precision: Precision, *, tf32: bool = True) -> None:
        """tf32: whether the GPU may form products of float32 from 10 bits of each mantissa."""
        if precision not in CUDA_PRECISIONS:
            raise InputError(
                f"--target cuda takes {' and '.join(CUDA_PRECISIONS)} packages, and this one is {precision}; build "
                "another with `python -m export.build --precision fp16`."
            )
        # without TF32 alone: engines that were built before there was a choice have it
        self.flags: Mapping[str, Any] = {"rewrite": REWRITE_VERSION["cuda"]} | ({} if tf32 else {"tf32": False})
        version = load(library_of(self.target), "--target cuda").__version__
        self.environment: Mapping[str, Any] = environment(self.target, version)

    def build(self, graph: bytes, profile: Mapping[str, Any], timing_cache: Path) -> Built:
        """A stage that is not the denoiser has no files."""
        inputs = [value.name for value in onnx.load_from_string(graph).graph.input]
        return ({GRAPH: cuda_forms(graph)} if "timestep" in inputs else {}), {}
