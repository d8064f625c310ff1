"""The table of backends. A module is imported when its backend is first asked for."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from ..engines.libraries import instead_of
from ..errors import InputError
from ..names import BACKENDS
from ..package.reading import Package
from .base import Backend

__all__ = ["OPENERS", "instead_of", "open_backend"]

OPENERS = {
    "onnxruntime": ("onnxruntime.session", "OnnxRuntimeBackend"),
    "openvino": ("openvino.backend", "OpenVinoBackend"),
    "ncnn": ("ncnn", "NcnnBackend"),
    "tensorrt": ("tensorrt", "open_tensorrt"),
    "tensorrt-rtx": ("tensorrt", "open_tensorrt_rtx"),
}
"""Name -> the module, and in it what is called with a package, providers (or None) and ``low_memory``."""


def open_backend(
    name: str, package: Package, providers: str | Sequence[str] | None = None, *, low_memory: bool = False
) -> Backend[Any]:
    """Open ``package`` with the backend ``name``, any of the table's. providers: one, or several, most wanted first.
    low_memory: in less memory and about a tenth more time, where the engine has that choice. Raises InputError,
    BackendUnavailableError or EngineError."""
    if name not in OPENERS:
        raise InputError(f"backend {name!r} is not known; use one of {', '.join(BACKENDS)}.")
    module, opener = OPENERS[name]
    opened = getattr(importlib.import_module(f".{module}", __package__), opener)
    backend: Backend[Any] = opened(package, _names(providers), low_memory=low_memory)
    return backend


def _names(providers: object) -> tuple[str, ...] | None:
    """One name or several, as a tuple. Raises InputError for what is none."""
    if providers is None:
        return None
    names = (providers,) if isinstance(providers, str) else providers
    if not isinstance(names, Sequence) or not all(isinstance(name, str) and name for name in names):
        raise InputError(f'providers is {providers!r}; one name or a list of names wanted, such as "CUDA".')
    return tuple(names)
