"""The table of backends. A module is imported when its backend is first asked for."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Literal, get_args

from ..errors import InputError
from ..package import Package
from .base import Backend

BackendName = Literal["onnxruntime", "openvino", "ncnn", "tensorrt", "tensorrt-rtx", "auto", "null"]
BACKENDS: tuple[str, ...] = get_args(BackendName)
CANDIDATES = ("tensorrt", "tensorrt-rtx", "onnxruntime", "openvino", "ncnn")  # what auto chooses from


def open_backend(name: str, package: Package, providers: Sequence[str] | None, *, frugal: bool = False) -> Backend[Any]:
    """Open ``package`` with the backend ``name``. frugal: less memory, in some ten percent more time, where the engine
    has that choice. Raises InputError, BackendUnavailableError or EngineError."""
    if name not in BACKENDS:
        raise InputError(f"backend {name!r} is not known; use one of {', '.join(BACKENDS)}.")
    module = importlib.import_module(f".{name.replace('-', '_')}_", __package__)
    backend: Backend[Any] = module.open_backend(package, providers, frugal=frugal)
    return backend
