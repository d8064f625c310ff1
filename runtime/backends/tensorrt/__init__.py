"""TensorRT and TensorRT-RTX, which share one API, on CUDA: from engines of ``python -m export.engine PACKAGE``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from ...errors import InputError
from ...package.reading import Package
from ..base import Backend


def _open(name: str, package: Package, providers: Sequence[str] | None, *, low_memory: bool = False) -> Backend[Any]:
    if providers:
        cure = "leave that option out. CUDA_VISIBLE_DEVICES chooses the GPU"
        raise InputError(f"the backend {name} has no providers ({', '.join(providers)}); {cure}.")
    from .library import Library

    library = Library(name)  # says what is missing; what comes next needs a driver when it is imported

    from .backend import TensorRTBackend

    return TensorRTBackend(package, library)


open_tensorrt, open_tensorrt_rtx = partial(_open, "tensorrt"), partial(_open, "tensorrt-rtx")
