"""CUDA and cuDNN from pip's wheels, loaded before onnxruntime looks for them where they are not."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from functools import cache

import onnxruntime as ort

from ...errors import one_line


@cache
def preload() -> str:
    """Load them, once a process. What onnxruntime says of those that do not load: it prints that to stdout, where
    ``python -m runtime`` prints paths and photos."""
    said = io.StringIO()
    if hasattr(ort, "preload_dlls"):
        with redirect_stdout(said):
            ort.preload_dlls()
    return one_line(said.getvalue())
