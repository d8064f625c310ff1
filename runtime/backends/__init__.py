"""The table of backends. A module is imported when its backend is first asked for."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from ..errors import InputError
from ..names import BACKENDS
from ..package.reading import Package
from .base import Backend

MODULES = {
    "onnxruntime": "onnxruntime.session",
    "openvino": "openvino.backend",
    "ncnn": "ncnn",
    "tensorrt": "tensorrt.open",
    "tensorrt-rtx": "tensorrt.open",
}


def open_backend(
    name: str, package: Package, providers: Sequence[str] | None = None, *, low_memory: bool = False
) -> Backend[Any]:
    """Open ``package`` with the backend ``name``, any of the table's. low_memory: in less memory and about a tenth
    more time, where the engine has that choice. Raises InputError, BackendUnavailableError or EngineError."""
    if name not in MODULES:
        raise InputError(f"backend {name!r} is not known; use one of {', '.join(BACKENDS)}.")
    module = importlib.import_module(f".{MODULES[name]}", __package__)
    backend: Backend[Any] = module.open_backend(name, package, providers, low_memory=low_memory)
    return backend
