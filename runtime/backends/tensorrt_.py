"""TensorRT, from engines built by ``python -m export.engine PACKAGE --target tensorrt``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import InputError
from ..package import Package
from .base import Backend


def open_backend(
    package: Package, providers: Sequence[str] | None, target: str = "tensorrt", *, frugal: bool = False
) -> Backend[Any]:
    if providers:
        raise InputError(
            f"the backend {target} has no providers ({', '.join(providers)}); leave that option out. "
            "CUDA_VISIBLE_DEVICES chooses the GPU."
        )
    from .trt_library import Library

    library = Library(target)  # says what is missing; what comes next needs a driver when it is imported

    from .trt_backend import TensorRTBackend

    return TensorRTBackend(package, library)
