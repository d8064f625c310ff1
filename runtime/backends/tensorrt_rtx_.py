"""TensorRT-RTX, from engines built by ``python -m export.engine PACKAGE --target tensorrt-rtx``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..package import Package
from .base import Backend
from .tensorrt_ import open_backend as open_tensorrt


def open_backend(package: Package, providers: Sequence[str] | None, *, frugal: bool = False) -> Backend[Any]:
    return open_tensorrt(package, providers, "tensorrt-rtx")
